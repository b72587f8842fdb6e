"""What the Redis broker does when Redis fails: what was acknowledged against what arrived."""

import asyncio
import importlib.util
import os
import random
import signal
import sys
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import redis
from broker_worlds import SECONDS, RedisWorld, until
from redis_servers import PROGRAMS, RedisCluster, RedisSentinel, RedisServer

from flash_pubsub.broker.seam import Lease, Member, MemberChange, Retention, presence_of
from flash_pubsub.errors import BrokerError, BrokerRefused, BrokerUnavailable, Fenced

_path = Path(__file__).parents[2] / "packages/flash-pubsub/tests/broker/test_broker_contract.py"
_spec = importlib.util.spec_from_file_location("broker_contract_for_faults", _path)
contract = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(contract)

PROBE = 0.5
# Delivery has to be back this many seconds after the store is.
BAR = PROBE + 2.0

# More, for looking at the same faults under other circumstances: FLASH_FAULT_SEEDS=1,2,3.
SEEDS = [int(seed) for seed in os.environ.get("FLASH_FAULT_SEEDS", "1").split(",")]


@pytest.fixture(params=SEEDS)
def rng(request):
    return random.Random(request.param)


@pytest.fixture
def directory(tmp_path):
    return tmp_path


@pytest.fixture
def server(directory):
    """A Redis that keeps what it has over a restart."""
    with RedisServer(directory, "--appendonly", "yes") as server:
        yield server


@pytest.fixture
async def world(server):
    async with RedisWorld(server) as world:
        yield world


class Traffic:
    """Publishers on some channels, and who of their messages was acknowledged."""

    CHANNELS = ("a", "b", "c")

    def __init__(self, worker, rng, name):
        self.worker = worker
        self.rng = rng
        self.name = name
        # By channel, in order of acknowledgement: (position, payload).
        self.acknowledged = {channel: [] for channel in self.CHANNELS}
        # Raised, so that it may or may not have happened.
        self.uncertain = []
        self.refused = []
        self._stop = asyncio.Event()

    async def run(self):
        await asyncio.gather(*(self._publish(channel) for channel in self.CHANNELS))

    async def _publish(self, channel):
        number = 0
        while not self._stop.is_set():
            number += 1
            payload = f"{self.name} {channel} {number}".encode()
            try:
                position = await self.worker.broker.publish(
                    channel, payload, changes={self.name: payload}
                )
            except BrokerUnavailable:
                self.uncertain.append(payload)
            except BrokerError:
                self.refused.append(payload)
            else:
                self.acknowledged[channel].append((position, payload))
            await asyncio.sleep(self.rng.uniform(0, 0.006))

    def stop(self):
        self._stop.set()

    @property
    def count(self):
        return sum(map(len, self.acknowledged.values()))


