"""Bodies are compressed where the client can read it, and decompressed up to a limit."""

import gzip
import threading
import tracemalloc

import pytest
import zstandard

from flash import BadRequest
from flash.callbacks.execution import WorkerPool
from flash.callbacks.response import EncodedResponse
from flash.http.compression import (
    MAX_COMPRESSED_ON_LOOP,
    MIN_COMPRESSED,
    compress,
    decompress,
)


class Pool(WorkerPool):
    """Records what it is given."""

    def __init__(self):
        super().__init__(max_threads=1)
        self.runs = 0

    async def run(self, function, *args, **kwargs):
        self.runs += 1
        assert threading.current_thread() is threading.main_thread()
        return await super().run(function, *args, **kwargs)


@pytest.fixture
def pool():
    pool = Pool()
    yield pool
    pool.close()


def response(size):
    return EncodedResponse(201, b"x" * size, "text/plain")


async def test_a_short_body_stays_as_it_is_and_depends_on_nothing(pool):
    short = response(MIN_COMPRESSED - 1)
    assert await compress(short, "gzip", pool) is short


async def test_a_body_of_the_least_length_is_compressed_and_everything_else_is_kept(pool):
    compressed = await compress(response(MIN_COMPRESSED), "gzip", pool)
    assert gzip.decompress(compressed.body) == b"x" * MIN_COMPRESSED
    assert (compressed.coding, compressed.varies) == ("gzip", True)
    assert (compressed.status, compressed.content_type) == (201, "text/plain")
    assert pool.runs == 0


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, br, zstd", "zstd"),
        ("gzip, br", "br"),
        ("gzip", "gzip"),
        ("zstd;q=0, gzip", "gzip"),
        ("zstd;q=0.1, gzip;q=0.9", "gzip"),
        ("*", "zstd"),
    ],
)
async def test_the_client_chooses_and_of_equals_the_fastest_is_taken(pool, accepted, coding):
    assert (await compress(response(2000), accepted, pool)).coding == coding


@pytest.mark.parametrize("accepted", [None, "", "identity", "deflate", "gzip;q=0"])
async def test_who_can_read_no_coding_gets_the_body_and_caches_are_told(pool, accepted):
    plain = await compress(response(2000), accepted, pool)
    assert (plain.body, plain.coding, plain.varies) == (b"x" * 2000, None, True)


async def test_a_long_body_is_compressed_in_a_thread(pool):
    await compress(response(MAX_COMPRESSED_ON_LOOP), "zstd", pool)
    assert pool.runs == 0
    long = await compress(response(MAX_COMPRESSED_ON_LOOP + 1), "zstd", pool)
    assert pool.runs == 1
    whole = zstandard.ZstdDecompressor().decompressobj().decompress(long.body)
    assert whole == b"x" * (MAX_COMPRESSED_ON_LOOP + 1)


# -- what clients send


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", " GZIP "])
def test_a_body_of_just_the_limit_is_read(coding):
    packed = gzip.compress(b"x" * 100)
    assert decompress(packed, coding, 100) == b"x" * 100
    assert decompress(packed, coding, None) == b"x" * 100


def test_one_byte_more_is_too_large_and_a_bomb_is_not_unpacked_to_find_out():
    with pytest.raises(BadRequest) as refused:
        decompress(gzip.compress(b"x" * 101), "gzip", 100)
    assert refused.value.status == 413
    bomb = gzip.compress(b"\0" * 50_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(BadRequest, match="100 bytes"):
            decompress(bomb, "gzip", 100)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "identity"])
def test_another_coding_is_refused_by_name(coding):
    with pytest.raises(BadRequest, match=coding) as refused:
        decompress(b"x", coding, 100)
    assert refused.value.status == 415


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no gzip", "^the body is not gzip: "),
        (b"", "^the body is not gzip: it ends too early$"),
        (gzip.compress(b"x" * 50, mtime=0)[:-1], "^the body is not gzip: it ends too early$"),
    ],
)
def test_what_is_no_gzip_or_not_all_of_it_is_a_bad_request(body, reason):
    with pytest.raises(BadRequest, match=reason) as refused:
        decompress(body, "gzip", 100)
    assert refused.value.status == 400
