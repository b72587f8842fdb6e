"""The key that all workers of a deployment sign with, where the app has none of its own."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from flash_pubsub.broker.backplane import PREFIX
from flash_pubsub.broker.seam import Retention
from flash_pubsub.errors import Overtaken

if TYPE_CHECKING:
    from flash import Flash
    from flash_pubsub.broker.backplane import BrokerBackplane
    from flash_pubsub.broker.listeners import Listeners
    from flash_pubsub.broker.seam import Publication
    from flash_ws.protocol.position import Position

logger = logging.getLogger(__name__)

SIGNING_KEY_CHANNEL = f"{PREFIX}secret"
_FIELD = "secret"
_PERMANENT = Retention(max_idle=10 * 365 * 86_400.0)


class SharedSigningKey:
    """Has every worker sign with the key that the broker's store has; the first one makes it.

    A `Listener`. A store that has lost the key gets it back, so that workers which start later
    believe what was signed before.
    """

    def __init__(self, app: Flash, listeners: Listeners, backplane: BrokerBackplane) -> None:
        self._app = app
        self._listeners = listeners
        self._backplane = backplane
        self._key = secrets.token_bytes(32)

    async def start(self) -> None:
        """Sign with the key of all from now on."""
        await self._listeners.listen(SIGNING_KEY_CHANNEL, self)
        self._sign_with(await self._load_or_create())

    async def _load_or_create(self) -> bytes:
        """Return the store's key; it is this worker's if the store had none."""
        broker = self._listeners.broker
        while True:
            snapshot = await broker.snapshot(SIGNING_KEY_CHANNEL)
            if _FIELD in snapshot.values:
                return snapshot.values[_FIELD]
            try:
                await broker.publish(
                    SIGNING_KEY_CHANNEL,
                    b"",
                    changes={_FIELD: self._key},
                    after=snapshot.position,
                    retention=_PERMANENT,
                )
            except Overtaken:
                # Of several workers that start together the first one counts.
                continue
            return self._key

    def _sign_with(self, key: bytes) -> None:
        self._key = key
        self._app.share_signing_secret(key)

    def deliver(self, publication: Publication) -> None:
        """Do nothing: whoever publishes here has made sure that the store had no key."""

    def reset(self, channel: str, position: Position) -> None:
        """Put the key back, if it is lost."""
        del channel, position
        self._backplane.spawn(self._backplane.persist(self._restore))

    async def _restore(self) -> None:
        stored = await self._load_or_create()
        if stored != self._key:
            logger.warning(
                "a worker that began when the store was empty has made another signing key; "
                "pages that were signed with the one before are told that something is lost"
            )
            self._sign_with(stored)
