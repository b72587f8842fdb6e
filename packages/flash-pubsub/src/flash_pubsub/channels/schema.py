"""Checking the messages of a channel before they are published."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import TYPE_CHECKING, Any, Protocol

from flash import ConfigurationError
from flash_pubsub.errors import InvalidMessage

if TYPE_CHECKING:
    from types import ModuleType


class _Adapter(Protocol):
    def validate_python(self, value: Any, /) -> Any: ...

    def dump_python(self, value: Any, /, *, mode: str) -> Any: ...


class Schema:
    """Checks messages against a pydantic model, a dataclass or a TypedDict.

    Pydantic does the checking. The constructor raises `ConfigurationError` if pydantic is not
    installed or does not accept the class.
    """

    def __init__(self, kind: Any) -> None:
        if importlib.util.find_spec("pydantic") is None:
            raise ConfigurationError(
                f'schema={_name(kind)} needs pydantic: pip install "flash-pubsub[schema]", '
                "or leave schema= out"
            )
        if isinstance(kind, str):
            raise ConfigurationError(
                f"schema={kind!r} is a string; pass the class: a pydantic model, a dataclass or a "
                "TypedDict"
            )
        pydantic: ModuleType = importlib.import_module("pydantic")
        self._kind = kind
        self._invalid: type[Exception] = pydantic.ValidationError
        try:
            self._adapter: _Adapter = pydantic.TypeAdapter(kind)
        except pydantic.errors.PydanticUserError as error:
            if error.code == "typed-dict-version":
                raise ConfigurationError(
                    f"schema={_name(kind)}: before Python 3.12 pydantic needs the TypedDict of "
                    "typing_extensions, which is installed with pydantic: "
                    "from typing_extensions import TypedDict"
                ) from error
            reason = str(error).partition("\n")[0]
            raise ConfigurationError(
                f"schema={_name(kind)}: pass a pydantic model, a dataclass or a TypedDict "
                f"({reason})"
            ) from error

    def validate(self, channel: str, data: Any) -> Any:
        """Return the message to send, with defaults filled in; raises `InvalidMessage`."""
        if dataclasses.is_dataclass(data) and not isinstance(data, type):
            data = dataclasses.asdict(data)
        try:
            return self._adapter.dump_python(self._adapter.validate_python(data), mode="json")
        except self._invalid as error:
            raise InvalidMessage(channel, _name(self._kind), _reason(error)) from error


def _reason(error: Any) -> str:
    """Return the first three errors in one line."""
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'the message'}: {each['msg']}"
        for each in error.errors()[:3]
    )


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", repr(kind))
