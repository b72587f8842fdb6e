"""What `flash check` says about a broker (issue 13)."""

import pytest

from flash import Flash, html
from flash.checking.security import Deployment, run_security_checks
from flash_pubsub import PubSub
from flash_pubsub.signing_key import ENCRYPTION_VARIABLE

KEY = "0123456789abcdef" * 4


def found(broker, workers=1, is_public=True, key=KEY):
    app = Flash(__name__, allowed_hosts=["app.test"])
    app.layout = html.Div()
    app.server.secret_key = key
    PubSub(app, broker=broker)
    risks = run_security_checks(Deployment(app, is_public, workers))
    return [risk.check for risk in risks]


@pytest.mark.parametrize(
    ("broker", "checks"),
    [
        ("memory://", []),
        ("redis://127.0.0.1:6379/0", []),
        ("unix:///run/redis.sock", []),
        ("rediss://flash:password@redis.test:6379/0", []),
        ("redis://flash:password@redis.test:6379/0", ["redis"]),
        ("rediss://redis.test:6379/0", ["redis"]),
        ("redis+cluster://a.test:7000,b.test:7000", ["redis", "redis"]),
    ],
)
def test_13_a_redis_that_strangers_may_reach_is_found(broker, checks):
    assert found(broker) == checks
    assert found(broker, is_public=False) == []


def test_13_workers_with_a_broker_in_memory_each_are_found():
    assert found("memory://", workers=2) == ["memory"]
    assert found("redis://127.0.0.1:6379/0", workers=2) == []


def test_13_g_a_signing_key_in_clear_is_found(monkeypatch):
    url = "redis://127.0.0.1:6379/0"
    assert found(url, key=None) == ["redis-key", "secret-key"]
    monkeypatch.setenv(ENCRYPTION_VARIABLE, KEY)
    assert found(url, key=None) == ["secret-key"]
    assert found("memory://", key=None) == ["secret-key"]
