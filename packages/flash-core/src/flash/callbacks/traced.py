"""Calls of users' functions in a span that says how they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from dash.exceptions import PreventUpdate

from flash.callbacks.counts import outcome_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager

    from flash.tracing import Span, Value

T = TypeVar("T")


async def call_in_span(
    manager: AbstractContextManager[Span],
    call: Callable[[], Awaitable[T]],
    describe: Callable[[T | None], Mapping[str, Value]] | None = None,
) -> T:
    """Call in a span, which gets the attribute ``flash.callback.outcome``.

    It also gets what ``describe`` returns for the result, which is None if there is none. An
    exception is recorded in the span and raised; a `PreventUpdate` and a cancellation are no
    errors.
    """
    with manager as span:
        outcome, result = "ok", None
        try:
            result = await call()
            return result
        except PreventUpdate:
            # Raised again outside of the span.
            outcome = "no_update"
        except BaseException as error:
            outcome = outcome_of(error)
            raise
        finally:
            known = {} if describe is None else describe(result)
            span.set({**known, "flash.callback.outcome": outcome})
    raise PreventUpdate
