from __future__ import annotations

import asyncio
import gzip
import os
import random
from pathlib import Path

import brotli
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flash.static import (
    OversizedFile,
    StaticCache,
    StaticFile,
    StaticResponse,
    StaticTree,
    respond,
)

BODY = b"".join(b"export const value%d = %d;\n" % (n, n) for n in range(1000))
MODIFIED = 1_700_000_000
MODIFIED_DATE = b"Tue, 14 Nov 2023 22:13:20 GMT"
CHROME = [(b"accept-encoding", b"gzip, deflate, br, zstd")]

FILE = (
    StaticFile.of(Path("app.js"), BODY, last_modified=MODIFIED)
    .with_form("br", brotli.compress(BODY))
    .with_form("zstd", zstandard.ZstdCompressor().compress(BODY))
    .with_form("gzip", gzip.compress(BODY))
)


def get(
    headers: dict[str, str] | None = None,
    *,
    file: StaticFile = FILE,
    method: str = "GET",
    immutable: bool = False,
) -> StaticResponse:
    pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return respond(file, method=method, headers=pairs, immutable=immutable)


def header(response: StaticResponse, name: str) -> str | None:
    values = [value for key, value in response.headers if key == name.encode()]
    assert len(values) < 2, f"{name} sent {len(values)} times"
    return values[0].decode() if values else None


def decoded(response: StaticResponse) -> bytes:
    match header(response, "content-encoding"):
        case None:
            return response.body
        case "br":
            return brotli.decompress(response.body)
        case "zstd":
            return zstandard.ZstdDecompressor().decompress(response.body)
        case "gzip":
            return gzip.decompress(response.body)
        case other:
            raise AssertionError(other)


# --- types and headers ---


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("A.CSS", "text/css; charset=utf-8"),
        ("a.html", "text/html; charset=utf-8"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.csv", "text/csv; charset=utf-8"),
        ("a.js.map", "application/json"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.woff2", "font/woff2"),
        ("a.wasm", "application/wasm"),
        ("favicon.ico", "image/x-icon"),
        ("a.png", "image/png"),
        ("a.unheard-of", "application/octet-stream"),
        ("LICENSE", "application/octet-stream"),
    ],
)
def test_the_content_type_follows_from_the_name_alone(name: str, expected: str) -> None:
    file = StaticFile.of(Path(name), b"x", last_modified=MODIFIED)
    assert header(get(file=file), "content-type") == expected


def test_a_plain_request_gets_the_whole_file_with_its_validators() -> None:
    response = get()
    assert (response.status, response.body) == (200, BODY)
    assert header(response, "content-length") == str(len(BODY))
    assert header(response, "last-modified") == MODIFIED_DATE.decode()
    assert header(response, "x-content-type-options") == "nosniff"
    assert header(response, "accept-ranges") == "bytes"
    assert header(response, "vary") == "accept-encoding"
    etag = header(response, "etag")
    assert etag is not None
    assert etag.startswith('"')


def test_a_name_that_carries_a_fingerprint_is_kept_for_good_and_others_are_revalidated() -> None:
    immutable = header(get(immutable=True), "cache-control")
    assert immutable == "public, max-age=31536000, immutable"
    assert header(get(), "cache-control") == "no-cache"


def test_a_file_changed_in_the_future_was_modified_now_at_the_latest() -> None:
    file = StaticFile.of(Path("a.js"), b"x", last_modified=10**12)
    assert file.last_modified < 10**11


def test_equal_bodies_have_equal_tags_and_every_form_its_own() -> None:
    again = StaticFile.of(Path("other.js"), BODY, last_modified=1)
    assert again.tag() == FILE.tag()
    assert StaticFile.of(Path("app.js"), BODY + b" ", last_modified=1).tag() != FILE.tag()
    assert len({FILE.tag("identity"), FILE.tag("br"), FILE.tag("zstd"), FILE.tag("gzip")}) == 4


