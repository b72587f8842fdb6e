"""Scripts and the waits between attempts, without a server."""

import hashlib

import pytest

from flash.redis.backoff import Backoff
from flash.redis.names import escaped, unescaped
from flash.redis.scripts import Script


@pytest.mark.parametrize("source", ["return 'é'", "return 'é'".encode()])
def test_a_script_is_called_by_its_digest_and_loaded_with_its_source(source):
    script = Script(source)
    text = "return 'é'".encode()
    digest = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
    command = script.call([b"k", "l"], [b"a", 1])
    assert command == [b"EVALSHA", digest, 2, b"k", "l", b"a", 1]
    assert script.load(command) == [b"EVAL", text, 2, b"k", "l", b"a", 1]


def test_waits_begin_short_and_end_at_a_second_unless_asked_otherwise():
    backoff = Backoff()
    for longest in [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]:
        assert longest / 2 <= backoff.wait() <= longest
    backoff.reset()
    assert 0.025 <= backoff.wait() <= 0.05


@pytest.mark.parametrize(
    ("name", "written"), [("a", b"a"), ("{a}%", b"%7Ba%7D%25"), ("é%7B", "é%257B".encode())]
)
def test_a_name_has_no_braces_in_redis_and_is_read_back(name, written):
    assert escaped(name) == written
    assert unescaped(written) == name
