"""The heartbeat of a replicator that hears of itself only by batches, as in Lambda."""

from collections.abc import Callable
from contextlib import suppress
from time import monotonic, time
from typing import Final

from dynamirror.cache.client import Cache
from dynamirror.cache.heartbeat import Heartbeat, write_heartbeat
from dynamirror.errors import CacheError
from dynamirror.replication.record_batch import RecordBatch

_INTERVAL_SECONDS: Final = 5.0
# A lag below this is that of a replicator that keeps up.
_KEPT_UP_SECONDS: Final = 10.0


class BatchHeartbeat:
    """Leaves a heartbeat after an applied batch, every few seconds at the most.

    Args:
        who: the function's name.
        name: distinguishes the processes that replicate a table.
        clock: monotonic seconds.
        now: seconds since 1970.
    """

    def __init__(
        self,
        who: str,
        name: str,
        *,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], float] = time,
    ) -> None:
        self._who = who
        self._name = name
        self._clock = clock
        self._now = now
        self._last: dict[str, tuple[float, float]] = {}

    def applied(self, cache: Cache, batch: RecordBatch) -> None:
        """Leave a heartbeat, if it is time, after a batch that was wholly applied."""
        created = batch.newest
        if created is None:
            return
        at, behind = self._clock(), max(0.0, self._now() - created)
        last = self._last.get(batch.table)
        if last is not None and at - last[0] < _INTERVAL_SECONDS:
            # An idle table may follow: the last heartbeat must not say that changes are waiting.
            caught_up = behind <= _KEPT_UP_SECONDS < last[1]
            if not caught_up:
                return
        self._last[batch.table] = at, behind
        heartbeat = Heartbeat(
            who=self._who,
            behind=behind,
            stream=batch.stream_arn,
            sequence_number=batch.last_sequence_number,
            created=created,
        )
        with suppress(CacheError):  # the batch is applied
            write_heartbeat(cache, batch.table, self._name, heartbeat, first=last is None)
