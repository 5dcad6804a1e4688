"""Waiting between attempts."""

import logging
import random
import threading
from collections.abc import Callable

logger = logging.getLogger("dynamirror")

_LONGEST_PAUSE = 10.0


class Backoff:
    """Count consecutive failures, and wait longer after each.

    Args:
        stop: the event that ends a wait early.
        jitter: a source of numbers from 0 to 1, which spread the retries.

    Attributes:
        failures: the number of failures since the last success.
    """

    def __init__(self, stop: threading.Event, jitter: Callable[[], float] = random.random) -> None:
        self._stop = stop
        self._jitter = jitter
        self.failures = 0

    def wait(self, reason: object) -> None:
        """Count a failure, and wait before the next attempt."""
        self.failures += 1
        longest = min(_LONGEST_PAUSE, 0.05 * 2 ** min(self.failures, 10))
        seconds = longest * (0.5 + self._jitter() / 2)
        logger.warning("trying again", extra={"seconds": round(seconds, 2), "reason": str(reason)})
        self._stop.wait(seconds)

    def reset(self) -> None:
        """Count a success: the next wait is the shortest again."""
        self.failures = 0
