"""Comparison of a table with its cache, and repair of the differences."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.slot_scan import ALL_SLOTS, MOVING_SECONDS, scan_range
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.dynamodb.scan import Scan, Segment
from dynamirror.records.attribute_value import Item
from dynamirror.recovery.comparison import (
    WHOLE,
    Comparison,
    Kind,
    Part,
    PartProgress,
    Share,
    TablePart,
)
from dynamirror.recovery.difference_scan import DifferenceScan
from dynamirror.recovery.follow_up import PATIENCE, FollowUp
from dynamirror.views.view import View

# How often the differences so far are settled, so that a part that is killed has a checkpoint; more
# often where that takes less time.
_SETTLE_EVERY_SECONDS: Final = 60.0


def compare(items: Iterable[Item], cache: Cache, views: Iterable[View]) -> Comparison:
    """Compare all items with the cache, in both directions, while nothing changes.

    Memory holds the keys of all entries, so it is for small tables; see `verify`.

    Args:
        items: all items of the table.
        cache: the cache.
        views: all views of the table.

    Raises:
        CacheError: the cache cannot be read.
        SourceError: the table cannot be read.
    """
    result, expected, orphaned = Comparison(), set[str](), set[str]()
    scan = DifferenceScan(cache, tuple(views), result, expected=expected)
    for doubt in scan.of_items(items):
        result.record(doubt.kind, doubt.entry.key)
    for batch in scan_range(cache, ALL_SLOTS):
        for entries in scan.entries(batch.keys):
            orphaned.update(entry.key for entry in entries if entry.key not in expected)
    for key in orphaned:
        result.record(Kind.ORPHANED, key)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Compares a table with its mirror while both change, in bounded memory.

    A difference is read again, consistently, until it matches. It counts if it stays, and nothing
    writes the entry, for `settle` seconds. So the lag of replication must be shorter than that.

    Args:
        cache: the cache.
        views: all views of the table.
        scan: reads the table.
        reader: reads single items.
        settle: seconds that an unchanged entry may differ.
        repair: whether to write snapshot rows over differences, through the fences.
        fence_ttl: seconds that a fence is kept, for repair.
        on_progress: called with the result so far.
        clock: returns monotonic seconds.
        wait: waits a number of seconds.
    """

    cache: Cache
    views: Sequence[View]
    scan: Scan
    reader: SnapshotReader
    settle: float = 15.0
    repair: bool = False
    fence_ttl: int = 0
    on_progress: Callable[[Comparison], object] = lambda _result: None
    clock: Callable[[], float] = monotonic
    wait: Callable[[float], object] = sleep

    def run(self, share: Share = WHOLE) -> Comparison:
        """Compare a share of the table and its mirror, and return the differences.

        Args:
            share: the share; by default all.

        Raises:
            CacheError: the cache cannot be reached.
            SourceError: the table cannot be read.
        """
        comparison = Comparison()
        follow_up = self._follow_up(comparison)
        for part in share.parts():
            for _position in self._positions(part, None, comparison, follow_up):
                pass
        follow_up.settle_all()
        self.on_progress(comparison)
        return comparison

    def run_part(
        self,
        part: Part,
        progress: PartProgress | None = None,
        *,
        in_time: Callable[[], bool] = lambda: True,
        save: Callable[[PartProgress], object] = lambda _progress: None,
    ) -> PartProgress:
        """Compare one part from its checkpoint on, and return the progress.

        Args:
            part: the part.
            progress: where to go on; None for the beginning.
            in_time: returns whether there is time for more. What is left must suffice to settle
                differences, which takes up to `follow_up.PATIENCE` times `settle` seconds.
            save: called with the progress wherever the part can resume.

        Raises:
            CacheError: the cache cannot be reached.
            SourceError: the table cannot be read.
        """
        progress = progress or PartProgress()
        if progress.done:
            return progress
        comparison = progress.comparison.copy()
        follow_up, settled = self._follow_up(comparison), self.clock()
        pause = min(_SETTLE_EVERY_SECONDS, PATIENCE * self.settle)
        for position in self._positions(part, progress, comparison, follow_up):
            is_last = position.done or not in_time()
            if is_last or self.clock() - settled >= pause:
                follow_up.settle_all()
            if follow_up.is_settled:
                settled = self.clock()
                progress = msgspec.structs.replace(position, comparison=comparison.copy())
                save(progress)
            if is_last:
                break
        self.on_progress(comparison)
        return progress

    def _follow_up(self, comparison: Comparison) -> FollowUp:
        ttl = self.fence_ttl if self.repair else None
        return FollowUp(
            *(self.cache, self.reader, comparison, self.settle, ttl),
            clock=self.clock,
            wait=self.wait,
        )

    def _positions(
        self, part: Part, progress: PartProgress | None, comparison: Comparison, follow_up: FollowUp
    ) -> Iterator[PartProgress]:
        """Compare a part, and yield where it can resume once all its differences are settled.

        Args:
            part: the part.
            progress: where to go on; None for a part among others.
            comparison: counts the differences.
            follow_up: settles the differences.
        """
        start = progress or PartProgress()
        scan = DifferenceScan(self.cache, self.views, comparison, self.on_progress)
        if isinstance(part, TablePart):
            for page in self.scan.pages(Segment(part.segment, part.of), start.start):
                for doubt in scan.of_items(page.items):
                    follow_up.add(doubt)
                yield PartProgress(done=page.next is None, start=page.next)
            return
        before, checkpoint = comparison.entries - start.comparison.entries, start.checkpoint
        for batch in scan_range(
            self.cache,
            part.slots,
            start.checkpoint,
            most=self.reader.most_at_once,
            patience=MOVING_SECONDS if progress is None else 0.0,
        ):
            if batch.restarted:
                comparison.entries = before
                if progress is not None:  # those that are still there are found again
                    follow_up.settle_all()
                    comparison.orphaned = min(comparison.orphaned, comparison.repaired)
            for doubt in scan.of_keys(batch.keys, self.reader):
                follow_up.add(doubt)
            checkpoint = batch.checkpoint
            yield PartProgress(checkpoint=checkpoint)
        yield PartProgress(done=True, checkpoint=checkpoint)
