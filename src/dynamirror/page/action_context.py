"""What every action on the demo's mirror needs."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from dynamirror.demo.demo import Demo
from dynamirror.errors import DynamirrorError
from dynamirror.page.event_log import EventLog
from dynamirror.page.fragile_item import FragileItem
from dynamirror.page.table_writer import TableWriter

_PATIENCE_SECONDS = 60.0


@dataclass(kw_only=True)
class ActionContext:
    """The demo, and what its actions share.

    Args:
        halt: set when the page closes.
        fragile: item whose entry was damaged; None before the first damage.
    """

    demo: Demo
    log: EventLog
    writer: TableWriter
    halt: threading.Event
    fragile: FragileItem | None = None

    def wait_for_delivery(self, since: float) -> None:
        """Wait until everything in the stream at a time, in monotonic seconds, is delivered.

        Raises:
            DynamirrorError: it takes too long, or the page closes.
        """
        self.wait_until(lambda: self.demo.delivery.caught_up(since), "caught up")

    def wait_until(self, holds: Callable[[], bool], achievement: str) -> None:
        """Wait for a condition.

        Args:
            holds: checks the condition.
            achievement: words for error messages, as in "the mirror has not caught up".

        Raises:
            DynamirrorError: it takes too long, or the page closes.
        """
        begin = monotonic()
        while not holds():
            if monotonic() - begin > _PATIENCE_SECONDS:
                raise DynamirrorError(
                    f"the mirror has not {achievement} in {_PATIENCE_SECONDS:.0f} s"
                )
            if self.halt.wait(0.02):
                raise DynamirrorError(f"the demo ended before the mirror had {achievement}")
