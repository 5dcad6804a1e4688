"""When each thread of a delivery last went on, so that one that hangs is noticed."""

from collections.abc import Callable
from threading import get_ident
from time import monotonic


class Progress:
    """Keeps the time of each thread's last step; a failed attempt is a step, too.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._steps: dict[int, float] = {}

    def note(self, thread: int | None = None) -> None:
        """Note a step.

        Args:
            thread: identifier of the thread that waits for it; None for this one.
        """
        self._steps[get_ident() if thread is None else thread] = self._clock()

    def end(self) -> None:
        """Forget this thread: it has ended."""
        self._steps.pop(get_ident(), None)

    def stalled(self) -> float:
        """Return the seconds since the last step of the thread that waits longest."""
        now = self._clock()
        return now - min(dict(self._steps).values(), default=now)
