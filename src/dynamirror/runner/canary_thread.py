"""The canary of a mirror in one process."""

import logging
import threading
from collections.abc import Callable
from time import monotonic

from dynamirror.replication.canary_probe import SECONDS, CanaryProbe, ProbeResult

logger = logging.getLogger("dynamirror")


class CanaryThread(threading.Thread):
    """Has a canary beat now and then, until it is stopped.

    Args:
        canary: the canary, given the event's `wait` to wait with.
        table: the table's name.
        interval: seconds from one beat to the next, or more: a beat may take 45 s.
        halt: set to end.
        tell: is told what came of each beat.
    """

    def __init__(
        self,
        canary: CanaryProbe,
        table: str,
        *,
        interval: float,
        halt: threading.Event,
        tell: Callable[[ProbeResult], object],
    ) -> None:
        super().__init__(name="canary", daemon=True)
        self._canary = canary
        self._table = table
        self._every = interval
        self._halt = halt
        self._told = tell

    def run(self) -> None:
        """Probe until stopped."""
        while not self._halt.is_set():
            begin = monotonic()
            beat = self._canary.probe(SECONDS)
            if self._halt.is_set():
                return  # nothing was to be seen any more
            if not beat.seen:
                extra = {"table": self._table, "reason": beat.error}
                logger.error("canary not seen", extra=extra)
            self._told(beat)
            self._halt.wait(max(0.0, begin + self._every - monotonic()))

    def stop(self) -> None:
        """End at once."""
        self._halt.set()
        self.join()
