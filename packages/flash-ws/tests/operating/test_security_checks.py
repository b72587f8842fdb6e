"""What `flash check` says about the live link (issue 13)."""

import pytest

from flash import Flash, html
from flash.checking.security import Deployment, run_security_checks
from flash_ws import Live

KEY = "0123456789abcdef" * 4


def found(workers=1, is_public=True, guard=None, **settings):
    app = Flash(__name__, allowed_hosts=["app.test"])
    app.layout = html.Div()
    app.server.secret_key = KEY
    Live(app, **settings)
    if guard is not None:
        app.server.before_request(guard)
    return {risk.check for risk in run_security_checks(Deployment(app, is_public, workers))}


def test_13_a_link_that_leaves_nothing_open_is_not_mentioned():
    assert found() == set()
    by_user = {"authorize": lambda opening: opening.user, "recheck_interval": 30}
    assert found(**by_user, metrics=KEY, inspect=lambda opening: opening.user) == set()
    assert found(metrics=True) == set()


@pytest.mark.parametrize(
    ("check", "settings"),
    [
        ("origins", {"allowed_origins": "*"}),
        ("authorize", {"authorize": lambda _: True, "recheck_interval": 30}),
        ("recheck", {"authorize": lambda opening: opening.user}),
        ("recheck", {"guard": lambda: None}),
        ("memory", {"workers": 2}),
        ("metrics", {"metrics": lambda _: True}),
        ("inspect", {"inspect": lambda _: True}),
    ],
)
def test_13_what_a_link_leaves_open_is_found(check, settings):
    assert found(**settings) == {check}


def test_13_a_recheck_is_asked_for_in_public_only():
    assert found(is_public=False, authorize=lambda opening: opening.user) == set()
