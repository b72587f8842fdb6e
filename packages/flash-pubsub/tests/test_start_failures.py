"""What an operator reads when Redis does not let the app start."""

import asyncio
import logging
import subprocess
import sys

import pytest
from redis_servers import RedisServer

from flash import Flash, html
from flash.testing import FlashClient
from flash_pubsub import BrokerUnavailable, PubSub

APP = """
import os
from flash import Flash, html
from flash_pubsub import PubSub

app = Flash(__name__)
app.layout = html.Div()
pubsub = PubSub(app, broker=os.environ["URL"], start_timeout=3)
"""


@pytest.fixture(scope="module")
def guarded_redis(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("guarded")) as server:
        with server.client() as client:
            everything = (">few", "on", "~*", "&*", "+@all")
            client.execute_command("ACL", "SETUSER", "noscripts", *everything, "-evalsha", "-eval")
            client.execute_command("ACL", "SETUSER", "nosubscribe", *everything, "-subscribe")
        yield server


@pytest.mark.parametrize(
    ("user", "said", "to_do"),
    [
        ("noscripts:wrong@", "invalid username-password pair", "check user and password"),
        ("noscripts:few@", "no permissions to run the 'eval", "allow the user this command"),
        ("nosubscribe:few@", "no permissions to run the 'subscribe'", "allow the user"),
    ],
)
@pytest.mark.parametrize("server", ["hypercorn", "uvicorn", "granian"])
def test_11_14_a_start_that_redis_refuses_ends_in_one_line(
    user, said, to_do, server, guarded_redis, tmp_path, monkeypatch
):
    if server != "hypercorn" and "wrong" not in user:
        pytest.skip("the way to the line is the same for every cause")
    (tmp_path / "refused.py").write_text(APP)
    monkeypatch.setenv("URL", f"redis://{user}127.0.0.1:{guarded_redis.port}/0")
    command = [sys.executable, "-m", "flash.cli", "run", "refused:app", "--bind", "127.0.0.1:0"]
    ended = subprocess.run(
        [*command, "--server", server],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode != 0
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if "the app did not start" in line]
    assert f"127.0.0.1:{guarded_redis.port}" in line
    assert said in line
    assert to_do in line
    assert "few" not in line.replace("a few", "")
    assert "wrong" not in line


async def test_11_14_an_error_of_a_request_keeps_its_traceback(caplog):
    app = Flash(__name__)
    app.layout = html.Div()

    @app.server.get("/fails")
    async def fails():
        raise BrokerUnavailable("publish", "Redis is away")

    with caplog.at_level(logging.ERROR):
        async with FlashClient(app) as client:
            assert (await client.get("/fails")).status == 500
    assert any(record.exc_info for record in caplog.records)


async def test_11_22_a_worker_is_not_ready_while_redis_refuses_writes(own_redis, caplog):
    app = Flash(__name__)
    app.layout = html.Div()
    PubSub(app, broker=own_redis.url)

    async def ready():
        # A result counts for a second.
        await asyncio.sleep(1.1)
        return (await app.server.test_client().get("/_flash/ready")).status_code

    await app.server.startup()
    try:
        assert await ready() == 200
        await asyncio.to_thread(_limit_memory, own_redis, 1)
        assert await ready() == 503
        assert await ready() == 503
        assert caplog.text.count("refuses writes") == 1
        assert "used memory" in caplog.text
        await asyncio.to_thread(_limit_memory, own_redis, 0)
        assert await ready() == 200
    finally:
        await app.server.shutdown()


def _limit_memory(server, limit):
    with server.client() as client:
        client.config_set("maxmemory", limit)
