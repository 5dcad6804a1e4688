"""Declared outages, and the answers of the inspector in and outside of them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from dynamirror.inspection.tally import Tally, Within

# After an outage the workers are behind for a while. An answer within so many seconds counts with
# it, or within the threshold if that is less.
CATCHING_UP: Final = 10.0


class Outage(msgspec.Struct):
    """A time in which the cache itself was down, or was rebuilt.

    Args:
        reason: the fault.
        begin: in seconds since 1970.
        end: in seconds since 1970; None as long as it lasts.
    """

    reason: str
    begin: float
    end: float | None = None


class Outages:
    """All declared outages of a run."""

    def __init__(self) -> None:
        self.all: list[Outage] = []
        self._lock = threading.Lock()

    @contextmanager
    def declared(self, reason: str) -> Iterator[None]:
        """Declare an outage for the time of a block."""
        outage = Outage(reason, time.time())
        with self._lock:
            self.all.append(outage)
        try:
            yield
        finally:
            outage.end = time.time()

    def overlap(self, begin: float, end: float) -> bool:
        """Return whether any outage overlaps a time."""
        with self._lock:
            outages = list(self.all)
        return any(each.begin <= end and (each.end or end) >= begin for each in outages)

    @property
    def seconds(self) -> float:
        """Return how long they took, together; they never overlap each other."""
        return sum((each.end or time.time()) - each.begin for each in self.all)


class Split:
    """Divides the answers at each threshold into those in an outage and all others.

    Args:
        outages: the outages.
    """

    def __init__(self, outages: Outages) -> None:
        self._outages = outages
        self._before: dict[int, tuple[float, dict[str, Within]]] = {}
        self.outside: dict[str, Within] = {}
        self.inside: dict[str, Within] = {}

    def add(self, watcher: int, at: float, tally: Tally) -> None:
        """Add what a watcher has answered since its last report.

        Args:
            watcher: its number.
            at: time of the report.
            tally: all counts of the watcher until then.
        """
        within = tally.total.within
        since, before = self._before.get(watcher, (at, {}))
        for name, answers in within.items():
            past = before.get(name, Within())
            ago = min(float(name), CATCHING_UP)
            is_inside = self._outages.overlap(since - ago, at)
            side = self.inside if is_inside else self.outside
            total = side.setdefault(name, Within())
            total.asked += answers.asked - past.asked
            total.consistent += answers.consistent - past.consistent
            total.undecided += answers.undecided - past.undecided
        self._before[watcher] = at, dict(within)
