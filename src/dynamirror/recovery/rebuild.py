"""Rebuild: write all rows of a table through the fences, then sweep; the mirror is complete again.

Replication continues meanwhile. `rebuild_state` keeps the progress in the cache.
"""

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from time import time
from typing import TYPE_CHECKING

from dynamirror.cache import eviction
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import (
    OTHER_STREAM,
    difference,
    has_other_source,
    read_marker,
    record_complete,
    record_gap,
)
from dynamirror.cache.doubt import note_evictions, note_written, noted_evictions
from dynamirror.cache.quarantine import ParkedItem, merged, park, reason_in_view
from dynamirror.cache.slot_scan import ALL_SLOTS, SlotRange, ranges
from dynamirror.cache.writer import apply_all
from dynamirror.dynamodb.client import describe_schema
from dynamirror.dynamodb.items import CONSISTENT_MARGIN, EVENTUAL_MARGIN, SnapshotReader
from dynamirror.dynamodb.scan import Rate, Scan, ScanPage, Segment
from dynamirror.errors import CacheError, ConfigError, RecordError
from dynamirror.log_lines import log
from dynamirror.records.attribute_value import Item
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.fill_rate import FillRate, ecpus
from dynamirror.recovery.rebuild_state import (
    LostError,
    Progress,
    RebuildState,
    Run,
    TotalProgress,
    now,
)
from dynamirror.recovery.room import room
from dynamirror.recovery.sweep import Sweep, SweepProgress, TotalSwept
from dynamirror.settings import QUARANTINE_LIMIT
from dynamirror.views.batch_result import RejectedEntry
from dynamirror.views.canary import is_canary
from dynamirror.views.entry import Entry, entry_of_row
from dynamirror.views.view import View, fingerprint

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


logger = logging.getLogger("dynamirror")

# How often a begin notes evictions; longer than it waits for newer snapshot rows.
_EVICTIONS_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Step:
    """The result of `Rebuild.begin`: a run, or the seconds to wait for one."""

    run: Run | None = None
    wait: int = 0


