"""Streaming callbacks of Dash 4.5, whose worker need not be the one that the page hears."""

import itertools
import random
import socket
import threading
from contextlib import suppress
from pathlib import Path

from flash.testing import AppProcess

pytest_plugins = ["flash.testing.plugin"]

APP = Path(__file__).with_name("streaming.py")


def pump(source, sink):
    with suppress(OSError):
        while data := source.recv(65536):
            # Each request on a connection of its own, and so to any worker.
            sink.sendall(data.replace(b"Connection: keep-alive", b"Connection: close"))
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def accept(listener, ports):
    """Pass connections on to any of the workers, as a load balancer does."""
    dice = random.Random(7)
    while True:
        port = dice.choice(ports)
        try:
            browser, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=connect, args=(browser, port), daemon=True).start()


def connect(browser, port):
    with browser, suppress(OSError), socket.create_connection(("127.0.0.1", port)) as worker:
        back = threading.Thread(target=pump, args=(worker, browser), daemon=True)
        back.start()
        pump(browser, worker)
        back.join()


def test_what_a_callback_yields_reaches_the_page_whichever_worker_runs_it(
    flash_browser, redis_server
):
    flash_browser.timeout = 60
    flash_browser.expect_lost_connections()
    flash_browser.expect_console_errors("502")
    env = {"FLASH_BROKER_URL": f"{redis_server.url}?prefix=streaming"}
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, AppProcess(APP, env=env) as one, AppProcess(APP, env=env) as other:
        balancing = threading.Thread(
            target=accept, args=(listener, [one.port, other.port]), daemon=True
        )
        balancing.start()
        flash_browser.visit(one, None)
        flash_browser.open(f"http://127.0.0.1:{listener.getsockname()[1]}")
        workers = set()
        # After some clicks both have run it.
        for clicks in itertools.count(1):
            flash_browser.click("#count")
            done = f"{clicks}: done by "
            flash_browser.wait_for(lambda done=done: done in flash_browser.text("#counted"), done)
            workers.add(flash_browser.text("#counted").removeprefix(done))
            if len(workers) == 2:
                break
            assert clicks < 50
