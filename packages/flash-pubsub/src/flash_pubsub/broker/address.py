"""The address of a broker, for ``PubSub``, ``Publisher`` and the command line."""

from __future__ import annotations

import os

from flash.redis.address import DEFAULT_URL, Address, InvalidAddress
from flash.redis.address import parse_url as parse_redis_url
from flash_pubsub.errors import InvalidBrokerURL

ENVIRONMENT = "FLASH_BROKER_URL"


def parse_url(url: str | None = None) -> Address:
    """Parse an address; None means ``FLASH_BROKER_URL``, or ``memory://`` if that is not set.

    `flash.redis.address.parse_url` lists the forms. Raises `InvalidBrokerURL`.
    """
    try:
        return parse_redis_url(url or os.environ.get(ENVIRONMENT) or DEFAULT_URL)
    except InvalidAddress as error:
        raise InvalidBrokerURL(error.url, error.reason) from error