class Scene:
    """Two workers that publish and a third that listens only, all of them listening."""

    def __init__(self, workers, traffic):
        self.workers = workers
        self.traffic = traffic

    async def flows(self, more=30):
        """Wait until so many more messages were acknowledged, and enough on each channel."""
        before = sum(traffic.count for traffic in self.traffic)
        await until(lambda: sum(traffic.count for traffic in self.traffic) > before + more)
        for channel in Traffic.CHANNELS:
            await until(
                lambda channel=channel: (
                    sum(len(each.acknowledged[channel]) for each in self.traffic) > 15
                )
            )

    async def hears_again(self):
        """Wait, no longer than promised, until all hear what is published from now on."""
        marks = [len(worker.journal["a"]) for worker in self.workers]
        await until(
            lambda: all(
                len(worker.journal["a"]) > mark + 5
                for worker, mark in zip(self.workers, marks, strict=True)
            ),
            seconds=BAR,
        )

    async def ends(self):
        """Stop publishing and wait until all have heard the last of it."""
        for traffic in self.traffic:
            traffic.stop()
        await until(lambda: all(task.done() for task in self.tasks), seconds=SECONDS)
        for task in self.tasks:
            await task
        for channel in Traffic.CHANNELS:
            last = await self.workers[0].broker.position(channel)
            for worker in self.workers:
                journal = worker.journal[channel]
                await until(lambda journal=journal, last=last: reached(journal) == last)

    def check_exactly_once_in_order(self):
        """Nothing lost, nothing twice, everything in order, to everybody, without a reset."""
        for channel in Traffic.CHANNELS:
            acknowledged = [own for t in self.traffic for own in t.acknowledged[channel]]
            assert len(acknowledged) > 15
            uncertain = {payload for t in self.traffic for payload in t.uncertain}
            for worker in self.workers:
                assert worker.resets == []
                assert worker.numbers(channel) == list(range(1, len(worker.numbers(channel)) + 1))
                delivered = {(p.position, p.payload) for p in worker.delivered[channel]}
                lost = set(acknowledged) - delivered
                assert not lost
                payloads = worker.payloads(channel)
                assert len(set(payloads)) == len(payloads)
                beyond = set(payloads) - {payload for _, payload in acknowledged}
                assert beyond <= uncertain
            self.check_order_of_publishers(channel)

    def check_order_of_publishers(self, channel):
        for worker in self.workers:
            for traffic in self.traffic:
                own = [
                    int(payload.split()[-1])
                    for payload in worker.payloads(channel)
                    if payload.startswith(traffic.name.encode())
                ]
                assert own == sorted(own)

    async def check_told_and_right_afterwards(self, *, everybody=True):
        """Whoever lost something was told; what came after is complete, state included."""
        for channel in Traffic.CHANNELS:
            history = {}
            for worker in self.workers:
                journal = worker.journal[channel]
                resets = [n for n, entry in enumerate(journal) if isinstance(entry, tuple)]
                if everybody:
                    assert resets, f"{channel} was not told"
                position = None
                for entry in journal:
                    if isinstance(entry, tuple):
                        position = entry[1]
                        continue
                    if position is not None:
                        assert entry.position.epoch == position.epoch
                        assert entry.position.number == position.number + 1
                    position = entry.position
                    # Everybody was told the same under the same number.
                    assert history.setdefault(entry.position, entry.payload) == entry.payload
            snapshot = await self.workers[0].broker.snapshot(channel)
            current = sorted(
                (position.number, payload)
                for position, payload in history.items()
                if position.epoch == snapshot.position.epoch
            )
            last = {payload.split()[0].decode(): payload for _, payload in current}
            assert {name: snapshot.values[name] for name in last} == last


def reached(journal):
    if not journal:
        return None
    last = journal[-1]
    return last[1] if isinstance(last, tuple) else last.position


@asynccontextmanager
async def scene(world, rng, *, urls=(None, None, None), **options):
    options = {"probe_interval": PROBE, "connect_timeout": 1.0, **options}
    workers = [await world.worker(url=url, **options) for url in urls]
    for worker in workers:
        for channel in Traffic.CHANNELS:
            await worker.broker.subscribe(channel)
    traffic = [Traffic(worker, rng, f"p{n}") for n, worker in enumerate(workers[:2])]
    made = Scene(workers, traffic)
    made.tasks = [asyncio.create_task(own.run()) for own in traffic]
    try:
        await made.flows()
        yield made
    finally:
        for own in traffic:
            own.stop()
        await asyncio.gather(*made.tasks, return_exceptions=True)


def kill_connections(server):
    with server.client() as client:
        for kind in ("pubsub", "normal"):
            client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


async def test_b1_every_connection_killed_loses_nothing(world, server, rng, caplog):
    async with scene(world, rng) as stage:
        for _ in range(3):
            await asyncio.to_thread(kill_connections, server)
            await stage.hears_again()
            await stage.flows(rng.randrange(5, 50))
        await stage.ends()
    stage.check_exactly_once_in_order()
    assert not [u for t in stage.traffic for u in t.uncertain]
    for worker in stage.workers:
        assert worker.broker.status.reconnects >= 1
    assert "no messages arrive from" in caplog.text
    assert "again" in caplog.text


