"""Revocations: users whose older session cookies are refused.

A session that is kept in a cookie cannot be deleted on the server. A revocation names a user and a
time; cookies of that user that were signed until then no longer count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import quart
from itsdangerous import BadData, TimestampSigner
from itsdangerous.encoding import base64_decode, bytes_to_int

if TYPE_CHECKING:
    from collections.abc import Iterable

# Users whose revocations are kept. Beyond them the oldest one is dropped, and from then on the
# cookies of all named users must be younger than it.
MAX_USERS = 10_000


class Revocations:
    """The revocations that a worker knows; ``seconds`` is how long a cookie is valid anyway."""

    def __init__(self, *, max_users: int = MAX_USERS) -> None:
        self._max_users = max_users
        # By user, the time of the revocation in seconds since the epoch; oldest first.
        self._times: dict[str, float] = {}
        # Cookies of every user must be younger than this.
        self._floor = 0.0

    def add(self, user: str, at: float) -> None:
        """Refuse cookies of ``user`` that were signed until ``at``; idempotent."""
        known = self._times.pop(user, 0.0)
        self._times[user] = max(at, known)
        while len(self._times) > self._max_users:
            dropped = next(iter(self._times))
            self._floor = max(self._floor, self._times.pop(dropped))

    def refuses(self, user: str, server: Any) -> bool:
        """Return whether the current request's cookie is older than the user's revocation.

        So is one that does not tell its age.
        """
        revoked = max(self._times.get(user, 0.0), self._floor)
        if not revoked:
            return False
        signed = signed_at(server)
        # A cookie tells whole seconds only.
        return signed is None or signed <= int(revoked)

    def __len__(self) -> int:
        return len(self._times)

    def items(self) -> Iterable[tuple[str, float]]:
        """Return users and times."""
        return tuple(self._times.items())


def signed_at(server: Any) -> int | None:
    """Return when the cookie that logs the current request in was signed; None if it is not known.

    It is the session's cookie or that of Quart-Auth, the older one if there are both. Signatures
    are not checked: the app has accepted one of them, and another one could only be older.
    """
    cookies = quart.request.cookies
    names: list[str] = [server.session_interface.get_cookie_name(server)]
    if "QUART_AUTH" in server.extensions:
        names.append(server.config.get("QUART_AUTH_COOKIE_NAME", "QUART_AUTH"))
    times = [_timestamp(cookies[name]) for name in names if name in cookies]
    known = [each for each in times if each is not None]
    return min(known) if known and len(known) == len(times) else None


def _timestamp(cookie: str) -> int | None:
    parts = cookie.rsplit(TimestampSigner("").sep.decode(), 2)
    if len(parts) != 3:
        return None
    try:
        return bytes_to_int(base64_decode(parts[1]))
    except (BadData, ValueError):
        return None
