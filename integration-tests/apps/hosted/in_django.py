"""The app beside one of Django, as in a project's ``asgi.py``."""

import board
import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="of a test", MIDDLEWARE=[]
)
django.setup()
urlpatterns = [path("numbers", lambda request: HttpResponse("1 2 3"))]

site = get_asgi_application()
app = board.make(url_base_pathname="/dash/")


async def application(scope, receive, send):
    """Serve the app below /dash, and Django's views elsewhere."""
    serve = app if scope["path"].startswith("/dash") else site
    await serve(scope, receive, send)
