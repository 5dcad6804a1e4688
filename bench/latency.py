"""How long each of many calls takes."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Self

_MICROSECONDS = 1e6


class Times(NamedTuple):
    """The seconds of calls, in ascending order."""

    seconds: list[float]

    @classmethod
    def of(cls, call: Callable[[], Any], times: int) -> Self:
        """Call a function so many times."""
        now = time.perf_counter
        seconds = []
        for _ in range(times):
            begin = now()
            call()
            seconds.append(now() - begin)
        return cls(sorted(seconds))

    @property
    def total(self) -> float:
        """Seconds of all calls."""
        return sum(self.seconds)

    @property
    def fastest(self) -> float:
        """Microseconds of the fastest call."""
        return self.seconds[0] * _MICROSECONDS

    def percentile(self, percent: int) -> float:
        """Return the microseconds that so many in a hundred calls take at the most."""
        last = len(self.seconds) - 1
        return self.seconds[last * percent // 100] * _MICROSECONDS
