"""The end of a `Publisher`."""

import subprocess
import sys

import pytest

from flash_pubsub import AsyncPublisher, BrokerClosed, Publisher


def test_11_17_a_publisher_that_is_not_closed_ends_quietly_with_the_process(redis_server):
    code = f"""
from flash_pubsub import Publisher
publisher = Publisher({redis_server.url!r})
print(publisher.publish("jobs", 1).number)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert (ended.stdout.strip().isdigit(), ended.stderr) == (True, "")


def test_11_17_publishing_after_close_says_what_to_do(redis_server):
    publisher = Publisher(redis_server.url)
    publisher.publish("jobs", 1)
    publisher.close()
    publisher.close()
    with pytest.raises(BrokerClosed, match="this publisher is closed; make a new one"):
        publisher.publish("jobs", 2)


async def test_11_17_an_async_publisher_says_so_too(redis_server):
    publisher = AsyncPublisher(redis_server.url)
    await publisher.close()
    with pytest.raises(BrokerClosed, match="make a new one"):
        await publisher.publish("jobs", 2)
