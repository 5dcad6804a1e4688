"""Waiting between attempts."""

import logging
import random
import threading
from collections.abc import Callable

logger = logging.getLogger("dynamirror")

_LONGEST_PAUSE = 10.0


class Backoff:
    """Waits longer from failure to failure, and ends at once when asked to stop.

    Args:
        stop: set to end.
        jitter: 0 to 1, spreads retries.
    """

    def __init__(self, stop: threading.Event, jitter: Callable[[], float] = random.random) -> None:
        self._stop = stop
        self._jitter = jitter

    def wait(self, failures: int, reason: object) -> None:
        """Wait after the given number of failures in a row."""
        seconds = min(_LONGEST_PAUSE, 0.05 * 2 ** min(failures, 10)) * (0.5 + self._jitter() / 2)
        logger.warning("trying again", extra={"seconds": round(seconds, 2), "reason": str(reason)})
        self._stop.wait(seconds)
