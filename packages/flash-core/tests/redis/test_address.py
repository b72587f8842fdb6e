"""Addresses: what each part of a URL says, and the URLs that an address is written as."""

import re

import pytest

from flash.redis.address import Address, InvalidAddress, Kind, Node, parse_url

HOST = (Node("host", 6379),)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memory://", Address(Kind.MEMORY)),
        ("redis://", Address(Kind.SINGLE, (Node("127.0.0.1", 6379),))),
        ("REDIS://host", Address(Kind.SINGLE, HOST)),
        ("redis://host:7000/", Address(Kind.SINGLE, (Node("host", 7000),))),
        ("redis://host/3", Address(Kind.SINGLE, HOST, db=3)),
        ("redis://host?db=3", Address(Kind.SINGLE, HOST, db=3)),
        # The path goes before the option.
        ("redis://host/2?db=3", Address(Kind.SINGLE, HOST, db=2)),
        ("redis://ann@host", Address(Kind.SINGLE, HOST, username="ann")),
        ("redis://a%40b:c%3Ad@host", Address(Kind.SINGLE, HOST, username="a@b", password="c:d")),
        ("redis://:p@host", Address(Kind.SINGLE, HOST, password="p")),
        ("redis://:@host", Address(Kind.SINGLE, HOST)),
        ("rediss://host", Address(Kind.SINGLE, HOST, tls=True)),
        ("unix:///tmp/r%20s.sock", Address(Kind.UNIX, (Node("/tmp/r s.sock", 0),))),
        (
            "unix://ann:p@/r.sock?db=4",
            Address(Kind.UNIX, (Node("/r.sock", 0),), username="ann", password="p", db=4),
        ),
        (
            "redis+cluster://a,[::1]:7000",
            Address(Kind.CLUSTER, (Node("a", 6379), Node("::1", 7000))),
        ),
        ("redis+cluster://a/0", Address(Kind.CLUSTER, (Node("a", 6379),))),
        ("rediss+cluster://a", Address(Kind.CLUSTER, (Node("a", 6379),), tls=True)),
        (
            "redis+sentinel://a,b:1/my%2Fmaster/2",
            Address(Kind.SENTINEL, (Node("a", 26379), Node("b", 1)), service="my/master", db=2),
        ),
    ],
)
def test_an_address_has_what_its_url_says(url, expected):
    assert parse_url(url) == expected
    assert parse_url(expected.url) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("timeout=0.5", {"timeout": 0.5}),
        ("socket_timeout=3", {"timeout": 3.0}),
        ("connect_timeout=2", {"connect_timeout": 2.0}),
        ("socket_connect_timeout=2", {"connect_timeout": 2.0}),
        ("probe_interval=9", {"probe_interval": 9.0}),
        ("min_replicas=2", {"min_replicas": 2}),
        ("prefix=shop", {"prefix": "shop"}),
        ("prefix=", {"prefix": ""}),
        ("sentinel_username=u", {"sentinel_username": "u"}),
        ("sentinel_password=p", {"sentinel_password": "p"}),
        *[
            (f"{name}=x", {"tls_options": {name: "x"}})
            for name in (
                *("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_keyfile_password"),
                "ssl_cert_reqs",
            )
        ],
        *[
            (f"ssl_check_hostname={text}", {"tls_options": {"ssl_check_hostname": said}})
            for text, said in [
                *(("0", False), ("f", False), ("False", False), ("n", False), ("NO", False)),
                *(("", False), ("1", True), ("true", True)),
            ]
        ],
    ],
)
def test_an_address_has_the_options_of_its_url(options, expected):
    address = parse_url(f"redis://host?{options}")
    assert address == Address(Kind.SINGLE, HOST, **expected)
    assert parse_url(address.url) == address


