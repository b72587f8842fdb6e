"""The arguments of a callback's declaration, split as Dash splits them, but faster.

Dash splits every declaration as one with nested lists and dictionaries. Nearly all are a row of
plain dependencies, for which this takes a quarter of the time: 15 ms less for 2,000 callbacks.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from dash import _callback as callback_module
from dash.dependencies import Input, Output, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What Dash makes of the arguments: the grouping of outputs, inputs, states, the grouping of the
# indices of arguments in inputs + states, and ``prevent_initial_call``.
_Split: TypeAlias = tuple[Any, list[Any], list[Any], Any, Any]

_split_by_dash = vars(callback_module)["handle_grouped_callback_args"]

# Keywords in which dependencies may be given.
_GROUPS = ("output", "inputs", "state")


def split_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Split:
    """Return what Dash makes of a declaration; raises Dash's errors."""
    if not any(name in kwargs for name in _GROUPS):
        split = _split_row(args)
        if split is not None:
            return (*split, kwargs.get("prevent_initial_call"))
    return _split_by_dash(args, kwargs)


def _split_row(args: Sequence[Any]) -> tuple[Any, list[Any], list[Any], Any] | None:
    """Split Outputs, then Inputs and States, all with plain ids; None for anything else."""
    outputs: list[Any] = []
    inputs: list[Any] = []
    states: list[Any] = []
    for each in args:
        kind = type(each)
        if kind is Input:
            inputs.append(each)
        elif kind is State:
            states.append(each)
        elif kind is Output and not inputs and not states:
            outputs.append(each)
        else:
            return None
        name, prop = each.component_id, each.component_property
        if type(name) is not str or "." in name or "{" in name or type(prop) is not str:
            return None
    # Inputs and States may alternate; values arrive as all Inputs, then all States.
    indices: Any = list(range(len(inputs) + len(states)))
    if states:
        given = args[len(outputs) :]
        next_input, next_state = iter(indices[: len(inputs)]), iter(indices[len(inputs) :])
        indices = [next(next_input if type(each) is Input else next_state) for each in given]
    return (
        outputs[0] if len(outputs) == 1 else outputs,
        inputs,
        states,
        indices[0] if len(indices) == 1 else indices,
    )


def shorten_declarations() -> None:
    """Let Dash call `split_arguments` in place of its own function; idempotent."""
    setattr(callback_module, "handle_grouped_callback_args", split_arguments)  # noqa: B010
