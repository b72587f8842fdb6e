"""The errors of a call to Redis.

RedisUnavailable (flash.FlashError, redis.ConnectionError)   no answer, or not in time
RedisRefused (flash.FlashError, redis.ResponseError)         Redis answered with an error
RedisClosed (flash.FlashError, redis.ConnectionError)        the client was closed
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from flash.errors import FlashError

if TYPE_CHECKING:
    from flash.redis.address import Address


class RedisUnavailable(FlashError, RedisConnectionError):
    """Redis did not answer in time; it may have executed the command all the same.

    ``limit`` is how long or how often it was tried, ``reason`` what the last attempt raised.
    """

    says_all = True

    def __init__(self, address: Address, limit: str, reason: str) -> None:
        super().__init__(address, limit, reason)
        self.address = address
        self.limit = limit
        self.reason = reason

    def __str__(self) -> str:
        return f"Redis at {self.address} did not answer {self.limit}: {self.reason}"


class RedisRefused(FlashError, ResponseError):
    """Redis answered with an error, ``reason``; nothing has happened."""

    says_all = True

    def __init__(self, address: Address, reason: str) -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        return f"Redis at {self.address} refused a command: {self.reason}"


class RedisClosed(FlashError, RedisConnectionError):
    """The client was closed before or during the call."""

    def __str__(self) -> str:
        return "this Redis client was closed"


def reason_of(error: BaseException | None) -> str:
    """Return what went wrong, in one line."""
    text = " ".join(str(error).split())
    if not text and isinstance(error, TimeoutError):
        return "no answer in time"
    return text or type(error).__name__
