"""Converts the result of a channel or shared callback into the properties that it sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from flash import ConfigurationError, NoUpdate, Output
from flash.props import Sent

if TYPE_CHECKING:
    from collections.abc import Sequence

# A Dash component id: a string or a dictionary.
ComponentId = Any


@dataclass(frozen=True, slots=True)
class Outputs:
    """The declared outputs of one callback."""

    declared: tuple[Output, ...]
    # Whether the function returns a list with one value for each output, or just one value.
    returns_list: bool

    @classmethod
    def of(cls, dependencies: Sequence[Any], what: str) -> Outputs:
        """Check the Outputs of a decorator: one, several, or a list of them.

        ``what`` names the callback in errors. Raises `ConfigurationError`.
        """
        returns_list = len(dependencies) != 1 or isinstance(dependencies[0], list | tuple)
        flat: list[Any] = []
        for each in dependencies:
            flat.extend(each if isinstance(each, list | tuple) else [each])
        for each in flat:
            if not isinstance(each, Output):
                raise ConfigurationError(f"{what}: {each!r} is no Output; pass Outputs only")
            check_no_wildcard(each, what)
        return cls(tuple(flat), returns_list)

    def updates(self, result: Any, what: str) -> list[tuple[ComponentId, dict[str, Any]]]:
        """Return component ids with the properties to set.

        Raises ``ValueError`` if the result does not fit the outputs.
        """
        if isinstance(result, NoUpdate):
            return []
        if not self.declared:
            if result is not None and not isinstance(result, Sent):
                raise ValueError(f"{what} has no Output and returned {result!r}; return None")
            return []
        values: Sequence[Any] = [result]
        if self.returns_list:
            if not isinstance(result, list | tuple):
                raise ValueError(
                    f"{what} has several Outputs and returned {result!r}; return a list with one "
                    "value for each"
                )
            values = cast("Sequence[Any]", result)
        if len(values) != len(self.declared):
            raise ValueError(
                f"{what} has {len(self.declared)} Outputs and returned {len(values)} values"
            )
        return [
            (output.component_id, {output.component_property: value})
            for output, value in zip(self.declared, values, strict=True)
            if not isinstance(value, NoUpdate)
        ]


def check_no_wildcard(dependency: Any, what: str) -> None:
    """Raise `ConfigurationError` for a dependency whose id has a wildcard."""
    if dependency.has_wildcard():
        raise ConfigurationError(
            f"{what}: {dependency} has a wildcard, but this kind of callback needs ids that are "
            "the same on every page; name each component"
        )
