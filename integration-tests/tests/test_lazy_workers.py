"""Panels over several workers that share a Redis: one run for all, whoever dies."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from redis_servers import RedisServer
from workers import two_workers

APP = Path(__file__).parents[1] / "apps" / "lazy_workers.py"
SECONDS = 40


def until(condition):
    deadline = time.monotonic() + SECONDS
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return result


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def deployment(folder, redis_url):
    with two_workers(APP, FOLDER=str(folder), REDIS_URL=redis_url) as both:
        yield both


@pytest.fixture
def workers(deployment, folder):
    """Two workers that have loaded nothing, and whose loads wait for `let_go`."""
    return anew(deployment, folder)


@pytest.fixture(scope="module")
def around_a_broker(folder, redis_url):
    """Two workers that have nothing but one broker in common."""
    with two_workers(APP, FOLDER=str(folder), BROKER=redis_url) as both:
        yield both


def anew(deployment, folder):
    here, there = deployment
    (folder / "go").unlink(missing_ok=True)
    for customer in "abc":
        send(here, f"/invalidate/{customer}", b"")
    (folder / "queries").unlink(missing_ok=True)
    return here, there


@pytest.fixture
def queries(folder):
    def read():
        path = folder / "queries"
        return sorted(path.read_text().split()) if path.exists() else []

    return read


@pytest.fixture
def let_go(folder):
    return (folder / "go").touch


@pytest.fixture
def viewers():
    with ThreadPoolExecutor(32) as threads:
        yield threads


def send(worker, path, body=None):
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(worker.url + path, body, headers), timeout=SECONDS) as answer:
        return answer.read()


def panels_of(worker):
    """The panels of a page, as its worker sends them."""
    body = {
        "output": ".._pages_content.children..._pages_store.data..",
        "outputs": [
            {"id": "_pages_content", "property": "children"},
            {"id": "_pages_store", "property": "data"},
        ],
        "inputs": [
            {"id": "_pages_location", "property": "pathname", "value": "/orders"},
            {"id": "_pages_location", "property": "search", "value": ""},
        ],
        "changedPropIds": ["_pages_location.pathname"],
    }
    answer = json.loads(send(worker, "/_dash-update-component", json.dumps(body).encode()))
    page = answer["response"]["_pages_content"]["children"]
    return [panel["props"] for panel in page["props"]["children"]]


def load(worker, panel):
    """What a panel loads from a worker, whichever has placed it."""
    put = [{"id": panel["id"], "property": name} for name in ("children", "answer")]
    body = {
        "output": '..{"flash_lazy":["MATCH"]}.children...{"flash_lazy":["MATCH"]}.answer..',
        "outputs": put,
        "inputs": [{"id": panel["id"], "property": "request", "value": {"n": 1}}],
        "state": [{"id": panel["id"], "property": "token", "value": panel["token"]}],
        "changedPropIds": [json.dumps(panel["id"], separators=(",", ":")) + ".request"],
    }
    answer = json.loads(send(worker, "/_dash-update-component", json.dumps(body).encode()))
    [found] = answer["response"].values()
    return found["children"]["props"]["children"]


def test_c2_viewers_of_all_workers_share_each_query(workers, queries, let_go, viewers):
    panels = panels_of(workers[0])
    loads = [
        viewers.submit(load, worker, panel)
        for _ in range(4)
        for worker in workers
        for panel in panels
    ]
    until(lambda: queries() == ["a", "b", "c"])
    let_go()
    texts = {each.result() for each in loads}
    assert {text.split(" by ")[0] for text in texts} == {f"orders of {each}" for each in "abc"}
    assert len(texts) == 3
    assert queries() == ["a", "b", "c"]


def test_c3_a_worker_loads_panels_of_pages_that_only_another_one_has_sent(workers, queries, let_go):
    here, there = workers
    let_go()
    [panel, *_] = panels_of(here)
    there.restart()
    assert load(there, panel).startswith("orders of a")
    assert queries() == ["a"]


def test_c2_what_one_worker_invalidates_the_others_load_again(workers, queries, let_go):
    here, there = workers
    let_go()
    [panel, other, _] = panels_of(here)
    for worker in workers:
        load(worker, panel)
        load(worker, other)
    assert queries() == ["a", "b"]
    send(there, "/invalidate/a", b"")
    until(lambda: load(there, panel) and queries() == ["a", "a", "b"])
    assert load(here, panel) == load(there, panel)
    assert load(here, other) == load(there, other)
    assert queries() == ["a", "a", "b"]


def test_c2_a_worker_killed_in_the_middle_of_a_load_holds_nobody_up(
    workers, queries, let_go, viewers
):
    here, there = workers
    [panel, *_] = panels_of(there)
    lost = viewers.submit(load, here, panel)
    until(lambda: queries() == ["a"])
    waiting = [viewers.submit(load, there, panel) for _ in range(3)]
    here.kill()
    try:
        assert lost.exception() is not None
        # The lease of the killed one ends.
        until(lambda: queries() == ["a", "a"])
        let_go()
        [text] = {each.result() for each in waiting}
        assert text == f"orders of a by {text.split()[-1]}"
    finally:
        here.start()
    assert load(here, panel) == text


def test_c2_workers_around_one_broker_share_what_is_loaded_without_being_told_to(
    around_a_broker, folder, queries, let_go, viewers
):
    here, there = anew(around_a_broker, folder)
    panels = panels_of(here)
    loads = [
        viewers.submit(load, worker, panel)
        for _ in range(4)
        for worker in (here, there)
        for panel in panels
    ]
    until(lambda: queries() == ["a", "b", "c"])
    let_go()
    assert len({each.result() for each in loads}) == 3
    assert queries() == ["a", "b", "c"]
    send(there, "/invalidate/a", b"")
    until(lambda: load(here, panels[0]) and queries() == ["a", "a", "b", "c"])
    assert load(here, panels[0]) == load(there, panels[0])
    assert load(here, panels[1]) == load(there, panels[1])
    assert queries() == ["a", "a", "b", "c"]
