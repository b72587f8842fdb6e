"""The checks of ``flash check``: what an imported app leaves open. They start nothing."""

from __future__ import annotations

import inspect
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flash.addons import attach_used
from flash.checking.dependencies import outdated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flash.access.admission import Authorize
    from flash.access.hosts import HostPolicy
    from flash.http.response_headers import PageHeaders

# Characters of a secret, at least; `secrets.token_hex()` makes 64.
_MIN_SECRET = 16


@dataclass(frozen=True, slots=True, order=True)
class Risk:
    """One thing that an app leaves open: the check that found it, what it is, and the remedy."""

    check: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.check}: {self.what}\n    {self.remedy}"


class CheckedApp(Protocol):
    """What the checks read of an app, which is a `Flash`."""

    server: Any
    authorize: Authorize | None
    page_headers: PageHeaders
    page_extras: dict[str, Any]
    security_checks: list[SecurityCheck]

    @property
    def host_policy(self) -> HostPolicy | None:
        """The hosts that are allowed; None without ``allowed_hosts``."""
        ...

    @property
    def has_middleware(self) -> bool:
        """Whether middleware of WSGI or ASGI is around the server."""
        ...

    @property
    def shows_errors(self) -> bool:
        """Whether pages may see the texts of exceptions."""
        ...

    @property
    def uses_websocket_callbacks(self) -> bool:
        """Whether any callback uses Dash's own WebSocket."""
        ...

    @property
    def socket_allowed_origins(self) -> tuple[str, ...]:
        """The other origins whose pages may open Dash's own WebSocket."""
        ...

    def background_managers(self) -> list[Any]:
        """Return all background managers of the app and of its callbacks."""
        ...


@dataclass(frozen=True, slots=True)
class Deployment:
    """What checks look at: an app that was imported and not started, and how it is to be served."""

    app: CheckedApp
    # Whether the app is to be served to others: `--deploy`.
    is_public: bool = False
    # Worker processes.
    workers: int = 1


class SecurityCheck(Protocol):
    """A check that an add-on package contributes: `Flash.security_checks.append`.

    It is called in a process that only checks, on no event loop. It must start nothing, call no
    function of the app and not change it. Raising ends the command.
    """

    def __call__(self, deployment: Deployment, /) -> Iterable[Risk]:
        """Return what the app leaves open."""
        ...


def run_security_checks(deployment: Deployment) -> list[Risk]:
    """Return what the checks of Flash and of the app's add-ons find, sorted, each once."""
    # Else nothing would be said of an app that has its parts by `from flash import live, pubsub`.
    attach_used(deployment.app)
    checks: list[SecurityCheck] = [*CHECKS, *deployment.app.security_checks]
    return sorted({risk for check in checks for risk in check(deployment)})


def admits_everybody(guard: object) -> bool:
    """Tell whether a function returns True whatever it gets, such as ``lambda opening: True``."""
    code = getattr(guard, "__code__", None)
    if code is None or code.co_names or code.co_freevars:
        return False
    constants = {each for each in code.co_consts if each != getattr(guard, "__doc__", None)}
    # Only True, and None, which compilers add; a local variable may say otherwise.
    parameters = code.co_argcount + code.co_kwonlyargcount
    parameters += bool(code.co_flags & inspect.CO_VARARGS)
    parameters += bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return True in constants and constants <= {None, True} and code.co_nlocals == parameters


def weak_secret(secret: object) -> bool:
    """Tell whether a secret is too short or one that examples have."""
    text = secret.decode("latin-1") if isinstance(secret, bytes) else str(secret)
    known = ("secret", "changeme", "change-me", "dev", "development", "test", "password")
    return len(text) < _MIN_SECRET or text.lower().strip(" -_!.") in known


def secret_key(deployment: Deployment) -> Iterator[Risk]:
    """Report a missing or weak key for sessions and signatures."""
    key = deployment.app.server.secret_key
    remedy = (
        'app.server.secret_key = os.environ["SECRET_KEY"], with a value of `python -c "import '
        'secrets; print(secrets.token_hex())"`'
    )
    if not key:
        what = "app.server has no secret_key: it has no sessions, and what it signs (pages, panels)"
        yield Risk(
            "secret-key", f"{what} is not valid after a restart or on another worker", remedy
        )
    elif weak_secret(key):
        what = "app.server.secret_key can be guessed, and sessions forged with it"
        yield Risk("secret-key", what, remedy)


def debug(deployment: Deployment) -> Iterator[Risk]:
    """Report debugging, which shows pages the source around an error."""
    app = deployment.app
    variables = ("DASH_DEBUG", "FLASK_DEBUG", "QUART_DEBUG")
    on = [name for name in variables if os.environ.get(name, "").lower() in ("1", "true", "yes")]
    if app.shows_errors:
        what = "pages see the texts of exceptions: debug= or testing is on"
        yield Risk("debug", what, "leave out debug=True and enable_dev_tools(debug=True)")
    elif on and deployment.is_public:
        what = f"{' and '.join(on)} turns on debugging"
        yield Risk("debug", what, f"unset {' and '.join(on)} in production")


