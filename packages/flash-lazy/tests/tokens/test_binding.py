"""Whom a panel is for, and which loaders a name stands for."""

import gc

import pytest
import quart

from flash import ConfigurationError, Flash
from flash_lazy import lazy
from flash_lazy.tokens.binding import identity
from flash_lazy.tokens.registry import LoaderRegistry


@pytest.fixture
def server():
    server = Flash(__name__).server
    server.secret_key = "secret"
    return server


async def test_a_panel_for_everyone_asks_for_nobody(server):
    assert identity("loader", None) == ""
    async with server.test_request_context("/"):
        assert identity("loader", None) == ""
        assert not quart.session


async def test_without_a_visitor_the_error_names_the_loader_and_the_remedy():
    with pytest.raises(ConfigurationError, match=r"shop\.orders: bind= needs a visitor.*layout"):
        identity("shop.orders", "session")


async def test_a_function_says_who_it_is(server):
    async with server.test_request_context("/?user=ada"):
        assert identity("loader", lambda: quart.request.args["user"]) == "by:ada"


async def test_a_session_is_known_again_and_two_sessions_differ(server):
    async with server.test_request_context("/"):
        one = identity("loader", "session")
        assert one == identity("other", "session")
        kept = dict(quart.session)
    async with server.test_request_context("/"):
        other = identity("loader", "session")
    async with server.test_request_context("/"):
        quart.session.update(kept)
        assert identity("loader", "session") == one
    assert one.startswith("session:")
    assert len(one) >= len("session:") + 32
    assert other != one


async def test_what_is_no_text_in_a_session_is_replaced(server):
    async with server.test_request_context("/"):
        identity("loader", "session")
        (key,) = quart.session
        quart.session[key] = 7
        assert identity("loader", "session") != "session:7"
        assert isinstance(quart.session[key], str)


async def test_without_a_secret_key_the_error_says_to_set_one(server):
    server.secret_key = None
    async with server.test_request_context("/"):
        with pytest.raises(ConfigurationError, match=r"shop\.orders: .*app\.server\.secret_key"):
            identity("shop.orders", "session")


class Loader:
    def __init__(self, function, name):
        self.function = function
        self.name = name

    def is_same_as(self, other):
        return self.function is other.function


def orders():
    """Some function."""


def test_a_loader_that_does_the_same_replaces_an_older_one():
    registry = LoaderRegistry()
    old, new = (Loader(orders, "shop.orders") for _ in range(2))
    registry.add(old)
    registry.add(new)
    assert registry.named("shop.orders") == [new]
    assert registry.named("shop.prices") == []


def test_loaders_that_one_function_makes_do_not_stand_side_by_side():
    registry = LoaderRegistry()
    one, other = (Loader(lambda: None, "shop.make.<locals>.load") for _ in range(2))
    registry.add(one)
    with pytest.raises(ConfigurationError, match=r"name=…"):
        registry.add(other)
    assert registry.named("shop.make.<locals>.load") == [one]


def test_a_loader_that_nobody_holds_is_forgotten():
    registry = LoaderRegistry()
    registry.add(Loader(orders, "shop.orders"))
    gc.collect()
    assert registry.named("shop.orders") == []


async def test_14_4_bind_gets_the_visitor_as_authorize_does(server):
    def who(visitor):
        assert (visitor.path, visitor.client) == ("/page", None)
        return visitor.session.get("user")

    async with server.test_request_context("/page"):
        quart.session["user"] = "ada"
        assert identity("loader", who) == "by:ada"
    async with server.test_request_context("/page"):
        # Nobody's panel is nobody's, not that of all who are nobody.
        assert identity("loader", who) != identity("loader", who)
        assert identity("loader", lambda visitor: "").startswith("nobody:")


async def test_14_4_bind_may_allow_and_refuse(server):
    def may(visitor):
        return visitor.query.get("key") == "right"

    async with server.test_request_context("/?key=right"):
        allowed = identity("loader", may)
    async with server.test_request_context("/?key=right"):
        assert identity("loader", may) == allowed
    async with server.test_request_context("/?key=wrong"):
        assert identity("loader", may) not in (allowed, identity("loader", may))


async def test_14_4_bind_that_returns_something_else_is_an_error(server):
    async with server.test_request_context("/"):
        with pytest.raises(TypeError, match="return True, False or the name of the visitor"):
            identity("loader", lambda visitor: 7)


def test_14_4_an_async_bind_is_refused_where_it_is_given():
    async def who(visitor):
        return "ada"

    with pytest.raises(ConfigurationError, match=r"who\): must be a plain function.*test_binding"):
        lazy(bind=who)
