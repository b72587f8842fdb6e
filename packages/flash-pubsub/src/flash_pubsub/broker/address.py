"""The address of a broker, for ``PubSub``, ``Publisher`` and the command line."""

from __future__ import annotations

import os

from flash.redis.address import DEFAULT_URL, Address, InvalidAddress
from flash.redis.address import parse_url as parse_redis_url
from flash_pubsub.errors import InvalidBrokerURL

ENVIRONMENT = "FLASH_BROKER_URL"
# The address that the whole app uses, where the broker has none of its own.
APP_ENVIRONMENT = "FLASH_REDIS_URL"


def parse_url(url: str | None = None) -> Address:
    """Parse an address; None means ``FLASH_BROKER_URL``, else ``FLASH_REDIS_URL``, else memory.

    `flash.redis.address.parse_url` lists the forms. Raises `InvalidBrokerURL`.
    """
    try:
        return parse_redis_url(url or given_by_environment() or DEFAULT_URL)
    except InvalidAddress as error:
        raise InvalidBrokerURL(error.url, error.reason) from error


def given_by_environment() -> str | None:
    """Return the address that the environment names for the broker, if there is one."""
    return os.environ.get(ENVIRONMENT) or os.environ.get(APP_ENVIRONMENT)
