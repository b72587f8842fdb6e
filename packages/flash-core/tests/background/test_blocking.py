"""Dash's own managers behind the interface of Flash's."""

import json

import pytest
from dash import CeleryManager

from flash.background.blocking import BlockingManager
from flash.background.job import JobHandles, State
from flash.callbacks.execution import WorkerPool

celery = pytest.importorskip("celery", reason="an environment of make test-matrix has no Celery")


class Backend:
    """What CeleryManager uses of a result backend, in memory."""

    def __init__(self):
        self.kept = {}

    def get(self, key):
        return self.kept.get(key)

    def set(self, key, value):
        self.kept[key] = value

    def delete(self, key):
        self.kept.pop(key, None)


@pytest.fixture
def manager(monkeypatch):
    queue = celery.Celery("jobs", broker="memory://", backend="cache+memory://")
    manager = CeleryManager(queue)
    monkeypatch.setattr(type(queue), "backend", Backend())
    monkeypatch.setattr(manager, "job_running", lambda job: True)
    monkeypatch.setattr(manager, "terminate_job", lambda job: None)
    return manager


async def test_11_a_result_written_while_its_progress_is_read_is_not_lost(manager):
    """CeleryManager deletes the result where it means what `set_props` has set."""
    backend, read = manager.handle.backend, manager.get_result

    def read_and_end(key, job):
        result = read(key, job)
        # The job ends right after the page has asked for its result.
        backend.set("key-set_props", json.dumps({"log": {"children": "go"}}))
        if result is manager.UNDEFINED:
            backend.set("key", json.dumps("done"))
        return result

    manager.get_result = read_and_end
    jobs, handles = BlockingManager(manager, WorkerPool()), JobHandles("key", "job")
    first = await jobs.poll(handles)
    assert (first.state, first.updates) == (State.RUNNING, {"log": {"children": "go"}})
    second = await jobs.poll(handles)
    assert (second.state, second.result) == (State.DONE, "done")
