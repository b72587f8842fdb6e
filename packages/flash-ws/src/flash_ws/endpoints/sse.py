"""`ServerSentEvent`: the encoding of server-sent events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flash.serialize import dumps

# The data that dash-extensions' SSE component takes as the end of a stream.
DONE = "[DONE]"

# A comment line, which clients ignore. No empty line follows: the SSE component would take that as
# an event without data and clear its value.
KEEP_ALIVE = b":\n"

_LINE_ENDS = str.maketrans("", "", "\r\n\0")


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event of a stream.

    - ``data``: str is sent as it is, one line of the protocol for each of its lines; anything else
      is sent as JSON.
    - ``event``: the type. A browser calls listeners of that type instead of ``onmessage``, and
      dash-extensions' components accept only events without a type.
    - ``id``: sent back by the browser as ``Last-Event-ID`` when it reconnects.
    - ``retry``: milliseconds that the browser waits before it reconnects.

    Raises ``ValueError`` for an ``event`` or ``id`` with a line end, which would start another
    field, and for a negative ``retry``.
    """

    data: Any
    event: str | None = None
    id: str | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("event", self.event), ("id", self.id)):
            if value is not None and value.translate(_LINE_ENDS) != value:
                raise ValueError(f"{name}={value!r} contains a line end or NUL; use one line")
        if self.retry is not None and self.retry < 0:
            raise ValueError(f"retry={self.retry} is negative; use milliseconds, 0 or more")

    @classmethod
    def of(cls, value: Any) -> ServerSentEvent:
        """Return ``value`` if it is an event, else an event with ``value`` as its data."""
        return value if isinstance(value, cls) else cls(value)

    def encode(self) -> bytes:
        """Return the event as bytes, including the empty line that ends it.

        The browser receives ``data`` unchanged, except that every line end becomes ``\\n``.
        """
        data = self.data if isinstance(self.data, str) else dumps(self.data).decode()
        lines: list[str] = []
        if self.id is not None:
            lines.append(f"id: {self.id}")
        if self.event is not None:
            lines.append(f"event: {self.event}")
        if self.retry is not None:
            lines.append(f"retry: {self.retry}")
        if "\r" in data:
            data = data.replace("\r\n", "\n").replace("\r", "\n")
        lines += [f"data: {line}" for line in data.split("\n")]
        lines += ["", ""]
        return "\n".join(lines).encode()
