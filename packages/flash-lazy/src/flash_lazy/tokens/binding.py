"""The visitor of a panel: the identity that ``bind=`` adds to the signature of its token."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Literal, TypeAlias

import quart

from flash import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

Bind: TypeAlias = "Literal['session'] | Callable[[], str] | None"

_KEY = "_flash_lazy"


def identity(loader: str, bind: Bind) -> str:
    """Return the current visitor's identity as ``bind`` defines it; "" if the panel is not bound.

    Raises `ConfigurationError` if there is no request, or no session to store an identity in.
    """
    if bind is None:
        return ""
    if not quart.has_request_context():
        raise ConfigurationError(
            f"{loader}: bind= needs a visitor; place the panel in a layout that a page requests"
        )
    if bind != "session":
        return f"by:{bind()}"
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
