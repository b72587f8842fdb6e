"""The broker over Redis."""

from flash_pubsub.redis.broker import RedisBroker as RedisBroker

__all__ = ["RedisBroker"]