def test_head_has_the_headers_of_get_and_no_body() -> None:
    for headers in ({}, {"accept-encoding": "br"}):
        head, full = get(headers, method="HEAD"), get(headers)
        assert (head.status, head.headers, head.body) == (200, full.headers, b"")


def test_other_methods_are_refused_with_those_that_work() -> None:
    response = get(method="POST")
    assert (response.status, response.body) == (405, b"")
    assert header(response, "allow") == "GET, HEAD"


# --- negotiation ---


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate", "gzip"),
        ("zstd, gzip", "zstd"),
        ("br;q=0.5, gzip", "gzip"),
        ("br;q=0.5, gzip;q=0.8, zstd;q=0.801", "zstd"),
        ("BR ; Q=1.0", "br"),
        ("x-gzip", "gzip"),
        ("*", "br"),
        ("br;q=0, *", "zstd"),
        ("*;q=0.1, gzip", "gzip"),
        ("gzip;q=0.001", "gzip"),
        ("identity, gzip", "gzip"),
        ("identity, gzip;q=0.9", None),
        ("identity", None),
        ("", None),
        ("deflate", None),
        ("gzip;q=0", None),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("gzip;q=2, br;q=nan, zstd;q=-1", None),
        (",,;;q=1,gzip;level=9,", None),
    ],
)
def test_the_most_welcome_form_is_sent(accept: str, expected: str | None) -> None:
    response = get({"accept-encoding": accept})
    assert response.status == 200
    assert header(response, "content-encoding") == expected
    assert decoded(response) == BODY
    assert header(response, "content-length") == str(len(response.body))
    assert header(response, "etag") == FILE.tag(expected or "identity").decode()


def test_several_accept_encoding_lines_count_as_one() -> None:
    headers = [(b"Accept-Encoding", b"gzip;q=0.5"), (b"accept-encoding", b"zstd")]
    response = respond(FILE, method="GET", headers=headers, immutable=False)
    assert header(response, "content-encoding") == "zstd"


@pytest.mark.parametrize("accept", ["identity;q=0", "*;q=0", "deflate, identity;q=0"])
def test_a_client_that_accepts_nothing_there_is_gets_the_plain_file(accept: str) -> None:
    plain = StaticFile.of(Path("app.js"), BODY, last_modified=MODIFIED)
    response = get({"accept-encoding": accept}, file=plain)
    assert (response.status, response.body) == (200, BODY)


def test_a_form_that_is_not_made_yet_is_not_waited_for() -> None:
    file = StaticFile.of(Path("a.js"), BODY, last_modified=MODIFIED)
    file = file.with_form("zstd", FILE.forms["zstd"])
    assert header(get({"accept-encoding": "br, zstd"}, file=file), "content-encoding") == "zstd"


def test_a_form_that_saves_nothing_is_not_kept() -> None:
    file = StaticFile.of(Path("a.js"), BODY, last_modified=MODIFIED).with_form("br", BODY + b" ")
    assert not file.compressible
    response = get({"accept-encoding": "br"}, file=file)
    assert (header(response, "content-encoding"), response.body) == (None, BODY)


# --- conditions ---


@pytest.mark.parametrize(
    "sent",
    [
        "{br}",
        "W/{br}",
        '"else", {br}',
        '"with,comma",W/{br} , "more"',
        "*",
        "{identity}",
        "{gzip}",
    ],
)
def test_a_client_that_holds_this_version_gets_a_304(sent: str) -> None:
    tags = {name: FILE.tag(name).decode() for name in ("br", "gzip", "identity")}
    response = get({"accept-encoding": "gzip, br", "if-none-match": sent.format(**tags)})
    assert (response.status, response.body) == (304, b"")
    assert header(response, "etag") in tags.values()
    assert header(response, "cache-control") == "no-cache"
    assert header(response, "vary") == "accept-encoding"
    assert header(response, "content-length") is None
    assert header(response, "content-type") is None


