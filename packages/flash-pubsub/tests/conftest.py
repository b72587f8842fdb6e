"""The stores that every broker is asked on."""

import broker_worlds
import dash
import pytest
from redis_servers import RedisServer, own_redis, redis_cluster, redis_sentinel, redis_server

__all__ = ["own_redis", "redis_cluster", "redis_sentinel", "redis_server"]

# The interface is newer than the lowest Dash; `make test-matrix` runs these on the newest.
collect_ignore = ["dash_storage/test_storage_contract.py", "dash_storage/test_storage_streams.py"]
if hasattr(dash, "BaseSharedStorage"):
    collect_ignore.clear()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory):
    with RedisServer(
        tmp_path_factory.mktemp("valkey"), name="valkey", program="valkey-server"
    ) as server:
        yield server


@pytest.fixture
async def redis_world(redis_server):
    async with broker_worlds.RedisWorld(redis_server) as world:
        yield world


@pytest.fixture
async def valkey_world(valkey_server):
    async with broker_worlds.RedisWorld(valkey_server) as world:
        yield world


@pytest.fixture
async def cluster_world(redis_cluster):
    async with broker_worlds.RedisWorld(redis_cluster) as world:
        yield world


@pytest.fixture
async def sentinel_world(redis_sentinel):
    async with broker_worlds.RedisWorld(redis_sentinel) as world:
        yield world


@pytest.fixture
async def memory_world():
    world = broker_worlds.MemoryWorld()
    yield world
    await world.close()