def test_an_option_that_has_no_effect_is_named_and_left_out():
    with pytest.warns(DeprecationWarning, match=r"^max_connections= in the address.*remove it$"):
        assert parse_url("redis://host?max_connections=5") == Address(Kind.SINGLE, HOST)


MASKED = "redis://ann:***@host"
KNOWN = "known are memory://, redis://, rediss://, unix://, redis+cluster:// and redis+sentinel://"


@pytest.mark.parametrize(
    ("url", "masked", "reason"),
    [
        ("http://ann:secret@host", "http://ann:***@host", f"unknown scheme 'http'; {KNOWN}"),
        ("redis://ann:secret@host/x", f"{MASKED}/x", "'x' is not the number of a database"),
        ("redis://ann:secret@host/1/2", f"{MASKED}/1/2", "'1/2' is not the number of a database"),
        ("redis://ann:secret@host:x", f"{MASKED}:x", "'host:x' is not a host and a port"),
        ("redis://ann:secret@host?timeout=x", MASKED, "timeout='x' is not a number of seconds"),
        ("redis://ann:secret@host?timeout=-1", MASKED, "timeout='-1' is not above 0"),
        ("redis://ann:secret@host?timeout=nan", MASKED, "timeout='nan' is not a number of seconds"),
        ("redis://ann:secret@host?timeout=inf", MASKED, "timeout='inf' is not a number of seconds"),
        ("redis://ann:secret@host?db=-1", MASKED, "db='-1' is not a whole number"),
        ("redis://ann:secret@host?min_replicas=1.5", MASKED, "min_replicas='1.5' is not a whole"),
        ("redis://ann:secret@host?secret=x", MASKED, "unknown option 'secret'; known are connect_"),
        ("redis+cluster://a/2", "redis+cluster://a/2", "a cluster has database 0 only, not 2"),
        ("redis+cluster://a?db=2", "redis+cluster://a", "a cluster has database 0 only, not 2"),
        ("redis+sentinel://a", "redis+sentinel://a", "it names no service; write redis+sentinel:"),
        ("redis+sentinel://a/b/c", "redis+sentinel://a/b/c", "'c' is not the number of a database"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason_and_without_the_password(
    url, masked, reason
):
    with pytest.raises(InvalidAddress, match=re.escape(reason)) as refused:
        parse_url(url)
    assert refused.value.url == masked
    assert str(refused.value) == f"address {masked!r}: {refused.value.reason}"
    assert "secret@" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://ann:secret@host/1?prefix=x", "redis://ann:***@host:6379/1"),
        ("redis://:secret@host", "redis://:***@host:6379/0"),
        ("redis://ann@host", "redis://host:6379/0"),
        ("rediss+sentinel://a,[::1]:1/b%2Fc", "rediss+sentinel://a:26379,[::1]:1/b%2Fc/0"),
        ("unix://:secret@/r s.sock?db=2", "unix://:***@/r%20s.sock?db=2"),
        ("memory://", "memory://"),
    ],
)
def test_an_address_is_shown_without_password_and_options(url, shown):
    address = parse_url(url)
    assert str(address) == shown
    assert "secret" not in repr(address)


@pytest.mark.parametrize(
    "other",
    [
        *("redis://host:1", "redis://host/1", "rediss://host", "redis://ann@host", "unix:///host"),
        *("redis://:p@host", "redis://host?sentinel_username=u", "redis+cluster://host"),
        *("redis://host?sentinel_password=p", "redis://host?ssl_cert_reqs=none"),
    ],
)
def test_addresses_share_connections_that_differ_in_nothing_a_connection_depends_on(other):
    key = parse_url("redis://host").server_key
    assert parse_url("redis://host?prefix=x&timeout=9&min_replicas=1").server_key == key
    assert parse_url(other).server_key != key
    hash(parse_url(other).server_key)


def test_sentinels_of_another_service_share_no_connections():
    one, other = (parse_url(f"redis+sentinel://a/{name}").server_key for name in ("x", "y"))
    assert one != other
