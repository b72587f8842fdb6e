"""The visitor of a panel: the identity that ``bind=`` adds to the signature of its token."""

from __future__ import annotations

import secrets
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import quart
from quart.globals import request_ctx

from flash import ConfigurationError, Visitor
from flash.access.opening_request import OpeningRequest
from flash.access.visitor import takes_visitor

if TYPE_CHECKING:
    from collections.abc import Callable

    # As `authorize`, but plain, since a layout is signed where nothing can be awaited.
    BindFunction: TypeAlias = Callable[[Visitor], str | bool | None] | Callable[[], str]

Bind: TypeAlias = "Literal['session'] | BindFunction | None"

_KEY = "_flash_lazy"


def identity(loader: str, bind: Bind) -> str:
    """Return the current visitor's identity as ``bind`` defines it; "" if the panel is not bound.

    A function gets the `Visitor`: a string is the identity, True is every visitor for whom it
    returns True, and a false value is a visitor whose panels are refused. A function without
    parameters returns the identity.

    Raises `ConfigurationError` if there is no request, or no session to store an identity in.
    """
    if bind is None:
        return ""
    if not quart.has_request_context():
        raise ConfigurationError(
            f"{loader}: bind= needs a visitor; place the panel in a layout that a page requests"
        )
    if bind != "session":
        return _identity_by(bind)
    known = quart.session.get(_KEY)
    if not isinstance(known, str):
        known = secrets.token_hex(16)
        try:
            quart.session[_KEY] = known
        except RuntimeError as error:
            raise ConfigurationError(
                f"{loader}: bind='session' needs a session; set app.server.secret_key"
            ) from error
    return f"session:{known}"


def _identity_by(bind: Callable[..., object]) -> str:
    if not takes_visitor(bind):
        return f"by:{bind()}"
    scope: Any = request_ctx.request.scope
    opening = OpeningRequest(scope)
    opening.bind_context(copy_context())
    answer = bind(Visitor(opening))
    if answer is True:
        return "allowed"
    if isinstance(answer, str) and answer:
        return f"by:{answer}"
    if answer in (False, None, ""):
        # Not the same twice, so that no visitor is the one for whom the token is signed.
        return f"nobody:{secrets.token_hex(16)}"
    raise TypeError(f"bind returned {answer!r}: return True, False or the name of the visitor")
