"""How far the mirror of a table is behind, by the heartbeats of its replicators."""

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, Final

from dynamirror.cache.heartbeat import replicator_in
from dynamirror.cache.scripts import Command
from dynamirror.reader.guarded_cache import DOWN
from dynamirror.reader.steps import Steps
from dynamirror.views.keyspace import heartbeats_key

_MICROSECOND: Final = 1e-6


class MirrorAge:
    """Reads the heartbeats of a table's replicators from time to time.

    Args:
        table: the table's name.
        interval: seconds between two reads.
        clock: monotonic seconds.
    """

    def __init__(
        self, table: str, interval: float, *, clock: Callable[[], float] = monotonic
    ) -> None:
        key = heartbeats_key(table).encode()
        # The right to run a script includes the right to write, which no reader has.
        self._reading = Command(key, (b"HGETALL", key)), Command(key, (b"TIME",))
        self._table, self._interval, self._clock = table, interval, clock
        self._next = -inf
        # The moment of the clock up to which all changes were applied.
        self._applied = -inf

    def behind(self) -> Steps[float]:
        """Return how many seconds the mirror may be behind; infinite if that is not known."""
        now = self._clock()
        if now >= self._next:
            self._next = now + self._interval  # meanwhile others use the last answer
            stored, cache_time = yield self._reading
            behind = self._behind(stored, cache_time)
            if behind < inf:  # else the age grows from the last one that is known
                self._applied = now - behind
        return self._clock() - self._applied

    def _behind(self, stored: Any, cache_time: Any) -> float:
        if stored is DOWN or cache_time is DOWN or not stored or not cache_time:
            return inf
        seconds, microseconds = map(int, cache_time)
        replicator = replicator_in(self._table, stored, seconds + microseconds * _MICROSECOND)
        return inf if replicator is None else replicator.behind
