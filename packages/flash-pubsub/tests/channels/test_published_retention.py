"""An app tells publishers in other processes how much its channels remember."""

import pytest

from flash_pubsub.broker.memory import MemoryBroker
from flash_pubsub.channels.declaration import ChannelPattern, ChannelSettings
from flash_pubsub.channels.retention import (
    RETENTION_CHANNEL,
    RETENTION_FIELD,
    RetentionRules,
    published_retention,
)
from flash_ws.protocol.position import Position


class Listeners:
    """One broker, and who listens to which channel of it."""

    def __init__(self, broker):
        self.broker = broker
        self.listening = {}

    async def listen(self, channel, listener):
        self.listening[channel] = listener


class Backplane:
    """Keeps what it is to do until it is asked."""

    def __init__(self):
        self.spawned = []

    async def retry_until_available(self, write):
        await write()

    def spawn(self, work):
        self.spawned.append(work)


@pytest.fixture
async def broker():
    broker = MemoryBroker()
    await broker.start(lambda publication: None, lambda channel, position: None)
    yield broker
    await broker.close()


def rules(**history):
    return RetentionRules.of(
        [(ChannelPattern(name), ChannelSettings(history=size)) for name, size in history.items()]
    )


async def stored(broker):
    snapshot = await broker.snapshot(RETENTION_CHANNEL)
    packed = snapshot.values.get(RETENTION_FIELD)
    return snapshot.position.number, None if packed is None else RetentionRules.unpack(packed)


async def started(broker, told):
    published = published_retention(told, Listeners(broker), Backplane())
    await published.start()
    return published


async def test_rules_are_in_the_store_once_the_app_has_started(broker):
    published = await started(broker, rules(prices=5))
    assert await stored(broker) == (1, rules(prices=5))
    assert published._listeners.listening == {RETENTION_CHANNEL: published}


async def test_the_same_rules_are_not_written_again_and_others_replace_them(broker):
    await started(broker, rules(prices=5))
    await started(broker, rules(prices=5))
    assert await stored(broker) == (1, rules(prices=5))
    await started(broker, rules(prices=6))
    assert await stored(broker) == (2, rules(prices=6))


async def test_an_app_without_rules_writes_none_but_replaces_those_of_an_earlier_version(broker):
    await started(broker, rules())
    assert await stored(broker) == (0, None)
    await started(broker, rules(prices=5))
    await started(broker, rules())
    assert await stored(broker) == (2, rules())


async def test_a_store_that_has_lost_them_gets_them_back(broker):
    listeners, backplane = Listeners(MemoryBroker()), Backplane()
    await listeners.broker.start(lambda publication: None, lambda channel, position: None)
    published = published_retention(rules(prices=5), listeners, backplane)
    await published.start()
    await listeners.broker.close()
    listeners.broker = broker
    published.reset(RETENTION_CHANNEL, Position("new", 0))
    (work,) = backplane.spawned
    await work
    assert (await stored(broker))[1] == rules(prices=5)
