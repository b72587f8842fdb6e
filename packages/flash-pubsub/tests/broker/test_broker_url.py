"""Where a broker is, what things are called there, and how a worker counts what it hears."""

import pytest
from redis.crc import key_slot

from flash import Flash
from flash.redis.address import Kind, Node
from flash.redis.backoff import Backoff
from flash_pubsub import MemoryBroker, PubSub, RedisBroker
from flash_pubsub.broker.address import parse_url
from flash_pubsub.broker.open import open_broker
from flash_pubsub.broker.redis.keys import Keys
from flash_pubsub.broker.redis.sequence import ChannelHead, Entry, Sequence, Verdict
from flash_pubsub.errors import InvalidBrokerURL, UnsupportedEnvelope
from flash_pubsub.publisher import Publisher
from flash_ws.protocol.position import Position


def test_without_an_address_it_is_the_environments_or_memory(monkeypatch):
    monkeypatch.delenv("FLASH_BROKER_URL", raising=False)
    assert parse_url().kind is Kind.MEMORY
    monkeypatch.setenv("FLASH_BROKER_URL", "redis://example.org")
    assert parse_url().nodes == (Node("example.org", 6379),)
    assert parse_url("memory://").kind is Kind.MEMORY


def test_an_address_says_where_who_and_how():
    address = parse_url(
        "rediss://ann:p%40ss@example.org:7000/3?prefix=shop&timeout=2.5&ssl_ca_certs=/ca.pem"
    )
    assert (address.kind, address.tls, address.db) == (Kind.SINGLE, True, 3)
    assert (address.username, address.password) == ("ann", "p@ss")
    assert (address.prefix, address.timeout) == ("shop", 2.5)
    assert address.tls_options == {"ssl_ca_certs": "/ca.pem"}
    assert "p@ss" not in f"{address} {address!r}"
    assert str(address) == "rediss://ann:***@example.org:7000/3"


def test_clusters_and_sentinels_have_many_hosts():
    cluster = parse_url("redis+cluster://:secret@a:7000,b:7001,[::1]:7002")
    assert cluster.kind is Kind.CLUSTER
    assert cluster.nodes == (Node("a", 7000), Node("b", 7001), Node("::1", 7002))
    assert cluster.password == "secret"
    sentinel = parse_url("rediss+sentinel://a,b:26380/mymaster/2?sentinel_password=x")
    assert sentinel.kind is Kind.SENTINEL
    assert sentinel.tls
    assert sentinel.nodes == (Node("a", 26379), Node("b", 26380))
    assert (sentinel.service, sentinel.db) == ("mymaster", 2)
    assert sentinel.sentinel_password == "x"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.org", "unknown scheme 'http'"),
        ("localhost:6379", "unknown scheme"),
        ("redis://example.org/zero", "not the number of a database"),
        ("redis://u:topsecret@example.org:port", "not a host and a port"),
        ("redis+sentinel://u:topsecret@a:1", "names no service"),
        ("redis+cluster://a:1/2", "database 0 only"),
        ("redis://u:topsecret@a?prefx=x", "unknown option 'prefx'; known are connect_timeout"),
        ("redis://a?timeout=soon", "not a number of seconds"),
        ("redis://a?timeout=0", "not above 0"),
    ],
)
def test_an_address_that_names_no_broker_is_refused_without_its_password(url, reason):
    with pytest.raises(InvalidBrokerURL, match=reason) as refused:
        parse_url(url)
    assert "topsecret" not in str(refused.value)
    assert refused.value.url.startswith(url.partition(":")[0])


def test_options_of_the_address_reach_the_broker():
    broker = open_broker("redis://example.org?prefix=shop&probe_interval=3")
    assert broker.address.prefix == "shop"
    assert broker.address.probe_interval == 3


def test_a_publisher_cannot_reach_the_memory_of_another_process():
    with pytest.raises(InvalidBrokerURL, match="give the app and the publisher a redis://"):
        Publisher("memory://")


def test_all_keys_of_a_channel_share_a_slot_and_no_two_channels_share_a_key():
    keys = Keys("shop{1}")
    names = ["a", "A", "a}", "{a", "{a}", "a%7D", "a:m", "комната", "a}:k:b", "x y"]
    seen = set()
    for name in names:
        own = keys.channel(name)
        everything = {*own.all, own.deadlines, own.idempotency("b}:m"), own.lease("f{1}")}
        assert {key_slot(key) for key in everything} == {own.slot}
        assert len(everything) == 7
        assert not everything & seen
        seen |= everything
        assert keys.channel_name(own.meta) == name
    assert len(keys.channel("a").idempotency("k" * 10_000)) < 200


