"""A coroutine that is run to its first wait at once, to find out whether it waits at all.

What has a time limit needs no timer if it is done without a wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

T = TypeVar("T")


class FirstStep(Generic[T]):
    """Runs ``coroutine`` to its end or first wait; awaitable once for the rest.

    What the coroutine raises before its first wait is raised by the constructor. It must be made
    and awaited in the same task.
    """

    __slots__ = ("_coroutine", "_result", "_waits_for", "is_done")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self.is_done = False
        try:
            self._waits_for = coroutine.send(None)
        except StopIteration as end:
            self._result: T = end.value
            self.is_done = True

    def result(self) -> T:
        """Return the result of a coroutine that is done."""
        return self._result

    def __await__(self) -> Generator[Any, Any, T]:
        waits_for = self._waits_for
        while True:
            try:
                # The event loop resumes this when what the coroutine waits for is there.
                sent = yield waits_for
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001  such as the cancellation of the task
                step, value = self._coroutine.throw, error
            else:
                step, value = self._coroutine.send, sent
            try:
                waits_for = step(value)
            except StopIteration as end:
                return end.value
