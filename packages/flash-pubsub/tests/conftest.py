"""The stores that every broker is asked on."""

import broker_worlds
import dash
import pytest

# The interface is newer than the lowest Dash; `make test-matrix` runs these on the newest.
collect_ignore = ["dash_storage/test_storage_contract.py", "dash_storage/test_storage_streams.py"]
if hasattr(dash, "BaseSharedStorage"):
    collect_ignore.clear()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    with broker_worlds.RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory):
    with broker_worlds.RedisServer(
        tmp_path_factory.mktemp("valkey"), name="valkey", program="valkey-server"
    ) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory):
    with broker_worlds.RedisCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def redis_sentinel(tmp_path_factory):
    with broker_worlds.RedisSentinel(tmp_path_factory.mktemp("sentinel")) as sentinel:
        yield sentinel


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