def allowed_hosts(deployment: Deployment) -> Iterator[Risk]:
    """Report an app that answers for every host."""
    hosts = deployment.app.host_policy
    if deployment.is_public and (hosts is None or hosts.allows_any):
        yield Risk(
            "allowed-hosts",
            "the app answers for every Host: a page of another site whose name resolves to this "
            "server can use it (DNS rebinding)",
            'Flash(allowed_hosts=["example.org"])',
        )


def cookies(deployment: Deployment) -> Iterator[Risk]:
    """Report session cookies that are sent where they should not be."""
    config = deployment.app.server.config
    if deployment.is_public and config.get("SESSION_COOKIE_SECURE") is False:
        yield Risk(
            "cookie-secure",
            "SESSION_COOKIE_SECURE is False: the session is sent over http, too",
            "leave it out (Secure where the request came over https) or set it to True; behind a "
            "proxy with TLS, name it: flash run --trusted-proxies",
        )
    if not config.get("SESSION_COOKIE_HTTPONLY", True):
        what = "SESSION_COOKIE_HTTPONLY is False: scripts of a page can read the session"
        yield Risk("cookie-httponly", what, "leave it out")
    if str(config.get("SESSION_COOKIE_SAMESITE")).lower() == "none":
        what = (
            "SESSION_COOKIE_SAMESITE is None: pages of other sites send the session with requests"
        )
        yield Risk("cookie-samesite", what, "leave it out (Lax), unless other sites frame the app")


def framing(deployment: Deployment) -> Iterator[Risk]:
    """Report pages that other sites can frame, and headers that are left out."""
    names = deployment.app.page_headers.names
    if not {"x-frame-options", "content-security-policy"} & names:
        yield Risk(
            "page-headers",
            "page_headers= leaves out X-Frame-Options: other sites can show the app in a frame and "
            "have its users click in it",
            'name who may: page_headers={"Content-Security-Policy": "frame-ancestors '
            'https://example.org"}',
        )
    if "x-content-type-options" not in names:
        what = "page_headers= leaves out X-Content-Type-Options"
        yield Risk("page-headers", what, "do not set it to None")


def sockets(deployment: Deployment) -> Iterator[Risk]:
    """Report guards that some ways in do not pass."""
    app = deployment.app
    server = app.server
    before_request = any(server.before_request_funcs.values())
    if any(server.before_websocket_funcs.values()) and not before_request:
        yield Risk(
            "guards",
            "before_websocket guards WebSockets, but no before_request guards pages, callbacks and "
            "event streams",
            "guard with @app.server.before_request: it guards WebSockets, too",
        )
    if app.authorize is not None and not before_request and not app.has_middleware:
        yield Risk(
            "guards",
            "Flash(authorize=...) guards the live link, endpoints and Dash's WebSocket; nothing "
            "guards pages, layouts and callbacks over HTTP",
            "guard them with @app.server.before_request, but for the login page",
        )
    has_socket = app.uses_websocket_callbacks or app.page_extras.get("flash_link") is not None
    if has_socket and app.has_middleware and not before_request:
        yield Risk(
            "guards",
            "middleware around app.server does not see WebSockets if it was written for WSGI: a "
            "login in it guards pages and callbacks only",
            "guard with @app.server.before_request, or with Flash(authorize=...)",
        )
    if app.uses_websocket_callbacks and "*" in app.socket_allowed_origins:
        yield Risk(
            "origins",
            'websocket_allowed_origins has "*": pages of all sites can call callbacks with the '
            "cookies of their visitors",
            "name the origins",
        )


def background(deployment: Deployment) -> Iterator[Risk]:
    """Report managers of background callbacks that several workers or other users change."""
    for manager in deployment.app.background_managers():
        name = type(manager).__name__
        if name == "AsyncManager" and deployment.workers > 1:
            yield Risk(
                "memory",
                f"{deployment.workers} workers have background callbacks on AsyncManager: a poll "
                "that reaches another worker fails",
                "use RedisManager",
            )
        folder = getattr(getattr(manager, "handle", None), "directory", None)
        if isinstance(folder, str) and _others_may_write(folder):
            yield Risk(
                "diskcache",
                f"diskcache unpickles what it reads, and others may write to {folder}: they can "
                "run code in the app",
                f"chmod 700 {folder}, or use AsyncManager or RedisManager",
            )


def _others_may_write(folder: str) -> bool:
    try:
        return bool(os.stat(folder).st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    except OSError:
        return False


def dependencies(deployment: Deployment) -> Iterator[Risk]:
    """Report installed packages with known holes."""
    del deployment
    for package in outdated():
        what = f"{package.name} {package.installed} has known holes: {package.reason}"
        yield Risk("dependencies", what, f'pip install "{package.name}>={package.safe}"')


CHECKS: tuple[SecurityCheck, ...] = (
    secret_key,
    debug,
    allowed_hosts,
    cookies,
    framing,
    sockets,
    background,
    dependencies,
)
