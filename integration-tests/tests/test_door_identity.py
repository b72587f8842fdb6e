"""What identifies a page, its jobs and its user, and where it is sent (issue 13, E)."""

import json
import re
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from flash.testing import AppProcess

APP = Path(__file__).parents[1] / "apps" / "identity" / "app.py"
SERVERS = ("hypercorn", "uvicorn", "granian")
PATIENCE = 60
HELLO = json.dumps([{"t": "hello", "v": 1, "page": None, "at": {}, "path": "/"}])
DEPENDENCY = {"id": "go", "property": "n_clicks", "value": 2}
CALL = {
    "output": "out.children",
    "outputs": {"id": "out", "property": "children"},
    "inputs": [DEPENDENCY],
    "changedPropIds": ["go.n_clicks"],
}

pytest_plugins = ["flash.testing.plugin"]
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=SERVERS)
def served(request):
    trusted = ("--trusted-proxies", "127.0.0.1")
    with AppProcess(APP, server=request.param, arguments=trusted) as process:
        yield process


@contextmanager
def sent(served, method, path, body=None, **headers):
    """Send a request and yield its response while it arrives."""
    connection = HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **named})
        yield connection.getresponse()
    finally:
        connection.close()


def status(served, *request, **headers):
    with sent(served, *request, **headers) as response:
        return response.status


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_13_e_pages_and_cookies_have_safe_headers(served, scheme):
    with sent(served, "GET", "/login", X_Forwarded_Proto=scheme) as response:
        cookie = response.headers["set-cookie"]
        headers = response.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
    assert "SameSite=Lax" in cookie
    assert ("; Secure" in cookie) == (scheme == "https")


def test_13_e_an_event_stream_takes_its_posts_from_its_user_alone(served):
    with sent(served, "POST", "/_flash/link/events", HELLO, Cookie="user=ada") as stream:
        assert stream.status == 200
        line = stream.fp.readline()
        while not line.startswith(b"data:"):
            line = stream.fp.readline()
        (welcome,) = json.loads(line[5:])
        beat = '[{"t":"beat"}]'

        def post(cookie):
            connection = welcome["connection"]
            return status(
                served,
                *("POST", "/_flash/link/frames", beat),
                **{"Cookie": cookie, "Flash-Connection": connection},
            )

        assert post("user=ada") == 204
        assert post("user=eve") == 410
        assert post("user=ada; theme=dark") == 204
    assert status(served, "GET", "/_flash/link/events?hello=%7B%7D") == 426


def end_id(served):
    with sent(served, "GET", "/") as response:
        return re.search(r'"end_id":"([^"]+)"', response.read().decode())[1]


def test_13_e_a_job_answers_the_page_and_the_user_who_started_it_alone(served):
    page, other = end_id(served), end_id(served)

    def call(user, **arguments):
        handles = "&".join(f"{name}={value}" for name, value in arguments.items())
        headers = {"Cookie": f"user={user}", "Flash-Call": handles}
        path = "/_dash-update-component"
        with sent(served, "POST", path, json.dumps(CALL), **headers) as response:
            text = response.read().decode()
        return response.status, json.loads(text) if response.status == 200 else text

    found, started = call("ada", endId=page)
    assert found == 200
    handles = {"cacheKey": started["cacheKey"], "job": started["job"]}
    assert call("ada", endId=page, **handles)[0] == 200
    for user, token in (("eve", page), ("ada", other), ("eve", other), ("ada", "forged")):
        found, text = call(user, endId=token, **handles)
        assert (found, "not started from this page" in text) == (403, True)
    assert call("ada", endId=page, **handles)[0] == 200


def test_13_e_no_page_token_and_no_handle_stands_in_an_address(flash_browser):
    page = flash_browser
    page.serve(APP)
    page.click("#go")
    page.wait_for_text("#n", "clicked 1")
    page.wait_for_text("#out", "done 1")
    page.click("#go")
    page.wait_for_text("#n", "clicked 2")
    page.click("#stop")
    addresses = page.run_js(
        "return performance.getEntriesByType('resource').map((entry) => entry.name);"
    )
    callbacks = [each for each in addresses if "_dash-update-component" in each]
    assert len(callbacks) >= 4
    assert [each for each in callbacks if "?" in each] == []
    token = page.run_js("return JSON.parse(document.getElementById('_dash-config').textContent)")
    assert token["end_id"]
    assert not [each for each in addresses if token["end_id"] in each]


CSP_APP = """
from dash import Input, Output, clientside_callback
from flash import Flash, dcc, html
from flash_ws import Live

app = Flash(__name__)
live = Live(app)
app.layout = html.Div(
    [
        html.Button("Go", id="go", style={"color": "red"}),
        html.P(id="out"),
        html.P(id="browser"),
        dcc.Graph(id="graph", figure={"data": [{"y": [1, 3, 2]}]}),
        dcc.Dropdown(["a", "b"], "a", id="choice"),
    ]
)


@app.callback(Output("out", "children"), Input("go", "n_clicks"), prevent_initial_call=True)
async def count(clicks):
    await live.push("out", {"title": "pushed"})
    return f"clicked {clicks}"


app.clientside_callback(
    "function(clicks) { return 'in the browser ' + clicks; }",
    Output("browser", "children"),
    Input("go", "n_clicks"),
    prevent_initial_call=True,
)
"""


def test_13_the_policy_of_the_document_works_in_a_browser(flash_browser, tmp_path):
    document = Path(__file__).parents[2] / "docs" / "security.md"
    text = document.read_text(encoding="utf-8")
    (policy,) = re.findall(r"(?ms)^(app\.page_headers\.update\(\n.*?)```", text)
    path = tmp_path / "policed.py"
    path.write_text(f"{CSP_APP}\n{policy}")
    page = flash_browser
    process = page.serve(path)
    with sent(process, "GET", "/") as response:
        assert "script-src 'self' 'sha256-" in response.headers["content-security-policy"]
    page.click("#go")
    page.wait_for_text("#out", "clicked 1")
    page.wait_for_text("#browser", "in the browser 1")
    page.wait_for(lambda: page.find("#out").get_attribute("title") == "pushed", "no push came")
    drawn = "return !!document.querySelector('#graph .trace')"
    page.wait_for(lambda: page.run_js(drawn), "no line")
    # The fixture fails a test whose page has errors in its console; these are ours to see.
    assert [each for each in page.console() if "Content Security Policy" in each.message] == []
    page.run_js(
        "const script = document.createElement('script'); script.textContent = 'window.bad = 1';"
        "document.body.append(script);"
    )
    assert page.run_js("return window.bad") is None
    page.expect_console_errors("Content Security Policy")
