"""Components: their properties are read from the ``__dict__`` of the instance."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dash.development.base_component import Component

from flash.serialize.plain import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable

# Attributes that generated component classes set on instances and that are no properties.
_INTERNAL_ATTRIBUTES = frozenset(
    {
        "_namespace",
        "_prop_names",
        "_type",
        "_valid_wildcard_attributes",
        "available_properties",
        "available_wildcard_properties",
    }
)
# How many of them current generated classes set on each instance.
_USUAL_INTERNAL_ATTRIBUTES = 4


def is_ordinary(cls: type) -> bool:
    """Return whether ``cls`` is a component whose instances have all properties in ``__dict__``.

    False for a class that overrides ``to_plotly_json`` or attribute access, and for a class to
    which another of Dash's rules applies first.
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
    cls: type, convert: Callable[[Any], object], fallback: Callable[[Any], object]
) -> Callable[[Any], object]:
    """Return a function that does what ``to_plotly_json`` of ``cls`` does.

    ``convert`` is applied to each property that is not plain. ``fallback`` converts an instance
    that has other attributes than properties, or properties on its class.
    """
    # Generated classes make a new list of property names for each instance. The last list and its
    # set are replaced together, so that no thread sees one without the other.
    known: tuple[list[str], frozenset[str]] = ([], frozenset())

    def form(component: Any) -> object:
        nonlocal known
        declared, names = known
        if component._prop_names != declared:
            declared = component._prop_names[:]
            names = frozenset(declared)
            if any(hasattr(cls, name) for name in names):
                # A value on the class counts as a property, too.
                return fallback(component)
            known = declared, names
        state: dict[str, Any] = component.__dict__
        props: dict[str, object] = {}
        for name, value in state.items():
            if name in names:
                props[name] = value if type(value) in PLAIN else convert(value)
        if len(props) + _USUAL_INTERNAL_ATTRIBUTES != len(state):
            wildcards = tuple(component._valid_wildcard_attributes)
            for name, value in state.items():
                if name not in names and name not in _INTERNAL_ATTRIBUTES:
                    if not name.startswith(wildcards):
                        return fallback(component)
                    props[name] = convert(value)
        return {"props": props, "type": component._type, "namespace": component._namespace}

    return form
