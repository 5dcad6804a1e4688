"""A circuit breaker: after repeated failures, the cache is not asked for a while.

Of the published ones, pybreaker holds a lock during the call, so that threads read one at a time.
circuitbreaker lets all callers try at once a cache that may still hang.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic


@dataclass(slots=True)
class CircuitBreaker:
    """Opens after consecutive failures; then one caller may try after each pause.

    Args:
        failures: consecutive failures that open it.
        pause: seconds between two attempts.
        clock: monotonic seconds.
    """

    failures: int
    pause: float
    clock: Callable[[], float] = monotonic
    _failed: int = 0
    _until: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def admits(self) -> bool:
        """Return whether the caller may try; it must then report success or failure."""
        if self._failed < self.failures:
            return True
        with self._lock:
            now = self.clock()
            if now < self._until:
                return False
            self._until = now + self.pause
            return True

    def succeeded(self) -> None:
        """Record a success."""
        if self._failed:
            self._failed = 0

    def failed(self) -> bool:
        """Record a failure; returns whether it opened the breaker."""
        with self._lock:
            self._failed += 1
            self._until = self.clock() + self.pause
            return self._failed == self.failures

    def open(self) -> None:
        """Open the breaker, however many failures there were."""
        with self._lock:
            self._failed = max(self._failed, self.failures)
            self._until = self.clock() + self.pause
