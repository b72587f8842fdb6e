"""How `flash top --redis` and workers find each other in a Redis.

A watcher publishes its own name on a topic that every worker of a prefix is subscribed to. Each
worker then pushes one sample to a list of this watcher, as `flash.top.sample.Sample.parse` reads
it. So a worker that nobody watches does nothing.
"""

from __future__ import annotations

import re

from flash.redis.names import escaped

# Seconds after which the samples that a watcher has not collected are removed.
KEPT_FOR = 10

# A watcher chooses its name, and a key is made of it.
_NAME = re.compile(rb"[A-Za-z0-9_-]{8,64}")


def topic_of(prefix: str) -> bytes:
    """Return the pub/sub channel on which watchers ask the workers of a prefix."""
    return b"{%b:top}" % escaped(prefix)


def samples_of(prefix: str, watcher: bytes) -> bytes:
    """Return the key of the list with the samples for one watcher; in the slot of the topic."""
    return b"%b:%b" % (topic_of(prefix), watcher)


def is_watcher(name: bytes) -> bool:
    """Return whether this can be the name of a watcher."""
    return _NAME.fullmatch(name) is not None
