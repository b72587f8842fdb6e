"""The signing key that all workers of a deployment share, for an app without a `secret_key`."""

from __future__ import annotations

import hmac
import logging
import os
import secrets
from typing import TYPE_CHECKING

from flash import ConfigurationError
from flash_pubsub.broker.page_frames import PREFIX
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

# The environment variable under whose value the key is encrypted in the store.
ENCRYPTION_VARIABLE = "FLASH_SECRET_KEY"

# What an encrypted key begins with, and the lengths of its parts in bytes.
_MARK = b"flash1:"
_NONCE = 16
_KEY = _TAG = 32


class WrongSecretKey(ConfigurationError):
    """The stored key cannot be read with this worker's ``FLASH_SECRET_KEY``."""

    says_all = True

    def __str__(self) -> str:
        return (
            f"the signing key in Redis is encrypted under another {ENCRYPTION_VARIABLE}: give all "
            "workers the same, or delete the channel's keys in Redis, which makes open pages reload"
        )


def encrypt(key: bytes, secret: str) -> bytes:
    """Return a key of 32 bytes encrypted under ``secret``, and authenticated."""
    nonce = secrets.token_bytes(_NONCE)
    hidden = _xor(key, _digest(secret, b"encrypt", nonce))
    return _MARK + nonce + hidden + _digest(secret, b"authenticate", nonce + hidden)


def decrypt(stored: bytes, secret: str) -> bytes:
    """Return an encrypted key; raises `WrongSecretKey` if it was encrypted under another secret."""
    rest = stored.removeprefix(_MARK)
    nonce, hidden, tag = rest[:_NONCE], rest[_NONCE : _NONCE + _KEY], rest[_NONCE + _KEY :]
    expected = _digest(secret, b"authenticate", nonce + hidden)
    if len(tag) != _TAG or not hmac.compare_digest(tag, expected):
        raise WrongSecretKey
    return _xor(hidden, _digest(secret, b"encrypt", nonce))


def _digest(secret: str, purpose: bytes, data: bytes) -> bytes:
    own = hmac.digest(secret.encode(), b"flash signing key: " + purpose, "sha256")
    return hmac.digest(own, data, "sha256")


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


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
        """Let the app sign with the shared key from now on.

        Raises `WrongSecretKey` if the stored key was encrypted under another ``FLASH_SECRET_KEY``.
        """
        if not os.environ.get(ENCRYPTION_VARIABLE) and not self._app.server.secret_key:
            logger.warning(
                "the key that signs pages is stored in Redis in clear: set app.server.secret_key, "
                "or %s to encrypt it",
                ENCRYPTION_VARIABLE,
            )
        await self._listeners.listen(SIGNING_KEY_CHANNEL, self)
        self._sign_with(await self._load_or_create())

    async def _load_or_create(self) -> bytes:
        """Return the key in the broker; write this worker's key if the broker has none.

        A key in clear is replaced by the same one, encrypted, where a secret for that is set.
        """
        broker = self._listeners.broker
        secret = os.environ.get(ENCRYPTION_VARIABLE)
        while True:
            snapshot = await broker.snapshot(SIGNING_KEY_CHANNEL)
            stored = snapshot.values.get(_FIELD)
            key = self._key
            if stored is not None:
                if stored.startswith(_MARK):
                    if not secret:
                        raise WrongSecretKey
                    return decrypt(stored, secret)
                if not secret:
                    return stored
                key = stored
            written = encrypt(key, secret) if secret and len(key) == _KEY else key
            if written == stored:
                return key
            try:
                await broker.publish(
                    SIGNING_KEY_CHANNEL,
                    b"",
                    changes={_FIELD: written},
                    after=snapshot.position,
                    retention=_PERMANENT,
                )
            except Overtaken:
                # Another worker was faster; its key is read in the next round.
                continue
            return key

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
