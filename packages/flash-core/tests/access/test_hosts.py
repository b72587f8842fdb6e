"""Under which hosts an app is reached (issue 13, E)."""

import pytest
from dash import html

from flash import ConfigurationError, Flash
from flash.access.hosts import HostPolicy
from flash.testing import AppClient


def allows(policy, *hosts):
    scope = {"headers": [(b"host", host.encode("latin-1")) for host in hosts]}
    return policy.refusal_reason(scope) is None


@pytest.mark.parametrize(
    "host",
    [
        "app.test",
        "App.Test:8050",
        "app.test.",
        "a.b.test",
        "deep.a.b.test:1",
        "[::1]:80",
        "127.0.0.1",
    ],
)
def test_13_e_a_named_host_and_a_subdomain_are_allowed(host):
    assert allows(HostPolicy(["app.test", "*.b.test", "[::1]", "127.0.0.1"]), host)


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("evil.test",),
        ("b.test",),
        ("xb.test",),
        ("app.test.evil.test",),
        ("app.test@evil.test",),
        ("app.test", "evil.test"),
        ("app.test, evil.test",),
        ("",),
        ("127.0.0.1",),
        ("app.test:80:80",),
        ("\xe4pp.test",),
    ],
)
def test_13_e_any_other_host_is_refused(hosts):
    assert not allows(HostPolicy(["app.test", "*.b.test"]), *hosts)


def test_13_e_a_star_allows_any_host():
    assert allows(HostPolicy(["*"]), "evil.test")


@pytest.mark.parametrize("name", ["", "http://app.test", "app.test:80", "a/b", "*.", "a.*.b"])
def test_13_e_what_is_no_host_is_an_error(name):
    with pytest.raises(ConfigurationError, match="is not a host"):
        HostPolicy([name])


@pytest.mark.parametrize("path", ["/", "/_dash-layout", "/_favicon.ico", "/nothing"])
async def test_13_e_a_request_for_another_host_gets_400_on_every_path(path):
    app = Flash(__name__, allowed_hosts=["app.test"])
    app.layout = html.Div()
    async with AppClient(app) as client:
        allowed = await client.get(path, headers={"host": "app.test"})
        refused = await client.get(path, headers={"host": "evil.test"})
    assert allowed.status == 200
    assert refused.status == 400
    assert refused.body == b"the host 'evil.test' is not in allowed_hosts=\n"
    assert refused.headers["content-type"] == "text/plain; charset=utf-8"
    assert refused.headers["content-length"] == str(len(refused.body))


async def test_13_e_a_websocket_for_another_host_is_closed_before_it_is_open():
    app = Flash(__name__, allowed_hosts=["app.test"])
    app.layout = html.Div()
    received, sent = [{"type": "websocket.connect"}], []

    async def receive():
        return received.pop()

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [(b"host", b"evil.test")]}
    await app.server(scope, receive, send)
    assert received == []
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "another host"}]


async def test_13_e_without_the_list_any_host_is_allowed():
    app = Flash(__name__)
    app.layout = html.Div()
    async with AppClient(app) as client:
        assert (await client.get("/", headers={"host": "evil.test"})).status == 200
