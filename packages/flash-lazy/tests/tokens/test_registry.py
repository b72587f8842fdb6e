"""Who is told of which loaders, and which of several loaders of one name an app has."""

import gc

import pytest

from flash import ConfigurationError, Flash
from flash_lazy.tokens.registry import LoaderRegistry, ambiguous, same


class Loader:
    def __init__(self, function, name="shop.orders"):
        self.function = function
        self.name = name
        self.told = []

    def is_same_as(self, other):
        return self.function is other.function

    def subscribe(self, listener):
        if listener not in self.told:
            self.told.append(listener)

    def unsubscribe(self, listener):
        if listener in self.told:
            self.told.remove(listener)


class Listener:
    """Whoever wants to know."""


def orders():
    """One function."""


def prices():
    """Another one."""


def test_who_follows_is_subscribed_to_the_loaders_that_are_there_and_that_come():
    registry, first, second = LoaderRegistry(), Listener(), Listener()
    early = Loader(orders)
    registry.add(early)
    registry.follow(first)
    registry.follow(second)
    registry.follow(second)
    late = Loader(prices, "shop.prices")
    registry.add(late)
    assert early.told == late.told == [first, second]
    registry.unfollow(first)
    registry.unfollow(first)
    later = Loader(prices, "shop.more")
    registry.add(later)
    assert early.told == late.told == later.told == [second]


def test_a_follower_that_nobody_holds_is_forgotten():
    registry, listener = LoaderRegistry(), Listener()
    registry.follow(listener)
    del listener
    gc.collect()
    loader = Loader(orders)
    registry.add(loader)
    assert loader.told == []
    assert not registry._followers


@pytest.fixture
def apps():
    """Two apps; the second one is current."""
    return [Flash(f"app{number}", pages_folder="") for number in range(2)]


def test_an_app_has_its_own_loader_of_a_name_and_any_that_was_made_without_an_app(
    apps, monkeypatch
):
    registry, (one, other) = LoaderRegistry(), apps
    loaders = {}
    for app, function in [(one, orders), (other, prices)]:
        monkeypatch.setattr("flash_lazy.tokens.registry.get_app", lambda app=app: app)
        loaders[app] = Loader(function)
        registry.add(loaders[app])
    assert registry.named("shop.orders", one) == [loaders[one]]
    assert registry.named("shop.orders", other) == [loaders[other]]
    assert registry.named("shop.orders") == [loaders[one], loaders[other]]
    # The only one of its name may be placed in any app.
    registry.add(alone := Loader(orders, "shop.alone"))
    assert registry.named("shop.alone", one) == [alone]

    def no_app():
        raise LookupError

    monkeypatch.setattr("flash_lazy.tokens.registry.get_app", no_app)
    registry.add(shared := Loader(orders, "shop.shared"))
    monkeypatch.setattr("flash_lazy.tokens.registry.get_app", lambda: one)
    with pytest.raises(ConfigurationError):
        registry.add(Loader(prices, "shop.shared"))
    assert registry.named("shop.shared", one) == [shared]


def test_two_loaders_of_one_name_are_named_with_their_places():
    line = orders.__code__.co_firstlineno
    error = str(ambiguous(Loader(prices), Loader(orders)))
    assert error.startswith("two functions would be the loader 'shop.orders': the one at ")
    assert f"test_registry.py:{line} and the one at " in error
    assert f"test_registry.py:{prices.__code__.co_firstlineno}; a panel's token" in error


def test_options_that_are_functions_are_the_same_if_they_do_the_same():
    def make(value):
        return lambda: value

    assert same(make(orders), make(orders))
    assert not same(make(orders), make(prices))
    assert same("session", "session")
    assert same(5, 5.0)
    assert not same("session", orders)
    assert not same(orders, "session")


MODULE = """
def load():
    pass

def make():
    def load():
        pass
    return load

kept.append(Loader(make() if nested else load))
registry.add(kept[-1])
"""


def run_module(registry, kept, **names):
    code = compile(MODULE, "shop.py", "exec")
    exec(code, {"Loader": Loader, "registry": registry, "kept": kept, **names})


def test_a_loader_of_a_module_that_is_run_anew_replaces_the_older_one():
    registry, kept = LoaderRegistry(), []
    for _ in range(2):
        run_module(registry, kept, nested=False)
    assert registry.named("shop.orders") == [kept[1]]
    registry, kept = LoaderRegistry(), []
    run_module(registry, kept, nested=True)
    # One that a function makes may be another one of the same name.
    with pytest.raises(ConfigurationError, match="two functions would be the loader"):
        run_module(registry, kept, nested=True)
