"""Server-sent events as text: what stands between a generator's values and the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flash.serialize import dumps

# What dash-extensions' SSE component takes for the end of a stream.
DONE = "[DONE]"

# A line that every client passes over. Not followed by an empty line, as comments often are: the
# SSE component takes that for an event without data, and would clear its value.
KEEP_ALIVE = b":\n"

_LINE_ENDS = str.maketrans("", "", "\r\n\0")


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event of a stream.

    - ``data``: str is sent as it is, over as many lines as it has; anything else as JSON.
    - ``event``: its type; a browser calls listeners for that type instead of ``onmessage``, and
      dash-extensions' components take in only events without one.
    - ``id``: what the browser sends as ``Last-Event-ID`` when it connects again.
    - ``retry``: milliseconds that it is to wait before that.

    Raises ``ValueError`` for an ``event`` or ``id`` with a line end, which would be a second field.
    """

    data: Any
    event: str | None = None
    id: str | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("event", self.event), ("id", self.id)):
            if value is not None and value.translate(_LINE_ENDS) != value:
                raise ValueError(f"{name}={value!r}: it has to fit on one line")
        if self.retry is not None and self.retry < 0:
            raise ValueError(f"retry={self.retry}: milliseconds cannot be negative")

    @classmethod
    def of(cls, value: Any) -> ServerSentEvent:
        """Return ``value`` if it is an event, else an event with it as data."""
        return value if isinstance(value, cls) else cls(value)

    def encode(self) -> bytes:
        """Return the event as it goes over the wire, the empty line that ends it included.

        ``data`` arrives as it was but for line ends, which arrive as ``\\n`` whichever they were.
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
