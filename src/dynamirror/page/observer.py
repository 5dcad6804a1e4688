"""Read what the page shows of table and cache."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dynamirror.cache.checkpoints import Checkpoints
from dynamirror.cache.completeness_marker import read_marker
from dynamirror.cache.doubt import doubt, noted_evictions
from dynamirror.cache.quarantine import count, read_quarantine
from dynamirror.errors import DynamirrorError
from dynamirror.page.entry_sample import EntrySample
from dynamirror.page.mirror_source import MirrorSource
from dynamirror.page.state import EntryRow, Observation, ParkedRow, RebuildRow, Shard
from dynamirror.recovery.rebuild_state import RebuildState
from dynamirror.runner.delivery import Delivery

_MOST_PARKED = 10
# A longer quarantine is counted, but not read.
_MOST_LISTED = 500


class Observer:
    """Observes one mirror; by default with an entry sample of the usual size."""

    def __init__(self, mirror: MirrorSource, sample: EntrySample | None = None) -> None:
        self._mirror = mirror
        self._sample = sample or EntrySample(mirror)
        self._state = RebuildState(mirror.cache, mirror.table)
        self._latest = Observation()

    def observe(self, delivery: Delivery | None) -> Observation:
        """Read table and cache, and return the observation; after an error, the one before."""
        try:
            self._latest = self._observed(self._sample.compare(delivery))
        except DynamirrorError as error:
            self._latest = replace(self._latest, trouble=str(error))
        return self._latest

    def _observed(self, rows: Sequence[EntryRow]) -> Observation:
        cache, table = self._mirror.cache, self._mirror.table
        marker = read_marker(cache, table)
        checkpoints = Checkpoints(cache, self._mirror.stream()).load()
        quarantined = count(cache, table)
        items: Sequence[Any] = ()
        if 0 < quarantined <= _MOST_LISTED:
            items = read_quarantine(cache, table)[:_MOST_PARKED]
        return Observation(
            rows=rows,
            reason=None if marker.is_complete else marker.reason,
            doubt=doubt(noted_evictions(cache, table)),
            shards=tuple(
                Shard(shard, checkpoint.after, checkpoint.finished)
                for shard, checkpoint in sorted(checkpoints.items())
            ),
            parked=tuple(ParkedRow(item.name, item.note.reason) for item in items),
            quarantined=quarantined,
            rebuild=self._rebuild(),
        )

    def _rebuild(self) -> RebuildRow | None:
        """Return the newest rebuild; one that has finished is read once."""
        run = self._state.run()
        if run is None:
            return None
        latest = self._latest.rebuild
        if run.finished and latest and (run.begun, run.finished) == (latest.begun, latest.finished):
            return latest
        return RebuildRow(
            run.begun, run.finished, self._state.progress(run), self._state.swept(run)
        )