class Rebuild:
    """The steps of a rebuild, for one process or for many.

    Args:
        cache: the cache.
        views: all views of the table.
        client: boto3's dynamodb client.
        fence_ttl: seconds that a fence is kept.
        stream_arn: ARN of the table's stream.
        quarantine_limit: the most items that the quarantine lists.
        margin: seconds that as-of times are behind DynamoDB's clock; None for the necessary margin.
        limit: the most items of one page; None for DynamoDB's own limit.
    """

    def __init__(
        self,
        cache: Cache,
        views: Sequence[View],
        client: "DynamoDBClient",
        *,
        fence_ttl: int,
        stream_arn: str,
        quarantine_limit: int = QUARANTINE_LIMIT,
        margin: int | None = None,
        limit: int | None = None,
    ) -> None:
        self.cache = cache
        self.views = views
        self.schema = views[0].schema
        self._client = client
        self._fence_ttl = fence_ttl
        self.stream_arn = stream_arn
        self._quarantine_limit = quarantine_limit
        self._margin = margin
        self._limit = limit
        self._state = RebuildState(cache, self.schema.table)

    def begin(self, *, segments: int, consistent: bool = True, restart: bool = False) -> Step:
        """Begin a run, or resume an unfinished one, and return it or the seconds to wait.

        A snapshot row must hold every change that the stream will not deliver. So its as-of time
        must be after the newest gap, which takes one margin.

        Args:
            segments: the number of parts that a new run reads the table in.
            consistent: whether a new run reads strongly consistently.
            restart: whether to discard an unfinished run.

        Raises:
            CacheError: the cache cannot be reached.
            SourceError: the table cannot be described.
            ConfigError: the cache has no room for the table.
        """
        as_of = self._scan(consistent=consistent).as_of().as_of
        table = self.schema.table
        # Not each time that a begin waits, since a cache that is full goes on to evict.
        note_evictions(self.cache, table, pause=_EVICTIONS_SECONDS)
        gap = max(
            self._newest_gap(as_of, consistent=consistent), noted_evictions(self.cache, table).at
        )
        views = fingerprint(self.views)
        run = None if restart else self._state.run()
        if run and not run.finished and run.as_of > gap and run.views == views:
            return Step(run)
        if as_of <= gap:
            return Step(wait=gap + 1 - as_of)
        self._check_room()
        run = Run(secrets.token_hex(8), as_of, segments, consistent, views, now())
        self._state.begin(run)
        return Step(run)

    def _newest_gap(self, as_of: int, *, consistent: bool) -> int:
        """Return the time of the newest gap, after recording one if stream or views are new."""
        marker = read_marker(self.cache, self.schema.table)
        # Only the replicator decides which stream the mirror follows.
        followed = marker.stream or self.stream_arn
        reason = difference(marker, followed, fingerprint(self.views))
        if reason is None and has_other_source(marker, self.stream_arn):
            reason = OTHER_STREAM
        if reason is None:
            assert marker.gap is not None  # `difference` gives a reason if there is no marker
            return marker.gap
        gap = as_of + self._margin_of(consistent=consistent) + 1
        record_gap(
            self.cache, self.views, stream=followed, at=gap, reason=reason, source=self.stream_arn
        )
        return gap

    def _check_room(self) -> None:
        limit = self.cache.max_bytes
        if limit is None:
            limit = eviction.limit(eviction.read_memory(self.cache))
        if not limit:
            return
        _schema, description = describe_schema(self._client, self.schema.table)
        found = room(self.views, description, limit)
        if found.is_short:
            raise ConfigError(
                f"{found.sentence}; ELASTICACHE_MAX_BYTES=0 rebuilds without this check"
            )
        if found.sentence:
            log(logger, logging.WARNING, "cache nearly too small", {"reason": found.sentence})

    def run(self) -> Run | None:
        """Return the newest run, finished or not; None if there is none.

        Raises:
            CacheError: the cache cannot be reached.
        """
        return self._state.run()

    def progress(self, run: Run) -> TotalProgress:
        """Return the progress of all segments of a run together.

        Raises:
            CacheError: the cache cannot be reached.
        """
        return self._state.progress(run)

    def load(
        self,
        run: Run,
        index: int,
        *,
        rate: Rate | None = None,
        workers: int = 1,
        in_time: Callable[[], bool] = lambda: True,
        on_progress: Callable[[Progress], object] = lambda _progress: None,
    ) -> Progress:
        """Write the rows of one segment from its last page on, and return the progress.

        Args:
            run: the run.
            index: the number of the segment, from 0.
            rate: the limit of the read units; None for no limit. It also waits where a new cache
                would throttle.
            workers: the number of segments that are loaded at a time.
            in_time: returns whether there is time for another page.
            on_progress: called with the progress after each page.

        Raises:
            CacheError: the cache cannot be reached, or refused a row.
            SourceError: the table cannot be read.
            LostError: the run is not the newest any more.
        """
        self._state.check_newest(run)
        progress = self._state.segment_progress(run, index)
        if progress.done:
            return progress
        scan = self._scan(consistent=run.consistent, rate=rate)
        fill_rate = FillRate(self.cache.first_ecpus, workers)
        before, since, begun = progress, time(), datetime.fromisoformat(run.begun).timestamp()
        for page in scan.pages(Segment(index, run.segments), progress.start):
            items = [item for item in page.items if not is_canary(item, self.schema)]
            progress = self._write(replace(page, items=items), progress)
            self._state.check_newest(run)
            self._state.save_progress(run, index, progress)
            on_progress(progress)
            if not in_time():
                break
            if rate is not None and not progress.done:
                units = _ecpus(before, progress, consistent=run.consistent)
                rate.pause(fill_rate.wait(units, begun=begun, since=since, now=time()))
        return progress

    def sweep_ranges(self, run: Run, parts: int = 1) -> tuple[SlotRange, ...]:
        """Return the ranges that the sweep goes through, decided at the first call.

        Args:
            run: the run.
            parts: how many ranges to make, if the cache is a cluster.

        Raises:
            CacheError: the cache cannot be reached.
        """
        if not self._state.sweep_ranges(run):
            self._state.decide_sweep_ranges(run, ranges(self.cache, parts))
        return self._state.sweep_ranges(run)

    def sweep(
        self,
        run: Run,
        slots: SlotRange = ALL_SLOTS,
        *,
        rate: Rate | None = None,
        in_time: Callable[[], bool] = lambda: True,
        on_progress: Callable[[SweepProgress], object] = lambda _progress: None,
    ) -> SweepProgress:
        """Delete orphaned entries of one range from its checkpoint on, and return the progress.

        Args:
            run: the run.
            slots: the range, one of `sweep_ranges`; by default all, if there is only one.
            rate: the limit of the read units; None for no limit.
            in_time: returns whether there is time for another batch of keys.
            on_progress: called with the progress after each batch; an exception that it raises
                ends the sweep.

        Raises:
            CacheError: the cache cannot be reached.
            SourceError: the table cannot be read.
            LostError: the run is not the newest any more, or has other ranges.
        """
        self._state.check_newest(run)
        if slots not in self.sweep_ranges(run):
            raise LostError("the cache has lost the ranges of the sweep")
        progress = self._state.range_progress(run, slots)
        if progress.done:
            return progress
        reader = SnapshotReader(self._client, self.schema.table, margin=self._margin, rate=rate)
        since = SnapshotVersion(run.as_of)
        work = Sweep(self.cache, self.views, reader, since, self._fence_ttl)
        for progress in work.run(slots, progress):  # noqa: B020 - it goes on from the last
            self._state.check_newest(run)
            self._state.save_range_progress(run, slots, progress)
            on_progress(progress)
            if not in_time():
                break
        return progress

    def swept(self, run: Run) -> TotalSwept:
        """Return the progress of the sweep in all ranges together.

        Raises:
            CacheError: the cache cannot be reached.
        """
        return self._state.swept(run)

    def finish(self, run: Run) -> None:
        """Record in the completeness marker that the mirror is complete.

        Raises:
            CacheError: the cache cannot be reached.
            LostError: a segment is not loaded, the sweep is missing, or there is a newer gap.
        """
        self._state.check_newest(run)
        if not self._state.progress(run).done:
            raise LostError("not all segments are loaded")
        if not self._state.swept(run).done:
            raise LostError("orphaned entries were not swept")
        if reason := record_complete(self.cache, self.views, SnapshotVersion(run.as_of)):
            raise LostError(f"the mirror became incomplete while it was rebuilt ({reason})")
        note_written(self.cache, self.schema.table, run.as_of)
        self._state.record_finished(run)

    def _scan(self, *, consistent: bool, rate: Rate | None = None) -> Scan:
        needed = [view.attributes for view in self.views]
        attributes: frozenset[str] | None = None
        if None not in needed:
            attributes = frozenset(chain.from_iterable(names for names in needed if names))
        return Scan(
            self._client,
            self.schema.table,
            consistent=consistent,
            margin=self._margin,
            attributes=attributes,
            rate=rate,
            limit=self._limit,
        )

    def _margin_of(self, *, consistent: bool) -> int:
        if self._margin is not None:
            return self._margin
        return CONSISTENT_MARGIN if consistent else EVENTUAL_MARGIN

    def _write(self, page: ScanPage, before: Progress) -> Progress:
        """Apply one page, and return the progress after it."""
        unmapped: list[ParkedItem] = []
        parked: list[ParkedItem] = []

        def set_aside(rejected: Sequence[RejectedEntry]) -> bool:
            items = (
                self._parked(each.entry.item, page, reason_in_view(each.entry.view, each.reason))
                for each in rejected
            )
            parked[:] = merged([*unmapped, *items])
            return not park(self.cache, parked, at=now(), limit=self._quarantine_limit)

        entries = list(self._entries(page, unmapped))
        report = apply_all(self.cache, entries, fence_ttl=self._fence_ttl, set_aside=set_aside)
        if not parked and not set_aside(report.quarantined):
            raise CacheError(f"{self.cache}: it did not take what had to be quarantined")
        return Progress(
            start=page.next,
            done=page.next is None,
            items=before.items + len(page.items),
            applied=before.applied + report.applied,
            stale=before.stale + report.stale,
            quarantined=before.quarantined + len(parked),
            units=before.units + page.units,
        )

    def _entries(self, page: ScanPage, parked: list[ParkedItem]) -> Iterator[Entry]:
        for item in page.items:
            for view in self.views:
                try:
                    entry = entry_of_row(view, item, item, page.version)
                except RecordError as error:
                    parked.append(self._parked(item, page, reason_in_view(view, error)))
                else:
                    if entry is not None:
                        yield entry

    def _parked(self, item: Item, page: ScanPage, reason: str) -> ParkedItem:
        # A row with a later as-of time holds all changes that this one holds.
        created = page.version.as_of
        return ParkedItem(self.schema.table, self.schema.key_of(item), "?", reason, created)


def _ecpus(before: Progress, after: Progress, *, consistent: bool) -> float:
    """Return what the cache took for the pages between."""
    entries = after.applied + after.stale - before.applied - before.stale
    return ecpus(entries, after.units - before.units, consistent=consistent)
