"""What a user's function is: its name, its place in the source, whether it is async.

A function may be a `functools.partial`, a bound method or an instance with ``__call__``, wherever
a plain function may be given. Independent of Dash and of any event loop.
"""

from __future__ import annotations

import inspect
from functools import partial, update_wrapper
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether ``function`` is async; a partial or a callable instance may be, too."""
    if type(function) is FunctionType and not function.__dict__:
        # The usual case, ten times as fast as `inspect`: it counts for thousands of callbacks.
        return bool(function.__code__.co_flags & inspect.CO_COROUTINE)
    return _is(inspect.iscoroutinefunction, function)


def is_async_generator(function: Callable[..., Any]) -> bool:
    """Return whether ``function`` is an async generator: ``async def`` with ``yield``."""
    return _is(inspect.isasyncgenfunction, function)


def is_generator(function: Callable[..., Any]) -> bool:
    """Return whether ``function`` has ``yield``, as ``def`` or ``async def``."""
    return is_async_generator(function) or _is(inspect.isgeneratorfunction, function)


def name_of(function: Callable[..., Any]) -> str:
    """Return ``module.qualified_name``, the same in every process that imports the module.

    A partial has the name of its function. A callable instance has the name of its class.
    """
    function = _innermost(function)
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def short_name_of(function: Callable[..., Any]) -> str:
    """Return `name_of` without the module, for logs and errors."""
    function = _innermost(function)
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    return named.__qualname__


def place_of(function: Callable[..., Any]) -> str:
    """Return ``file:line`` of the function's definition; its name if the source is unknown."""
    code = code_of(function)
    return name_of(function) if code is None else f"{code.co_filename}:{code.co_firstlineno}"


def code_of(function: Callable[..., Any]) -> CodeType | None:
    """Return the code that runs when the function is called; None for a function of C."""
    function = _innermost(inspect.unwrap(_innermost(function)))
    found = getattr(function, "__code__", None)
    if found is None:
        found = getattr(type(function).__call__, "__code__", None)
    return found


def same_function(one: object, other: object) -> bool:
    """Return whether two functions do the same, although they may be different objects.

    They do if their code is the same, and their closures, default values and bound arguments are
    the same objects. A function that is made by each call of another one without using variables of
    it is the same function each time.
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, partial) and isinstance(other, partial):
        return (
            same_function(one.func, other.func)
            and _same_values(one.args, other.args)
            and _same_items(one.keywords, other.keywords)
        )
    if inspect.ismethod(one) and inspect.ismethod(other):
        return one.__self__ is other.__self__ and same_function(one.__func__, other.__func__)
    if not (inspect.isfunction(one) and inspect.isfunction(other)):
        return False
    return (
        one.__code__ == other.__code__
        and one.__code__.co_filename == other.__code__.co_filename
        and one.__globals__ is other.__globals__
        and _same_values(_closure(one), _closure(other))
        and _same_values(one.__defaults__ or (), other.__defaults__ or ())
        and _same_items(one.__kwdefaults__ or {}, other.__kwdefaults__ or {})
    )


def as_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function for a partial or a callable instance; anything else as it is.

    Dash reads the source of a background callback, which only functions and methods have.
    """
    if inspect.isfunction(function) or inspect.ismethod(function):
        return function
    if hasattr(function, "__wrapped__") or code_of(function) is None:
        return function

    async def call_async(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    innermost = _innermost(function)
    user: Any = innermost if inspect.isroutine(innermost) else type(innermost).__call__
    wrapped = update_wrapper(call_async if is_async(function) else call, user)
    # `update_wrapper` gives the signature of the inner function, with what is bound already.
    wrapped.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return wrapped


def _is(kind: Callable[[Any], bool], function: Any) -> bool:
    function = _innermost(function)
    return kind(function) or kind(type(function).__call__)


def _innermost(function: Any) -> Any:
    while isinstance(function, partial):
        function = cast("Any", function).func
    return function


_EMPTY = object()


def _closure(function: FunctionType) -> tuple[object, ...]:
    contents: list[object] = []
    for cell in function.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:
            # A variable without a value yet.
            contents.append(_EMPTY)
    return tuple(contents)


def _same_values(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(
        a is b or same_function(a, b) for a, b in zip(one, other, strict=True)
    )


def _same_items(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        one[name] is other[name] or same_function(one[name], other[name]) for name in one
    )
