"""A circuit breaker: what fails again and again is left alone for a while.

Of the published ones, pybreaker holds a lock during the call, so that threads would read one after
the other, and circuitbreaker lets all callers try at once what may still hang.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic


@dataclass(slots=True)
class Breaker:
    """Opens after some failures in a row; then, every now and then, one caller may try.

    Args:
        failures: in a row, that open it.
        pause: seconds between two tries.
        clock: monotonic seconds.
    """

    failures: int
    pause: float
    clock: Callable[[], float] = monotonic
    _failed: int = 0
    _until: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def admits(self) -> bool:
        """Whether the caller may try; if so, it must tell what came of it."""
        if self._failed < self.failures:
            return True
        with self._lock:
            now = self.clock()
            if now < self._until:
                return False
            self._until = now + self.pause
            return True

    def succeeded(self) -> None:
        """A try went well."""
        if self._failed:
            self._failed = 0

    def failed(self) -> bool:
        """A try failed; returns whether that opened it."""
        with self._lock:
            self._failed += 1
            self._until = self.clock() + self.pause
            return self._failed == self.failures
