"""Names and places of users' functions, and callbacks that are no plain functions."""

import functools
import inspect

import pytest

from flash import AsyncManager, ConfigurationError, Flash, Input, Output, html
from flash.callbacks.functions import (
    as_function,
    is_async,
    is_async_generator,
    is_generator,
    name_of,
    place_of,
    same_function,
    short_name_of,
)
from flash.testing import FlashClient


def plain(word, x):
    """Say it."""
    return f"{word}{x}"


async def slow(word, x):
    return f"{word}{x}"


async def stream(word):
    yield word


def numbers(most):
    yield from range(most)


class Shop:
    def __init__(self, city="Rome"):
        self.city = city

    def plain(self, x):
        return f"{self.city}{x}"

    async def __call__(self, x):
        return f"called {x}"


KINDS = {
    "partial": lambda: functools.partial(plain, "a"),
    "async partial": lambda: functools.partial(slow, "a"),
    "method": lambda: Shop().plain,
    "instance": lambda: Shop(),
    "partial of an instance": lambda: functools.partial(Shop()),
}


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_11_6_whatever_can_be_called_is_a_callback(kind, background):
    manager = AsyncManager() if background else None
    app = Flash(__name__, background_callback_manager=manager)
    app.layout = functools.partial(html.Div, [html.Div(id="out"), html.Div(id="in")])
    function = KINDS[kind]()
    options = {"background": True} if background else {}
    assert (
        app.callback(Output("out", "children"), Input("in", "n"), **options)(function) is function
    )
    async with FlashClient(app) as client:
        result = await client.call(Output("out", "children"), {Input("in", "n"): 3})
    assert str(result[Output("out", "children")]).endswith("3")


def test_11_6_what_is_no_function_is_refused():
    with pytest.raises(ConfigurationError, match="the callback 7 is no function"):
        Flash(__name__).callback(Output("out", "children"), Input("in", "n"))(7)


def test_names_and_places_are_those_of_the_users_code():
    assert name_of(plain) == f"{__name__}.plain"
    assert name_of(KINDS["partial"]()) == f"{__name__}.plain"
    assert name_of(Shop().plain) == f"{__name__}.Shop.plain"
    assert name_of(Shop()) == f"{__name__}.Shop"
    assert short_name_of(Shop().plain) == "Shop.plain"
    for kind in KINDS.values():
        assert place_of(kind()).startswith(f"{__file__}:")
    assert place_of(len) == "builtins.len"


def test_a_partial_or_an_instance_is_as_async_as_its_function():
    assert is_async(functools.partial(slow, "a"))
    assert is_async(functools.partial(Shop()))
    assert not is_async(Shop().plain)
    assert is_async_generator(functools.partial(stream, "a"))
    assert not is_async_generator(slow)
    assert is_generator(stream)
    assert is_generator(functools.partial(numbers, 3))
    assert not is_generator(plain)
    assert not is_generator(slow)


def test_a_wrapper_has_name_text_and_remaining_parameters():
    wrapped = as_function(functools.partial(plain, "a"))
    assert (wrapped.__name__, wrapped.__doc__, wrapped(1)) == ("plain", "Say it.", "a1")
    assert list(inspect.signature(wrapped).parameters) == ["x"]
    assert not is_async(wrapped)
    for function in (functools.partial(slow, "a"), Shop()):
        assert is_async(as_function(function))
    assert as_function(plain) is plain
    assert as_function(len) is len


def test_functions_are_the_same_if_nothing_that_they_use_differs():
    def make(value, default=None):
        def inner(x, default=default):
            return value, x

        return inner

    shop, word = Shop(), "".join(("w", "ord"))
    assert same_function(plain, plain)
    assert same_function(make(word), make(word))
    assert not same_function(make([1]), make([1]))
    assert not same_function(make(word, [1]), make(word, [1]))
    assert same_function(shop.plain, shop.plain)
    assert not same_function(shop.plain, Shop().plain)
    assert same_function(functools.partial(plain, word), functools.partial(plain, word))
    assert not same_function(functools.partial(plain, [1]), functools.partial(plain, [1]))
    assert not same_function(plain, slow)
    assert not same_function(plain, shop.plain)
    assert not same_function(Shop(), Shop())


def test_functions_with_the_same_code_differ_by_defaults_and_bound_arguments():
    def make(*, default=None, other=None, count=0):
        if count:
            return lambda *, a=default, b=other: (a, b)
        return lambda a=default, b=other: (a, b)

    value, another = object(), object()
    for count in (0, 1):
        one = make(default=value, other=another, count=count)
        assert same_function(one, make(default=value, other=another, count=count))
        assert not same_function(one, make(default=another, other=value, count=count))
        assert not same_function(one, make(default=value, other=value, count=count))
    # Functions in the defaults are compared in the same way.
    assert same_function(make(default=make(count=1)), make(default=make(count=1)))
    partial = functools.partial
    assert same_function(partial(plain, word=value), partial(plain, word=value))
    assert not same_function(partial(plain, word=value), partial(plain, word=another))
    assert not same_function(partial(plain, word=value), partial(plain, x=value))
    assert not same_function(partial(plain, value), partial(plain, value, another))
    assert not same_function(partial(plain, value), partial(slow, value))
    # A bound method of another function of the same object.
    shop = Shop()
    assert not same_function(shop.plain, shop.__call__)


def test_a_variable_without_a_value_yet_is_as_good_as_another_one():
    def make():
        def inner():
            return later

        yield inner
        later = 1
        yield later

    first, second = make(), make()
    one, other = next(first), next(second)
    assert same_function(one, other)
    next(first)
    assert not same_function(one, other)
