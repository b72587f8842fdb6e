"""One app file on stock Dash and on Flash, and many users at once, on real servers."""

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from flask_replies import seen_cookie
from redis_servers import free_port

from flash.testing import AppProcess

APPS = Path(__file__).parents[1] / "apps"
SERVERS = ["hypercorn", "uvicorn"]
FIXED = {"FIXED_TIME": "1"}


@contextmanager
def stock():
    """Serve the app with Dash and Werkzeug's server."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "with_flask.py", str(port)],
        cwd=APPS / "with_flask",
        env={"DASH_PACKAGE": "dash", "PATH": "", **FIXED},
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                requests.get(f"{address}/login", timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.05)
        yield address
    finally:
        process.kill()
        process.wait()


@contextmanager
def served(server, name="with_flask", **env):
    path = APPS / "with_flask" / f"{name}.py"
    with AppProcess(path, server=server, env={"DASH_PACKAGE": "flash", **env}) as process:
        yield process.url


def body_of_call(output, value):
    return {
        "output": f"{output}.children",
        "outputs": {"id": output, "property": "children"},
        "inputs": [{"id": "in", "property": "value", "value": value}],
        "changedPropIds": ["in.value"],
    }


# -- one file, three servers ----------------------------------------------------------------------

ASKED = (
    "/_dash-layout",
    "/who",
    "/login?next=%2Fwho",
    "/in/ann",
    "/who",
    "/umlauts",
    "/_dash-layout",
    "/cached/3",
    "/cached/3",
    3,
    4,
    "/who",
    "/out",
    "/who",
    5,
    "/in/bob",
    "/who",
)


def conversation(address):
    """What the app answers to one user: statuses, bodies, cookies."""
    found = []
    with requests.Session() as user:
        user.headers["X-Me"] = "ann"
        for asked in ASKED:
            options = {"allow_redirects": False, "timeout": 60}
            if isinstance(asked, str):
                response = user.get(f"{address}{asked}", **options)
            else:
                url = f"{address}/_dash-update-component"
                response = user.post(url, json=body_of_call("plain", asked), **options)
            cookies = response.raw.headers.getlist("set-cookie")
            body = response.content
            if "html" in response.headers["content-type"]:
                # Both frameworks write the page of a redirect in their own way.
                body = None
            found.append(
                (
                    asked,
                    response.status_code,
                    response.headers.get("location"),
                    response.headers["content-type"],
                    body,
                    sorted(seen_cookie(cookie) for cookie in cookies),
                )
            )
    return found


def test_one_app_file_gives_the_same_bytes_and_cookies_on_stock_dash_and_on_flash():
    with stock() as address:
        expected = conversation(address)
    for server in SERVERS:
        with served(server, **FIXED) as address:
            assert conversation(address) == expected, server


# -- many users -----------------------------------------------------------------------------------

USERS = 20
REQUESTS = 50


def talk(address, name, kinds):
    """One user's requests, of all kinds in turn; returns what was wrong."""
    wrong, count = [], 0
    with requests.Session() as user:
        user.headers["X-Me"] = name
        user.get(f"{address}/in/{name}", timeout=60, allow_redirects=False)
        for number in range(REQUESTS):
            kind = kinds[(number + len(name)) % len(kinds)]
            if kind.startswith("/"):
                response = user.get(f"{address}{kind}", timeout=60)
                names = set(re.findall(r"user-\d+", response.text))
                found = re.findall(r'"count":\s*(\d+)', response.text)
            else:
                url = f"{address}/_dash-update-component"
                response = user.post(url, json=body_of_call(kind, number), timeout=60)
                *names, counted, squared = response.json()["response"][kind]["children"]
                names, found = set(names), [counted]
                if squared != number * number:
                    wrong.append((kind, squared))
            if found:
                count += 1
            if names != {name} or (found and int(found[0]) != count):
                wrong.append((kind, response.status_code, names, found, count))
    return wrong


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("with_flask", ["plain", "awaited", "/who", "/awaited", "/_dash-layout"]),
        ("bare_sessions", ["plain", "awaited", "/_dash-layout"]),
    ],
)
def test_users_never_see_what_is_each_others(server, name, kinds):
    with served(server, name) as address, ThreadPoolExecutor(USERS) as pool:
        users = [f"user-{number}" for number in range(USERS)]
        wrong = list(pool.map(lambda user: talk(address, user, kinds), users))
    assert wrong == [[]] * USERS
