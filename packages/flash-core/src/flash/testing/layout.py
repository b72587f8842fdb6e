"""`Node`: a searchable component tree, from the JSON that the browser receives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_COMPONENT = frozenset({"type", "namespace", "props"})


@dataclass(frozen=True, slots=True)
class Node:
    """A component of a layout, or a plain value in place of one.

    ``props`` are the component's properties as sent. For a layout that is a list or a text, the
    root has an empty ``type`` and that value as its ``children``.
    """

    type: str
    namespace: str
    props: Mapping[str, Any]

    @classmethod
    def of(cls, value: Any) -> Node:
        """Create a node from a parsed layout, or from a callback's value for ``children``."""
        if _is_component(value):
            return cls(value["type"], value["namespace"], value["props"])
        return cls("", "", {"children": value})

    @property
    def id(self) -> str | dict[str, Any] | None:
        """The component's id; a dictionary for pattern-matching ids."""
        return self.props.get("id")

    @property
    def children(self) -> Any:
        """The ``children`` property as sent: a text, a component, a list or None."""
        return self.props.get("children")

    @property
    def text(self) -> str:
        """All texts below this component, in order and without separators."""
        return "".join(_texts(self.children))

    def __getitem__(self, prop: str) -> Any:
        return self.props[prop]

    def walk(self) -> Iterator[Node]:
        """Yield this component and all components below it, in any property, top down."""
        yield self
        for component in _components(self.props):
            yield from Node.of(component).walk()

    def find(self, component_id: str | Mapping[str, Any]) -> Node:
        """Return the component with that id; raises ``LookupError`` with the existing ids."""
        for node in self.walk():
            if node.id == component_id:
                return node
        known = [node.id for node in self.walk() if node.id is not None]
        raise LookupError(f"no component {component_id!r} in this layout; its ids are {known!r}")

    def find_all(self, component_type: str | None = None, /, **props: Any) -> list[Node]:
        """Return the components with this type (``"Dropdown"``) and these properties, in order."""
        return [
            node
            for node in self.walk()
            if component_type in (None, node.type)
            and all(prop in node.props and node.props[prop] == props[prop] for prop in props)
        ]

    def replace(self, changes: Mapping[tuple[str, str], Any]) -> Node:
        """Return a copy with changed properties; keys are (id, property), unknown ids ignored."""
        return Node(self.type, self.namespace, _replaced(self.props, self.id, changes))


def _is_component(value: Any) -> bool:
    return isinstance(value, dict) and cast("dict[str, Any]", value).keys() >= _COMPONENT


def _components(value: Any) -> Iterator[Any]:
    """Yield the outermost components in a value."""
    if isinstance(value, dict):
        for item in cast("dict[str, Any]", value).values():
            if _is_component(item):
                yield item
            else:
                yield from _components(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            if _is_component(item):
                yield item
            else:
                yield from _components(item)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _texts(item)
    elif _is_component(value):
        yield from _texts(value["props"].get("children"))
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield str(value)


def _replaced(
    props: Mapping[str, Any], component_id: Any, changes: Mapping[tuple[str, str], Any]
) -> dict[str, Any]:
    own = {
        prop: value for (changed_id, prop), value in changes.items() if changed_id == component_id
    }
    kept = {
        prop: _replaced_value(value, changes) for prop, value in props.items() if prop not in own
    }
    return {**kept, **own}


def _replaced_value(value: Any, changes: Mapping[tuple[str, str], Any]) -> Any:
    if _is_component(value):
        props = value["props"]
        return {**value, "props": _replaced(props, props.get("id"), changes)}
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: _replaced_value(item, changes) for key, item in items}
    if isinstance(value, list):
        return [_replaced_value(item, changes) for item in cast("list[Any]", value)]
    return value