def entry(number, epoch="E", payload=b"x"):
    return Entry(epoch, number, b"%d" % number, payload)


@pytest.fixture
def sequence():
    """Followed from number 5 of epoch E."""
    sequence = Sequence("c")
    sequence.begin(ChannelHead(Position("E", 5), b"5"))
    assert sequence.settle() == []
    return sequence


def numbers(publications):
    return [publication.position.number for publication in publications]


def test_the_next_number_is_delivered_and_an_earlier_one_dropped(sequence):
    assert sequence.take(entry(6)) is Verdict.DELIVER
    assert sequence.take(entry(6)) is Verdict.DROP
    assert sequence.take(entry(2)) is Verdict.DROP
    assert sequence.take(entry(7)) is Verdict.DELIVER
    assert (sequence.position, sequence.id) == (Position("E", 7), b"7")


def test_a_gap_is_asked_for_and_what_comes_meanwhile_waits(sequence):
    assert sequence.take(entry(8)) is Verdict.ASK
    assert sequence.take(entry(9)) is Verdict.DROP
    assert numbers(sequence.fill([entry(6), entry(7), entry(8)])) == [6, 7, 8]
    assert numbers(sequence.settle()) == [9]
    assert not sequence.asking


def test_a_gap_within_what_waited_is_asked_for_again(sequence):
    assert sequence.take(entry(8)) is Verdict.ASK
    sequence.take(entry(11))
    assert numbers(sequence.fill([entry(6), entry(7)])) == [6, 7]
    assert numbers(sequence.settle()) == [8]
    assert sequence.asking
    assert numbers(sequence.fill([entry(9), entry(10)])) == [9, 10]
    assert numbers(sequence.settle()) == [11]


def test_another_epoch_is_asked_about_once(sequence):
    assert sequence.take(entry(1, "F")) is Verdict.ASK
    sequence.take(entry(2, "F"))
    sequence.begin(ChannelHead(Position("F", 2), b"2"))
    assert sequence.settle() == []
    sequence.fill([])
    assert sequence.settle() == []
    assert not sequence.asking
    assert sequence.take(entry(3, "F")) is Verdict.DELIVER


def test_a_notice_of_a_new_epoch_is_asked_about(sequence):
    assert sequence.take(entry(0, "F", payload=None)) is Verdict.ASK
    sequence.begin(ChannelHead(Position("F", 0), b""))
    sequence.settle()
    assert sequence.take(entry(0, "F", payload=None)) is Verdict.DROP
    assert sequence.take(entry(1, "F")) is Verdict.DELIVER


def test_what_waits_is_bounded_and_asked_for_once_more_beyond(sequence):
    sequence.suspect()
    for number in range(6, 6 + 3000):
        sequence.take(entry(number))
    sequence.fill([entry(6)])
    assert sequence.settle() == []
    assert sequence.asking
    assert len(sequence.fill([entry(number) for number in range(7, 3006)])) == 2999
    assert sequence.settle() == []
    assert not sequence.asking


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x91\x02", b"hello", b"\x96\x01\x01\x01\x01\x01\x01"]
)
def test_an_entry_that_is_none_is_refused(data):
    with pytest.raises(UnsupportedEnvelope):
        Entry.read(data)


def test_waits_between_attempts_grow_to_a_limit_and_begin_anew_after_success():
    backoff = Backoff(first=0.1, cap=1.0)
    for longest in [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]:
        assert longest / 2 <= backoff.wait() <= longest
    backoff.reset()
    assert backoff.wait() <= 0.1


def test_brokers_say_where_others_may_keep_things_too():
    assert RedisBroker("redis://host").lazy_cache == "redis://host:6379/0"
    cluster = "redis+cluster://:secret@a:7000,b:7001/0?prefix=shop"
    assert RedisBroker(cluster).lazy_cache == cluster
    assert MemoryBroker().lazy_cache is None
    for broker in ("redis://host", cluster, "memory://"):
        app = Flash(__name__)
        pubsub = PubSub(app, broker=broker)
        assert app.common_store == pubsub.broker.lazy_cache