@pytest.mark.parametrize("sent", ['"else"', "W/nonsense", "", '"', "**"])
def test_a_client_that_holds_another_version_gets_the_file(sent: str) -> None:
    assert get({"if-none-match": sent}).status == 200


def test_a_held_form_that_its_client_no_longer_accepts_is_not_confirmed() -> None:
    headers = {"accept-encoding": "gzip", "if-none-match": FILE.tag("br").decode()}
    assert get(headers).status == 200


def test_a_held_form_is_confirmed_without_being_in_memory() -> None:
    file = StaticFile.of(Path("a.js"), BODY, last_modified=MODIFIED)
    response = get({"accept-encoding": "br", "if-none-match": file.tag("br").decode()}, file=file)
    assert (response.status, header(response, "etag")) == (304, file.tag("br").decode())


@pytest.mark.parametrize(
    ("since", "status"),
    [
        ("Tue, 14 Nov 2023 22:13:20 GMT", 304),
        ("Tue, 14 Nov 2023 22:13:21 GMT", 304),
        ("Tuesday, 14-Nov-23 22:13:20 GMT", 304),
        ("Tue Nov 14 22:13:20 2023", 304),
        ("Tue, 14 Nov 2023 22:13:20 -0000", 304),
        ("Tue, 14 Nov 2023 22:13:19 GMT", 200),
        ("yesterday", 200),
        ("Tue, 14 Nov 99999 22:13:20 GMT", 200),
        ("", 200),
    ],
)
def test_if_modified_since_compares_whole_seconds(since: str, status: int) -> None:
    assert get({"if-modified-since": since}).status == status


def test_a_tag_outweighs_a_date() -> None:
    headers = {"if-none-match": '"else"', "if-modified-since": MODIFIED_DATE.decode()}
    assert get(headers).status == 200


# --- ranges ---


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=10-", 10, len(BODY)),
        ("bytes=-10", len(BODY) - 10, len(BODY)),
        ("Bytes=5-99999999", 5, len(BODY)),
        ("bytes=-99999999", 0, len(BODY)),
    ],
)
def test_a_range_is_cut_from_the_uncompressed_file(asked: str, start: int, stop: int) -> None:
    response = get({"range": asked, "accept-encoding": "br"})
    assert (response.status, response.body) == (206, BODY[start:stop])
    assert header(response, "content-range") == f"bytes {start}-{stop - 1}/{len(BODY)}"
    assert header(response, "content-length") == str(stop - start)
    assert header(response, "content-encoding") is None
    assert header(response, "etag") == FILE.tag().decode()


@pytest.mark.parametrize("asked", [f"bytes={len(BODY)}-", "bytes=99999999-", "bytes=-0"])
def test_a_range_behind_the_end_cannot_be_satisfied(asked: str) -> None:
    response = get({"range": asked}, immutable=True)
    assert (response.status, response.body) == (416, b"")
    assert header(response, "cache-control") is None
    assert header(response, "content-range") == f"bytes */{len(BODY)}"
    assert header(response, "content-length") == "0"


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "bytes=5-4", "bytes=-", "bytes=a-b", "lines=1-2", "", "bytes=1"]
)
def test_several_ranges_or_a_malformed_one_get_the_whole_file(asked: str) -> None:
    assert (get({"range": asked}).status, get({"range": asked}).body) == (200, BODY)


def test_an_empty_file_has_no_ranges() -> None:
    empty = StaticFile.of(Path("empty.css"), b"", last_modified=MODIFIED)
    assert get({"range": "bytes=0-"}, file=empty).status == 416
    assert get({"range": "bytes=-0"}, file=empty).status == 416
    assert get({"range": "bytes=-5"}, file=empty).status == 200


def test_head_and_clients_that_refuse_the_plain_file_get_no_range() -> None:
    assert get({"range": "bytes=0-1"}, method="HEAD").status == 200
    response = get({"range": "bytes=0-1", "accept-encoding": "br, identity;q=0"})
    assert (response.status, header(response, "content-encoding")) == (200, "br")


