"""The broker over Redis."""

from flash_pubsub.broker.redis.broker import RedisBroker as RedisBroker

__all__ = ["RedisBroker"]
