"""Runs the canary probe of a mirror in one process."""

import logging
import threading
from collections.abc import Callable
from time import monotonic

from dynamirror.replication.canary_probe import SECONDS, CanaryProbe, ProbeResult
from dynamirror.stoppable_thread import StoppableThread

logger = logging.getLogger("dynamirror")


class CanaryThread(StoppableThread):
    """Runs a canary probe at an interval, until it is stopped.

    Args:
        canary: the probe, which waits with the event's `wait`.
        table: the table's name.
        interval: seconds between probes; more where a probe takes up to 45 s.
        halt: ends the thread when set.
        on_result: called with each result.
    """

    def __init__(
        self,
        canary: CanaryProbe,
        table: str,
        *,
        interval: float,
        halt: threading.Event,
        on_result: Callable[[ProbeResult], object],
    ) -> None:
        super().__init__("canary", halt)
        self._canary = canary
        self._table = table
        self._interval = interval
        self._on_result = on_result

    def run(self) -> None:
        """Probe until stopped."""
        while not self._halt.is_set():
            begin = monotonic()
            result = self._canary.probe(SECONDS)
            if self._halt.is_set():
                return  # the probe was interrupted
            if not result.seen:
                extra = {"table": self._table, "reason": result.error}
                logger.error("canary not seen", extra=extra)
            self._on_result(result)
            self._halt.wait(max(0.0, begin + self._interval - monotonic()))
