"""The app mounted in one of Starlette."""

import board
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

site = Starlette(
    routes=[
        Route("/numbers", lambda request: PlainTextResponse("1 2 3")),
        Mount("/dash", app=board.make()),
    ]
)
