"""What an app is told about its client behind a proxy."""

from __future__ import annotations

import pytest

from flash.serving.proxy import RootPath, TrustedProxy

FORWARDED = [(b"x-forwarded-for", b"6.6.6.6, 1.2.3.4"), (b"x-forwarded-proto", b"https")]


async def told(wrap, scope):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)

    await wrap(app)({"scheme": "http", "headers": [], "path": "/"} | scope, None, None)
    return seen[0]


@pytest.mark.parametrize(
    ("trusted", "client", "expected"),
    [
        (["127.0.0.1"], ("127.0.0.1", 5), ("https", "1.2.3.4")),
        (["10.0.0.0/8", "1.2.3.4"], ("10.1.1.1", 5), ("https", "6.6.6.6")),
        (["127.0.0.1"], ("8.8.8.8", 5), ("http", "8.8.8.8")),
        (["127.0.0.1"], None, ("https", "1.2.3.4")),
        (["*"], ("8.8.8.8", 5), ("https", "6.6.6.6")),
    ],
)
async def test_only_a_trusted_proxy_is_believed(trusted, client, expected):
    scope = {"type": "http", "client": client, "headers": FORWARDED}
    seen = await told(lambda app: TrustedProxy(app, trusted=trusted), scope)
    assert (seen["scheme"], seen["client"][0]) == expected


async def test_a_websocket_behind_tls_is_wss():
    scope = {"type": "websocket", "client": ("127.0.0.1", 5), "headers": FORWARDED}
    seen = await told(lambda app: TrustedProxy(app, trusted=["127.0.0.1"]), scope)
    assert seen["scheme"] == "wss"


@pytest.mark.parametrize("path", ["/sales/page", "/page"])
async def test_the_root_path_is_there_whether_or_not_the_proxy_strips_it(path):
    scope = {"type": "http", "path": path, "raw_path": path.encode()}
    seen = await told(lambda app: RootPath(app, root_path="/sales"), scope)
    assert (seen["root_path"], seen["path"]) == ("/sales", "/sales/page")
    assert seen["raw_path"] == b"/sales/page"


async def test_a_path_that_only_begins_alike_is_not_under_the_root():
    seen = await told(
        lambda app: RootPath(app, root_path="/sales"), {"type": "http", "path": "/salesmen"}
    )
    assert seen["path"] == "/sales/salesmen"