async def test_b1_a_restart_that_keeps_the_data_loses_nothing(world, server, rng):
    async with scene(world, rng) as stage:
        for _ in range(2):
            await asyncio.to_thread(server.kill)
            await until(lambda: not any(w.broker.status.ready for w in stage.workers))
            await asyncio.to_thread(server.start)
            await stage.hears_again()
            await stage.flows()
        await stage.ends()
    stage.check_exactly_once_in_order()


async def test_b2_a_restart_without_the_data_is_told_to_everybody(directory, rng):
    with RedisServer(directory) as server:
        async with RedisWorld(server) as world, scene(world, rng) as stage:
            before = {
                (position, payload)
                for traffic in stage.traffic
                for own in traffic.acknowledged.values()
                for position, payload in own
            }
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            await stage.hears_again()
            await stage.flows()
            await stage.ends()
            await stage.check_told_and_right_afterwards()
            for channel in Traffic.CHANNELS:
                old = next(p for p, payload in before if f" {channel} ".encode() in payload)
                assert await stage.workers[0].broker.since(channel, old) is None


async def test_b2_a_backup_put_back_is_told_to_everybody(server, world, directory, rng):
    async with scene(world, rng) as stage:
        with server.client() as client:
            await asyncio.to_thread(client.execute_command, "BGREWRITEAOF")
            manifest = directory / "appendonlydir" / "appendonly.aof.manifest"
            await until(lambda: "appendonly.aof.2.base" in manifest.read_text())
            await until(lambda: len(list(manifest.parent.glob("*.incr.aof"))) == 1)
        await stage.flows(60)
        await asyncio.to_thread(server.kill)
        # Half of what was appended since the last rewrite is gone.
        (appended,) = (directory / "appendonlydir").glob("*.incr.aof")
        text = appended.read_bytes()
        appended.write_bytes(text[: len(text) // 2])
        await asyncio.to_thread(server.start)
        await stage.hears_again()
        await stage.flows(200)
        await stage.ends()
        await stage.check_told_and_right_afterwards()


async def test_b6_publishing_rides_out_three_seconds_without_redis(world, server, rng):
    async with scene(world, rng, timeout=8.0) as stage:
        await asyncio.to_thread(server.kill)
        await until(lambda: not any(w.broker.status.ready for w in stage.workers))
        for worker in stage.workers:
            assert not worker.broker.status.ready
            assert worker.broker.status.reason
        # The outage itself is what is tested, and it lasts three seconds.
        await asyncio.sleep(3)
        await asyncio.to_thread(server.start)
        await stage.hears_again()
        await stage.flows()
        await stage.ends()
    assert not [u for t in stage.traffic for u in (*t.uncertain, *t.refused)]
    stage.check_exactly_once_in_order()


async def test_b6_publishing_raises_in_time_while_redis_is_away(world, server, rng):
    async with scene(world, rng, timeout=0.5) as stage:
        await asyncio.to_thread(server.kill)
        await until(lambda: sum(len(t.uncertain) for t in stage.traffic) >= 6)
        with pytest.raises(BrokerUnavailable):
            await stage.workers[0].broker.subscribe("new")
        assert stage.workers[0].broker.status.subscribed == 3
        await asyncio.to_thread(server.start)
        await stage.hears_again()
        await stage.flows()
        await stage.ends()
    stage.check_exactly_once_in_order()


async def test_b1_a_frozen_server_is_noticed_and_loses_nothing(world, server, rng):
    async with scene(world, rng) as stage:
        server.signal(signal.SIGSTOP)
        await until(lambda: not any(w.broker.status.ready for w in stage.workers))
        # What is tested is a server frozen for so long.
        await asyncio.sleep(4 - 2 * PROBE)
        server.signal(signal.SIGCONT)
        await stage.hears_again()
        await stage.flows()
        await stage.ends()
    stage.check_exactly_once_in_order()


class Proxy:
    """Between a worker and Redis; swallows whatever comes while it is `blackholed`."""

    def __init__(self, port):
        self._port = port
        self.blackholed = False
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                pumps = [self._pump(reader, back), self._pump(there, writer)]
                pumping = [asyncio.create_task(pump) for pump in pumps]
                await asyncio.wait(pumping, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumping:
                    pump.cancel()
            finally:
                back.close()
        except OSError:
            pass
        finally:
            writer.close()
            self._tasks.discard(asyncio.current_task())

    async def _pump(self, source, sink):
        # A connection that was swallowed from once is never heard of again.
        swallowed = False
        with suppress(OSError):
            while data := await source.read(1 << 16):
                swallowed = swallowed or self.blackholed
                if not swallowed:
                    sink.write(data)
                    await sink.drain()


async def test_b1_a_blackholed_connection_is_noticed_and_loses_nothing(world, server, rng):
    async with Proxy(server.port) as proxy:
        through = f"redis://127.0.0.1:{proxy.port}/0"
        async with scene(world, rng, urls=(None, through, through)) as stage:
            proxy.blackholed = True
            await until(lambda: not any(w.broker.status.ready for w in stage.workers[1:]))
            assert stage.workers[0].broker.status.ready
            proxy.blackholed = False
            await stage.hears_again()
            await stage.flows()
            await stage.ends()
        stage.check_exactly_once_in_order()


async def test_b1_a_message_over_the_output_limit_of_redis_arrives(world, server, rng):
    with server.client() as client:
        client.config_set("client-output-buffer-limit", "pubsub 200kb 100kb 1")
    async with scene(world, rng) as stage:
        big = bytes(rng.randrange(256) for _ in range(1000)) * 600
        retention = Retention(max_bytes=4 << 20)
        await stage.workers[0].broker.publish("big", b"", retention=retention)
        for worker in stage.workers:
            await worker.broker.subscribe("big")
        await stage.workers[0].broker.publish("big", big, retention=retention)
        for worker in stage.workers:
            await worker.has("big", big)
            await until(lambda worker=worker: worker.broker.status.reconnects >= 1)
        await stage.hears_again()
        await stage.ends()
    stage.check_exactly_once_in_order()


async def test_b6_a_full_store_refuses_and_says_so_and_goes_on_when_there_is_room(
    world, server, rng
):
    async with scene(world, rng) as stage:
        with server.client() as client:
            used = client.info("memory")["used_memory"]
            client.config_set("maxmemory", used // 2)
        with pytest.raises(BrokerRefused, match="maxmemory"):
            await stage.workers[0].broker.publish("a", b"no room")
        await until(lambda: all(traffic.refused for traffic in stage.traffic))
        position = await stage.workers[0].broker.position("a")
        assert await stage.workers[0].broker.since("a", position) == []
        with server.client() as client:
            client.config_set("maxmemory", 0)
        await stage.flows()
        await stage.ends()
    refused = {payload for traffic in stage.traffic for payload in traffic.refused}
    for worker in stage.workers:
        assert not refused & set(worker.payloads("a"))
    stage.check_exactly_once_in_order()


async def test_a_wrong_password_is_told_and_the_right_one_mends_it(world, server, caplog):
    with server.client() as client:
        client.config_set("requirepass", "right")
    server.password = "right"
    worker = await world.worker(url=f"redis://:wrong@127.0.0.1:{server.port}/0", wait=False)
    with pytest.raises(BrokerRefused, match=r"WRONGPASS|invalid username-password"):
        await worker.broker.publish("c", b"1")
    await until(lambda: "invalid" in worker.broker.status.reason)
    assert not worker.broker.status.ready
    assert caplog.text.count("no messages arrive from") == 1
    with server.client() as client:
        client.config_set("requirepass", "wrong")
    server.password = "wrong"
    async with asyncio.timeout(BAR):
        await worker.broker.ready()
    await worker.broker.subscribe("c")
    await worker.broker.publish("c", b"2")
    await worker.has("c", b"2")


# What everything else rests on; the package's own tests ask for the rest.
CORE = [
    contract.test_a_message_reaches_every_worker_that_subscribed,
    contract.test_numbers_begin_at_one_and_have_no_gaps,
    contract.test_two_publishers_are_seen_in_one_order_by_everybody,
    contract.test_history_returns_exactly_what_was_missed,
    contract.test_what_history_cannot_know_it_does_not_guess,
    contract.test_a_snapshot_holds_the_latest_value_of_every_field_in_the_order_of_setting,
    contract.test_snapshot_then_changes_have_no_seam,
    contract.test_a_key_makes_repeating_a_publication_safe,
    contract.test_a_message_that_is_to_come_right_after_a_position_comes_there_or_not_at_all,
    contract.test_an_emptied_store_is_told_to_everybody,
    contract.test_presence_tells_who_is_there_who_came_and_who_left,
    contract.test_a_lease_has_one_holder_and_its_numbers_only_grow,
    contract.test_a_former_holder_cannot_publish_on_its_leases_channel,
    contract.test_many_channels_each_keep_their_order,
]

# Each program as a server of its own, then the other two ways to have one.
DEPLOYMENTS = {
    **{name: partial(RedisServer, program=name) for name in PROGRAMS},
    "cluster": RedisCluster,
    "sentinel": RedisSentinel,
}


@pytest.mark.parametrize("kind", DEPLOYMENTS)
async def test_b12_every_deployment_keeps_the_same_promises(kind, directory):
    with DEPLOYMENTS[kind](directory) as deployment:
        for ask in CORE:
            async with RedisWorld(deployment) as world:
                await ask(world)


async def test_b12_a_failover_under_sentinel_loses_nothing_unsaid(directory, rng):
    with RedisSentinel(directory) as sentinel:
        async with RedisWorld(sentinel) as world, scene(world, rng, timeout=10.0) as stage:
            master = await asyncio.to_thread(lambda: sentinel.master)
            before = [worker.broker.status.reconnects for worker in stage.workers]
            await asyncio.to_thread(master.kill)
            await until(lambda: not any(w.broker.status.ready for w in stage.workers))
            await until(lambda: all(w.broker.status.ready for w in stage.workers))
            await stage.hears_again()
            for worker, count in zip(stage.workers, before, strict=True):
                assert worker.broker.status.reconnects > count
            await stage.flows()
            await stage.ends()
            if any(worker.resets for worker in stage.workers):
                # The replica had not got everything: then everybody is told.
                await stage.check_told_and_right_afterwards()
            else:
                stage.check_exactly_once_in_order()


async def test_b6_what_a_replica_has_before_it_is_acknowledged_survives_a_failover(directory, rng):
    with RedisSentinel(directory) as sentinel:
        async with RedisWorld(sentinel) as world:
            worker = await world.worker(
                min_replicas=1, timeout=1.5, connect_timeout=0.5, probe_interval=PROBE
            )
            acknowledged = {}

            async def publish(name):
                with suppress(BrokerUnavailable):
                    while True:
                        number = acknowledged.get(name, (0, None))[0] + 1
                        changes = {name: b"%d" % number}
                        position = await worker.broker.publish("c", b"", changes=changes)
                        acknowledged[name] = number, position

            publishers = [asyncio.create_task(publish(f"p{n}")) for n in range(4)]
            await until(lambda: len(acknowledged) == 4)
            await until(lambda: acknowledged["p0"][0] > 20 + rng.randrange(50))
            master = await asyncio.to_thread(lambda: sentinel.master)
            await asyncio.to_thread(master.kill)
            await asyncio.gather(*publishers)
            await until(lambda: worker.broker.status.ready)
            snapshot = await worker.broker.snapshot("c")
            for name, (number, position) in acknowledged.items():
                assert int(snapshot.values[name]) >= number
                assert snapshot.position.number >= position.number


def migrate(cluster, slots):
    """Move slots, with whatever keys they have, each to the next node."""
    owners = {}
    ids = {}
    for node in cluster.nodes:
        with node.client() as client:
            ids[node.port] = client.execute_command("CLUSTER", "MYID").decode()
            for first, last, (_, port, *_), *_ in raw_slots(client):
                owners.update(dict.fromkeys(range(first, last + 1), port))
    for slot in slots:
        source = next(node for node in cluster.nodes if node.port == owners[slot])
        target = cluster.nodes[(cluster.nodes.index(source) + 1) % 3]
        with source.client() as old, target.client() as new:
            setslot = ("CLUSTER", "SETSLOT", slot)
            new.execute_command(*setslot, "IMPORTING", ids[source.port])
            old.execute_command(*setslot, "MIGRATING", ids[target.port])
            while keys := old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
                old.execute_command(
                    *("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
                )
            for client in (new, old):
                client.execute_command(*setslot, "NODE", ids[target.port])
        for node in cluster.nodes:
            if node not in (source, target):
                with node.client() as client:
                    client.execute_command(*setslot, "NODE", ids[target.port])


def raw_slots(client):
    client.response_callbacks.pop("CLUSTER SLOTS", None)
    return client.execute_command("CLUSTER", "SLOTS")


async def test_b12_slots_that_move_between_nodes_lose_nothing(directory, rng):
    with RedisCluster(directory) as cluster:
        async with RedisWorld(cluster) as world, scene(world, rng) as stage:
            store = stage.workers[0].broker
            for _ in range(2):
                slots = [
                    redis.crc.key_slot(f"{{{world.prefix}:c:{channel}}}".encode())
                    for channel in Traffic.CHANNELS
                ]
                await asyncio.to_thread(migrate, cluster, slots)
                await stage.hears_again()
                await stage.flows()
            assert store.status.ready
            await stage.ends()
        stage.check_exactly_once_in_order()


async def test_b12_a_node_of_a_cluster_that_restarts_empty_is_told(directory, rng):
    with RedisCluster(directory) as cluster:
        async with RedisWorld(cluster) as world, scene(world, rng) as stage:
            for node in cluster.nodes:
                await asyncio.to_thread(node.kill)
                await asyncio.to_thread(node.start)
            await until(lambda: all(w.broker.status.ready for w in stage.workers))
            await stage.hears_again()
            await stage.flows()
            await stage.ends()
            await stage.check_told_and_right_afterwards()


HOLDER = """
import asyncio, sys
from flash_pubsub.broker.seam import Member
from flash_pubsub.broker.redis import RedisBroker


async def main(url, prefix):
    broker = RedisBroker(url, prefix=prefix)
    await broker.start(lambda publication: None, lambda channel, position: None)
    lease = await broker.lease("feeder", 1.0, channel="c")
    await broker.enter("room", Member("ann", b"Ann"), ttl=1.0)
    await broker.publish("c", b"mine", fence=lease)
    print(lease.number, flush=True)
    while True:
        await asyncio.sleep(0.2)
        await broker.renew(lease, 1.0)


asyncio.run(main(*sys.argv[1:]))
"""


async def test_b13_a_killed_workers_lease_and_members_pass_on(world, server):
    worker = await world.worker()
    await worker.broker.subscribe(presence_of("room"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, server.url, world.prefix), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(SECONDS):
        number = int(await process.stdout.readline())
    assert await worker.broker.lease("feeder", 5, channel="c") is None
    assert await worker.broker.members("room") == [Member("ann", b"Ann")]
    process.kill()
    await process.wait()
    async with asyncio.timeout(1.0 + BAR):
        lease = await until(lambda: worker.broker.lease("feeder", 5, channel="c"))
    assert lease.number > number
    await worker.broker.publish("c", b"mine now", fence=lease)
    late = Lease("feeder", "c", number)
    with pytest.raises(Fenced):
        await worker.broker.publish("c", b"from the dead", fence=late)
    await until(lambda: len(worker.payloads(presence_of("room"))) == 2)
    assert [MemberChange.unpack(p) for p in worker.payloads(presence_of("room"))] == [
        MemberChange("joined", Member("ann", b"Ann")),
        MemberChange("expired", Member("ann", b"Ann")),
    ]
    assert await worker.broker.members("room") == []


async def test_an_idle_worker_stays_connected(world, server):
    worker = await world.worker(probe_interval=0.1)
    await worker.broker.subscribe("quiet")
    lags = set()
    await until(lambda: lags.add(worker.broker.status.lag) or len(lags) > 5)
    assert worker.broker.status.reconnects == 0
    await worker.broker.publish("quiet", b"1")
    await worker.has("quiet", b"1")
