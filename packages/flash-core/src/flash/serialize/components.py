"""Components: their properties, read from the instance instead of probed for name by name."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dash.development.base_component import Component

from flash.serialize.plain import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable

# What the code generated for every component class keeps beside the properties.
_BOOKKEEPING = frozenset(
    {
        "_namespace",
        "_prop_names",
        "_type",
        "_valid_wildcard_attributes",
        "available_properties",
        "available_wildcard_properties",
    }
)
# As many of them as current generated code sets on each instance.
_USUAL_BOOKKEEPING = 4


def is_ordinary(cls: type) -> bool:
    """Whether the properties of an instance are what its ``__dict__`` holds.

    They are not where a class says itself how it is written, looks its attributes up in a way of
    its own, or is something that Dash's rules know by another name than component.
    """
    return (
        issubclass(cls, Component)
        and cls.to_plotly_json is Component.to_plotly_json
        and cls.__getattribute__ is object.__getattribute__
        and not issubclass(cls, (int, float, str, dict, list, tuple, datetime.datetime, Decimal))
        and not any(
            hasattr(cls, name)
            for name in ("__getattr__", "_dashprivate_remount", "to_pydatetime", "tolist")
        )
    )


def component_form(
    cls: type, finish: Callable[[Any], object], otherwise: Callable[[Any], object]
) -> Callable[[Any], object]:
    """What ``to_plotly_json`` gives, with ``finish`` applied to each property that is not plain.

    ``otherwise`` forms an instance that has more to say than properties, or says them differently.
    """
    # Generated code lists the property names on each instance anew. The names, as a list to compare
    # and as a set to look in, are replaced as one, so no thread sees one without the other.
    learnt: tuple[list[str], frozenset[str]] = ([], frozenset())

    def form(component: Any) -> object:
        nonlocal learnt
        declared, names = learnt
        if component._prop_names != declared:
            declared = component._prop_names[:]
            names = frozenset(declared)
            if any(hasattr(cls, name) for name in names):
                # A value on the class counts as set, whether or not the instance has its own.
                return otherwise(component)
            learnt = declared, names
        state: dict[str, Any] = component.__dict__
        props: dict[str, object] = {}
        for name, value in state.items():
            if name in names:
                props[name] = value if type(value) in PLAIN else finish(value)
        if len(props) + _USUAL_BOOKKEEPING != len(state):
            wildcards = tuple(component._valid_wildcard_attributes)
            for name, value in state.items():
                if name not in names and name not in _BOOKKEEPING:
                    if not name.startswith(wildcards):
                        return otherwise(component)
                    props[name] = finish(value)
        return {"props": props, "type": component._type, "namespace": component._namespace}

    return form