@pytest.mark.parametrize(
    ("validator", "status"),
    [
        (FILE.tag().decode(), 206),
        (MODIFIED_DATE.decode(), 206),
        ("W/" + FILE.tag().decode(), 200),
        (FILE.tag("br").decode(), 200),
        ('"else"', 200),
        ("Tue, 14 Nov 2023 22:13:21 GMT", 200),
        ("nonsense", 200),
    ],
)
def test_if_range_gets_a_part_only_of_the_same_uncompressed_version(
    validator: str, status: int
) -> None:
    response = get({"range": "bytes=2-3", "if-range": validator, "accept-encoding": "br"})
    assert response.status == status


def test_a_held_version_outweighs_a_range() -> None:
    headers = {"range": "bytes=0-1", "if-none-match": FILE.tag().decode()}
    assert get(headers).status == 304


# --- arbitrary requests ---

# How long an example takes says nothing on a machine that others use, too.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

HEADER_NAMES = st.sampled_from(
    [b"accept-encoding", b"If-None-Match", b"if-modified-since", b"if-range", b"range", b"host"]
)
PLAUSIBLE = st.lists(
    st.sampled_from(
        [
            *b'br gzip identity * q=0 q=1 q=0.5 bytes= W/ " ; , = - 0 7'.split(),
            *b"Tue Tue, 14 Nov 2023 99999 22:13:20 GMT +9999".split(),
            *(FILE.tag(), MODIFIED_DATE, b" ", b"9" * 31, b"\xff", b"\x00"),
        ]
    ),
    max_size=12,
).map(b"".join)


@patiently
@given(
    headers=st.lists(st.tuples(HEADER_NAMES, st.binary(max_size=64) | PLAUSIBLE), max_size=6),
    method=st.sampled_from(["GET", "HEAD", "POST", "get", ""]),
    immutable=st.booleans(),
)
def test_any_request_gets_a_consistent_answer(
    headers: list[tuple[bytes, bytes]], method: str, immutable: bool
) -> None:
    response = respond(FILE, method=method, headers=headers, immutable=immutable)
    assert response.status in {200, 206, 304, 405, 416}
    assert header(response, "x-content-type-options") == "nosniff"
    if method != "HEAD" and response.status != 304:
        assert header(response, "content-length") == str(len(response.body))
    if method == "GET" and response.status == 200:
        assert decoded(response) == BODY
    if response.status == 206:
        assert response.body in BODY


