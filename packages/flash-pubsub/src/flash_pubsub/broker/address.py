"""The address of a broker, as ``PubSub``, ``Publisher`` and the command line take it."""

from __future__ import annotations

import os

from flash.redis.address import DEFAULT_URL, Address, InvalidAddress
from flash.redis.address import parse_url as parse_redis_url
from flash_pubsub.errors import InvalidBrokerURL

ENVIRONMENT = "FLASH_BROKER_URL"


def parse_url(url: str | None = None) -> Address:
    """Read an address; None is ``FLASH_BROKER_URL``, or ``memory://`` if that is not set.

    `flash.redis.address.parse_url` lists the forms. Raises `InvalidBrokerURL`.
    """
    try:
        return parse_redis_url(url or os.environ.get(ENVIRONMENT) or DEFAULT_URL)
    except InvalidAddress as error:
        raise InvalidBrokerURL(error.url, error.reason) from error
