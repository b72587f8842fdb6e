"""What `flash check` says about a broker: where it is, and what its key is worth there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from flash.checking.security import Risk
from flash.redis.address import Kind
from flash_pubsub.signing_key import ENCRYPTION_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash.checking.security import Deployment
    from flash.redis.address import Address

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def broker_risks(deployment: Deployment, address: Address | None) -> Iterator[Risk]:
    """Report a Redis in which the signing key is in clear, or that strangers may reach.

    ``address`` is None for a broker in memory, and for one that an app has written.
    """
    if address is None:
        return
    if not deployment.app.server.secret_key and not os.environ.get(ENCRYPTION_VARIABLE):
        yield Risk(
            "redis-key",
            "the key that signs pages and panels is stored in Redis in clear: who reads that Redis "
            "can act as any page",
            f"set app.server.secret_key, or {ENCRYPTION_VARIABLE} to encrypt it",
        )
    is_remote = address.kind is not Kind.UNIX and any(
        node.host not in _LOOPBACK for node in address.nodes
    )
    if deployment.is_public and is_remote:
        if not address.password:
            what = f"{address} has no password: who reaches it can publish to every page"
            yield Risk("redis", what, "an ACL user of its own, see docs/security.md")
        if not address.tls:
            what = f"{address} is spoken to in clear"
            yield Risk("redis", what, "rediss://, or a network that only the workers reach")
