"""Which message numbers of a topic are still valid after its numbering has begun anew."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flash_ws.protocol.position import Position

# Topics whose progress is remembered.
_MAX_TOPICS = 10_000


@dataclass(slots=True)
class _Progress:
    """The newest message of a topic that was read in this process."""

    epoch: str
    number: int
    # Whether messages of an earlier epoch were read here, too.
    has_changed: bool


class TopicEpochs:
    """The epoch and the highest number that readers of each topic have seen in this process.

    Dash's readers name a message by its number alone. A number from an earlier epoch must not be
    taken for a message of the present one.
    """

    def __init__(self) -> None:
        # By topic; the topics read longest ago are forgotten first.
        self._progress: OrderedDict[str, _Progress] = OrderedDict()

    def record(self, topic: str, epoch: str, number: int) -> None:
        """Record that a reader has seen this message."""
        progress = self._progress.get(topic)
        if progress is None or progress.epoch != epoch:
            self._progress[topic] = _Progress(epoch, number, has_changed=progress is not None)
        else:
            progress.number = max(progress.number, number)
        self._progress.move_to_end(topic)
        if len(self._progress) > _MAX_TOPICS:
            self._progress.popitem(last=False)

    def may_have_read(self, topic: str, position: Position) -> bool:
        """Tell whether a reader may have got this number in the epoch of ``position``."""
        progress = self._progress.get(topic)
        if progress is None or position.number == 0:
            return True
        if progress.epoch != position.epoch:
            return False
        return not progress.has_changed or position.number <= progress.number
