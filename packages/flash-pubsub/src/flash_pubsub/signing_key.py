"""The signing key that all workers of a deployment share, for an app without a `secret_key`."""

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
    """Makes every worker sign with the key in the broker; the first worker creates the key.

    As a `Listener` it writes the key again when the store has lost it, so that workers which start
    later accept earlier signatures.
    """

    def __init__(self, app: Flash, listeners: Listeners, backplane: BrokerBackplane) -> None:
        self._app = app
        self._listeners = listeners
        self._backplane = backplane
        self._key = secrets.token_bytes(32)

    async def start(self) -> None:
        """Let the app sign with the shared key from now on."""
        await self._listeners.listen(SIGNING_KEY_CHANNEL, self)
        self._sign_with(await self._load_or_create())

    async def _load_or_create(self) -> bytes:
        """Return the key in the broker; write this worker's key if the broker has none."""
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
                # Another worker was faster; its key is read in the next round.
                continue
            return self._key

    def _sign_with(self, key: bytes) -> None:
        self._key = key
        self._app.share_signing_secret(key)

    def deliver(self, publication: Publication) -> None:
        """Do nothing: a key is published only when the broker had none."""

    def reset(self, channel: str, position: Position) -> None:
        """Write the key again, if the store has lost it."""
        del channel, position
        self._backplane.spawn(self._backplane.retry_until_available(self._restore))

    async def _restore(self) -> None:
        stored = await self._load_or_create()
        if stored != self._key:
            logger.warning(
                "the store lost the signing key, and another worker has created a new one; "
                "pages signed with the old one cannot resume and are told that messages are lost"
            )
            self._sign_with(stored)
