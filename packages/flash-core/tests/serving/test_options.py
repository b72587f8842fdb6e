"""Reading what is passed to ``app.run``, and addresses."""

from __future__ import annotations

import pytest

from flash.errors import ConfigurationError
from flash.serving import ServeOptions, options_from_run
from flash.serving.listener import Address


def test_debug_turns_reload_and_the_access_log_on_unless_they_are_set():
    assert options_from_run("localhost", 8050, False) == ServeOptions(bind="localhost:8050")
    debugging = options_from_run("localhost", 8050, True)
    assert (debugging.reload, debugging.access_log) == (True, True)
    quiet = options_from_run("::1", 8050, True, use_reloader=False, access_log=False)
    assert quiet == ServeOptions(bind="[::1]:8050")


def test_flask_options_are_understood(tmp_path):
    pem = tmp_path / "both.pem"
    pem.touch()
    options = options_from_run(
        "localhost", 1, False, extra_files=["a", tmp_path], ssl_context=(str(pem), pem),
        threaded=True, processes=1, use_debugger=False, server="granian",
    )  # fmt: skip
    assert options.reload_paths == ("a", str(tmp_path))
    assert (options.certfile, options.keyfile) == (str(pem), str(pem))
    assert options.server == "granian"


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({"threaded": False}, r"Flash\(max_threads=1\)"),
        ({"processes": 4}, "flash run module:app --workers N"),
        ({"ssl_context": "adhoc"}, r"ssl_context=\(cert, key\)"),
        ({"reloader_type": "stat"}, "watchfiles"),
        ({"passthrough_errors": True}, "has no argument passthrough_errors="),
        ({"server": "gunicorn"}, "hypercorn, uvicorn or granian"),
        ({"log_level": "loud"}, "unknown log level"),
        ({"grace_period": -1}, "grace_period=-1: give 0 or more seconds"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_remedy(given, remedy):
    with pytest.raises(ConfigurationError, match=remedy):
        options_from_run("localhost", 8050, False, **given)


@pytest.mark.parametrize(
    ("bind", "address", "url"),
    [
        ("localhost:80", Address("tcp", "localhost", 80), "http://localhost:80/"),
        ("localhost", Address("tcp", "localhost", 8050), "http://localhost:8050/"),
        (":80", Address("tcp", "0.0.0.0", 80), "http://0.0.0.0:80/"),
        ("[::1]:80", Address("tcp", "::1", 80), "http://[::1]:80/"),
        ("unix:/run/x.sock", Address("unix", "/run/x.sock"), "unix:/run/x.sock"),
        ("fd://3", Address("fd", "", 3), "fd://3"),
    ],
)
def test_addresses_are_read(bind, address, url):
    assert Address.parse(bind) == address
    assert address.url(tls=False) == url


@pytest.mark.parametrize("bind", ["", "host:99999", "host:port", "unix:", "fd://x", "::1"])
def test_other_addresses_are_refused(bind):
    with pytest.raises(ConfigurationError, match="cannot listen on"):
        Address.parse(bind)


def test_s11_uvicorn_is_the_default_everywhere():
    assert ServeOptions().server == "uvicorn"
    assert options_from_run("127.0.0.1", 8050, debug=False).server == "uvicorn"
    assert options_from_run("127.0.0.1", 8050, debug=False, server="hypercorn").server == (
        "hypercorn"
    )
