"""A limit of the read units that reads consume, from the first one on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic, sleep
from typing import Final

# What may be consumed at once: the units of so many seconds.
_BURST_SECONDS: Final = 1.0


@dataclass(slots=True)
class _Account:
    """What was consumed: the time until which it is paid for, on the limit's clock."""

    paid_until: float
    lock: Lock = field(default_factory=Lock)


class Rate:
    """Limits the read units that all threads together consume.

    Each read is paid for before it begins, by an estimate that is put right after it.

    Args:
        units: read units per second; None for no limit.
        clock: returns monotonic seconds.
        wait: waits a number of seconds.
        account: that of another limit, to consume from both as from one; None for a new one.
    """

    def __init__(
        self,
        units: float | None,
        *,
        clock: Callable[[], float] = monotonic,
        wait: Callable[[float], object] = sleep,
        account: _Account | None = None,
    ) -> None:
        self._units = units
        self._clock = clock
        self._wait = wait
        self._account = account or _Account(clock())

    def waiting_by(self, wait: Callable[[float], object]) -> "Rate":
        """Return the same limit, shared, for threads that wait in another way.

        Args:
            wait: waits a number of seconds.
        """
        return Rate(self._units, clock=self._clock, wait=wait, account=self._account)

    def most(
        self, limit: int | None, each: float, *, seconds: float = _BURST_SECONDS
    ) -> int | None:
        """Return how many items may be read at once; None for any number.

        Args:
            limit: another limit of that number; None for none.
            each: the read units that an item takes.
            seconds: how long that may take.
        """
        if self._units is None:
            return limit
        # A read costs a whole unit in any case.
        number = max(1, int(max(self._units * seconds, 1.0) / each))
        return number if limit is None else min(limit, number)

    def begin(self, expected: float) -> None:
        """Wait until a read is within the limit, or everything before it is paid for.

        Args:
            expected: the units that the read may take.
        """
        if self._units is None:
            return
        account = self._account
        with account.lock:
            now = self._clock()
            before = max(account.paid_until, now)
            account.paid_until = before + expected / self._units
            # A read that takes more than a burst must begin some time, too.
            seconds = min(before, account.paid_until - _BURST_SECONDS) - now
        self.pause(seconds)

    def end(self, units: float, expected: float) -> None:
        """Put the estimate of a read right.

        Args:
            units: the units that the read took.
            expected: the units that were expected.
        """
        if self._units is None:
            return
        with self._account.lock:
            self._account.paid_until += (units - expected) / self._units

    def pause(self, seconds: float) -> None:
        """Wait a number of seconds for any reason."""
        if seconds > 0:
            self._wait(seconds)