# --- paths ---


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An assets folder beside a file that nobody may fetch."""
    root = tmp_path / "assets"
    (root / "css").mkdir(parents=True)
    (root / "css" / "site.css").write_bytes(BODY)
    (root / "100%.txt").write_bytes(b"full")
    (root / ".well-known").write_bytes(b"dots may lead a name")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (tmp_path / "assets-private").mkdir()
    (tmp_path / "assets-private" / "secret.txt").write_bytes(b"secret")
    return root


@pytest.fixture
async def cache():
    cache = StaticCache(check_interval=0)
    yield cache
    await cache.close()


OUTSIDE = [
    "../secret.txt",
    "css/../../secret.txt",
    "css/../css/site.css",
    "..",
    ".",
    "./css/site.css",
    "",
    "css",
    "css/",
    "css//site.css",
    "/css/site.css",
    "//etc/passwd",
    "/etc/passwd",
    "%2e%2e/secret.txt",
    "%2E%2e/secret.txt",
    "..%2fsecret.txt",
    "%252e%252e/secret.txt",
    "%25252e%25252e%25252fsecret.txt",
    "css%5c..%5c..%5csecret.txt",
    "..\\secret.txt",
    "css\\site.css",
    "css/site.css\x00",
    "css/site.css%00",
    "../assets-private/secret.txt",
    "css/site.css/more",
    "missing.css",
    "\ud800",
    "a" * 300,
    "a/" * 3000,
]


@pytest.mark.parametrize("path", OUTSIDE)
async def test_a_path_that_names_no_file_inside_finds_nothing(
    folder: Path, cache: StaticCache, path: str
) -> None:
    tree = StaticTree(folder, cache)
    assert await tree.load(path) is None
    assert await tree.answer(path, method="GET", headers=[]) is None


@pytest.mark.parametrize("path", ["css/site.css", "100%.txt", ".well-known"])
async def test_every_file_inside_is_served(folder: Path, cache: StaticCache, path: str) -> None:
    response = await StaticTree(folder, cache).answer(path, method="GET", headers=[])
    assert response is not None
    assert response.body == (folder / path).read_bytes()


async def test_links_are_followed_inside_and_not_outside(folder: Path, cache: StaticCache) -> None:
    (folder / "inside.css").symlink_to("css/site.css")
    (folder / "outside.txt").symlink_to(folder.parent / "secret.txt")
    (folder / "neighbour").symlink_to(folder.parent / "assets-private")
    (folder / "loop").symlink_to("loop")
    tree = StaticTree(folder, cache)
    assert await tree.load("inside.css") is not None
    assert await tree.load("outside.txt") is None
    assert await tree.load("neighbour/secret.txt") is None
    assert await tree.load("loop") is None


async def test_a_folder_that_is_a_link_itself_is_served(folder: Path, cache: StaticCache) -> None:
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert await StaticTree(link, cache).load("css/site.css") is not None


async def test_a_file_held_for_another_caller_stays_outside_the_tree(
    folder: Path, cache: StaticCache
) -> None:
    link = folder / "outside.txt"
    link.symlink_to(folder.parent / "secret.txt")
    assert await cache.load(link, revalidate=False) is not None
    assert await StaticTree(folder, cache).load("outside.txt") is None


SEGMENTS = st.sampled_from(
    ["..", ".", "", "css", "site.css", "%2e%2e", "%252e", "..%2f", "\\", "..\\", "\x00", "~", "C:"]
) | st.text(max_size=8)


@patiently
@given(path=st.lists(SEGMENTS, max_size=6).map("/".join) | st.text(max_size=40))
def test_no_path_leaves_the_root(path: str) -> None:
    tree = StaticTree(Path("/srv/assets"), StaticCache())
    located = tree.locate(path)
    if located is not None:
        normal = os.path.normpath(located)
        assert normal == str(located)
        assert normal.startswith("/srv/assets" + os.sep)


# --- the cache ---


def incompressible(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def test_requests_at_once_read_a_file_once(tmp_path: Path, cache: StaticCache) -> None:
    path = tmp_path / "a.js"
    path.write_bytes(BODY)
    files = await asyncio.gather(*(cache.load(path, revalidate=False) for _ in range(20)))
    assert files[0] is not None
    assert all(file is files[0] for file in files)


async def test_requests_at_once_compress_a_file_once(tmp_path: Path, cache: StaticCache) -> None:
    path = tmp_path / "a.js"
    path.write_bytes(BODY)
    answers = await asyncio.gather(*(fetch(cache, path) for _ in range(20)))
    assert {header(answer, "content-encoding") for answer in answers} == {"zstd"}
    assert all(answer.body is answers[0].body for answer in answers)
    assert decoded(answers[0]) == BODY


async def test_a_request_that_is_cancelled_takes_nobody_along(
    tmp_path: Path, cache: StaticCache
) -> None:
    path = tmp_path / "a.js"
    path.write_bytes(BODY)
    first, second = (asyncio.create_task(fetch(cache, path)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert decoded(await second) == BODY
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_missing_file_is_none_until_it_appears(tmp_path: Path, cache: StaticCache) -> None:
    path = tmp_path / "late.js"
    assert await cache.load(path, revalidate=False) is None
    path.write_bytes(BODY)
    assert await cache.load(path, revalidate=False) is not None


async def test_only_regular_files_are_read(tmp_path: Path, cache: StaticCache) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert await cache.load(tmp_path / "pipe", revalidate=False) is None
    assert await cache.load(tmp_path, revalidate=False) is None
    assert await cache.load(Path("nul\x00"), revalidate=False) is None


async def test_a_changed_file_is_read_again_where_that_is_asked_for(
    tmp_path: Path, cache: StaticCache
) -> None:
    path = tmp_path / "a.css"
    for text in (b"one", b"two", b"six"):
        path.write_bytes(text)
        file = await cache.load(path, revalidate=True)
        assert file is not None
        assert file.body == text
    path.write_bytes(b"ten")
    file = await cache.load(path, revalidate=False)
    assert file is not None
    assert file.body == b"six"
    path.unlink()
    assert await cache.load(path, revalidate=True) is None


async def test_a_file_looked_at_lately_is_not_looked_at_again(tmp_path: Path) -> None:
    cache = StaticCache(check_interval=3600)
    path = tmp_path / "a.css"
    path.write_bytes(b"one")
    await cache.load(path, revalidate=True)
    path.write_bytes(b"another")
    file = await cache.load(path, revalidate=True)
    assert file is not None
    assert file.body == b"one"
    await cache.close()


async def test_a_file_touched_but_not_changed_keeps_its_forms(
    tmp_path: Path, cache: StaticCache
) -> None:
    path = tmp_path / "a.js"
    path.write_bytes(BODY)
    os.utime(path, (MODIFIED, MODIFIED))
    before = await fetch(cache, path)
    os.utime(path, (MODIFIED + 60, MODIFIED + 60))
    after = await fetch(cache, path, revalidate=True)
    assert after.body is before.body
    assert header(after, "last-modified") != header(before, "last-modified")


async def test_a_change_takes_the_old_forms_along(tmp_path: Path, cache: StaticCache) -> None:
    path = tmp_path / "a.js"
    path.write_bytes(BODY)
    await fetch(cache, path, revalidate=True)
    path.write_bytes(BODY[::-1])
    assert decoded(await fetch(cache, path, revalidate=True)) == BODY[::-1]


async def test_a_file_over_the_limit_is_refused_by_name(tmp_path: Path) -> None:
    cache = StaticCache(max_file_bytes=100)
    path = tmp_path / "film.mp4"
    path.write_bytes(bytes(101))
    with pytest.raises(
        OversizedFile, match=r"film\.mp4 has 101 bytes, more than the limit of 100 for files"
    ):
        await cache.load(path, revalidate=False)
    path.write_bytes(bytes(100))
    assert await cache.load(path, revalidate=False) is not None
    await cache.close()


async def test_the_least_recently_used_file_makes_room(tmp_path: Path) -> None:
    cache = StaticCache(max_bytes=2500)
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for path in paths:
        path.write_bytes(incompressible(1000))
    a, b, c = paths
    held_a = await cache.load(a, revalidate=False)
    held_b = await cache.load(b, revalidate=False)
    assert await cache.load(a, revalidate=False) is held_a
    await cache.load(c, revalidate=False)
    assert cache.bytes_held == 2000
    assert await cache.load(a, revalidate=False) is held_a
    assert await cache.load(b, revalidate=False) is not held_b
    await cache.close()


async def test_forms_count_towards_the_limit(tmp_path: Path, cache: StaticCache) -> None:
    path = tmp_path / "a.js"
    path.write_bytes(BODY)
    answer = await fetch(cache, path)
    assert cache.bytes_held == len(BODY) + len(answer.body)


async def test_a_file_larger_than_the_cache_is_served_and_not_kept(tmp_path: Path) -> None:
    cache = StaticCache(max_bytes=100)
    path = tmp_path / "a.js"
    path.write_bytes(BODY)
    assert decoded(await fetch(cache, path)) == BODY
    assert cache.bytes_held == 0
    await cache.close()


async def test_a_closed_cache_starts_anew(tmp_path: Path, cache: StaticCache) -> None:
    (tmp_path / "a.js").write_bytes(BODY)
    (tmp_path / "b.js").write_bytes(BODY)
    await fetch(cache, tmp_path / "a.js")
    await cache.close()
    await cache.close()
    assert decoded(await fetch(cache, tmp_path / "b.js")) == BODY


# --- which form is made when ---


async def fetch(
    cache: StaticCache,
    path: Path,
    accept: str = "gzip, deflate, br, zstd",
    *,
    revalidate: bool = False,
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> StaticResponse:
    async with asyncio.timeout(10):
        response = await cache.answer(
            path,
            method="GET",
            headers=[(b"accept-encoding", accept.encode()), *extra],
            immutable=True,
            revalidate=revalidate,
        )
    assert response is not None
    return response


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip, deflate", "gzip"),
        ("zstd;q=0.5, gzip", "gzip"),
        ("identity, gzip;q=0.5", None),
        ("deflate", None),
    ],
)
async def test_a_first_client_gets_the_quickest_of_the_forms_it_likes_best(
    tmp_path: Path, cache: StaticCache, accept: str, coding: str | None
) -> None:
    path = tmp_path / "a.js"
    path.write_bytes(BODY)
    answer = await fetch(cache, path, accept)
    assert header(answer, "content-encoding") == coding
    assert decoded(answer) == BODY


async def test_a_small_file_is_sent_in_its_smallest_form_at_once(
    tmp_path: Path, cache: StaticCache
) -> None:
    path = tmp_path / "a.js"
    path.write_bytes(BODY[: 16 * 1024])
    answer = await fetch(cache, path)
    assert header(answer, "content-encoding") == "br"
    assert decoded(answer) == BODY[: 16 * 1024]
    assert len(answer.body) < len(brotli.compress(BODY[: 16 * 1024], quality=5))
    # Of another coding too, if the client takes no other.
    assert decoded(await fetch(cache, path, "zstd")) == BODY[: 16 * 1024]


async def test_a_file_sent_often_gets_its_smallest_form(tmp_path: Path) -> None:
    cache = StaticCache(brotli_after=3)
    path = tmp_path / "a.js"
    path.write_bytes(BODY)
    quick = [await fetch(cache, path) for _ in range(3)]
    assert {header(answer, "content-encoding") for answer in quick} == {"zstd"}
    # The fourth starts brotli without waiting for it; closing waits.
    await fetch(cache, path)
    await cache.close()
    small = await fetch(cache, path)
    assert header(small, "content-encoding") == "br"
    assert len(small.body) < len(BODY) / 3
    await cache.close()


async def test_no_form_is_made_for_answers_that_do_not_send_it(
    tmp_path: Path, cache: StaticCache
) -> None:
    path = tmp_path / "a.js"
    path.write_bytes(BODY)
    assert (await fetch(cache, path, extra=((b"range", b"bytes=0-1"),))).status == 206
    assert (await fetch(cache, path, extra=((b"if-none-match", FILE.tag("br")),))).status == 304
    assert cache.bytes_held == len(BODY)


async def test_only_what_shrinks_is_compressed(tmp_path: Path) -> None:
    cache = StaticCache(max_compressed_file_bytes=len(BODY))
    bodies = {
        "photo.png": BODY,
        "tiny.js": b"1;" * 50,
        "huge.js": BODY + b"\n",
        "noise.txt": incompressible(4096),
    }
    for name, body in bodies.items():
        (tmp_path / name).write_bytes(body)
        for _ in range(2):
            answer = await fetch(cache, tmp_path / name)
            assert (header(answer, "content-encoding"), answer.body) == (None, body)
    assert cache.bytes_held == sum(map(len, bodies.values()))
    await cache.close()
