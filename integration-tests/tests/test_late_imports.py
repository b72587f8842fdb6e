"""What an import brings with it: what only some apps need is imported when they need it."""

import subprocess
import sys

import pytest

# Each with who needs it.
NOT_AT_IMPORT = {
    "flash": {
        "a2wsgi": "code that calls the server as a WSGI application, such as Flask's test client",
        "brotli": "the first popular file",
        "celery": "an app with dash's CeleryManager",
        "dash.backends._quart": "the first app",
        "diskcache": "an app with dash's DiskcacheManager",
        "flash.background": "an app with background callbacks",
        "flash.checking": "flash check",
        "flash.http.backend": "the first app",
        "flash.pages.error_page": "an app with developer tools",
        "flash.redis": "RedisManager",
        "flash.serving": "app.run, and the command line",
        "flash.sessions": "an app with sessions in Redis",
        "flash.signing_key": "an app with a Redis",
        "flash.testing": "tests",
        "flash.top": "flash top, and a live link",
        "numpy": "figures, tables and users; imported after the start",
        "opentelemetry": "an app with spans",
        "pandas": "users",
        "plotly.express": "users",
        "plotly.graph_objs._scatter": "users; each kind of trace is a module",
        "plotly.io.json": "values that Flash does not write itself; imported after the start",
        "redis": "RedisManager",
        "uvicorn": "app.run, and the command line",
        "zstandard": "the first file that is sent compressed",
    },
    "flash_ws": {
        "flash.background": "an app with background callbacks",
        "flash_pubsub": "an app with several workers",
        "redis": "flash-pubsub, where its broker is a Redis",
    },
    "flash_pubsub": {
        "flash_pubsub.broker.redis": "an app whose broker is a Redis",
        "flash_pubsub.cli": "the command line",
        "flash_pubsub.dash_storage": "Dash 4.5's shared storage",
        "redis": "an app whose broker is a Redis, and publishers",
    },
    "flash_lazy": {
        "flash_lazy.cache.redis": "an app whose loaders share a Redis",
        "flash_ws": "an app with a live link",
        "kaleido": "an app with thumbnails",
        "redis": "an app whose loaders share a Redis",
    },
}

LATE_NAMES = {
    "flash": ["AsyncManager", "RedisManager"],
    "flash_lazy": ["CacheStatistics", "RedisCache"],
    "flash_pubsub": ["RedisBroker"],
}


def run(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("package", NOT_AT_IMPORT)
def test_an_import_brings_only_what_every_app_needs(package: str):
    loaded = set(run(f"import sys, {package}\nprint(*sys.modules)").split())
    assert package in loaded
    assert {each: why for each, why in NOT_AT_IMPORT[package].items() if each in loaded} == {}


@pytest.mark.parametrize("package", LATE_NAMES)
def test_a_late_name_is_listed_and_comes_with_each_kind_of_import(package: str):
    names = LATE_NAMES[package]
    run(
        f"""
import {package}
assert set({names}) <= set(dir({package})) & set({package}.__all__)
from {package} import {", ".join(names)}
first = [{", ".join(names)}]
from {package} import *
assert all(map(lambda one, other: one is other, first, [{", ".join(names)}]))
assert all(isinstance(each, type) for each in first)
"""
    )


@pytest.mark.parametrize("package", LATE_NAMES)
def test_a_name_that_is_not_there_is_an_attribute_error(package: str):
    run(
        f"""
import {package}
try:
    {package}.nothing
except AttributeError as error:
    assert str(error) == "module '{package}' has no attribute 'nothing'"
else:
    raise AssertionError
"""
    )
