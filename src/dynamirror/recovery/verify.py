"""Comparison of a table with its cache, and repair of the differences."""

from collections.abc import Callable, Iterable, Sequence
from time import monotonic, sleep

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.dynamodb.scan import Scan
from dynamirror.records.attribute_value import Item
from dynamirror.recovery.comparison import Comparison, Part
from dynamirror.recovery.difference_scan import DifferenceScan
from dynamirror.recovery.follow_up import FollowUp
from dynamirror.views.view import View


def compare(items: Iterable[Item], cache: Cache, views: Iterable[View]) -> Comparison:
    """Compare all items with the cache, in both directions, while nothing changes.

    Args:
        items: all items of the table.
        cache: the cache.
        views: all views of the table.

    Raises:
        CacheError: the cache cannot be read.
        SourceError: the table cannot be read.
    """
    result = Comparison()
    with DifferenceScan(cache, tuple(views), Part(), result) as scan:
        for doubt in scan.doubts(items):
            result.record(doubt.kind, doubt.entry.key)
    return result


def verify(
    cache: Cache,
    views: Sequence[View],
    scan: Scan,
    reader: SnapshotReader,
    *,
    part: Part | None = None,
    settle: float = 15.0,
    repair: bool = False,
    fence_ttl: int = 0,
    on_progress: Callable[[Comparison], object] = lambda _result: None,
    clock: Callable[[], float] = monotonic,
    wait: Callable[[float], object] = sleep,
) -> Comparison:
    """Compare a table with its mirror while both change, in bounded memory.

    A difference is read again, consistently, until it matches. It counts if it stays, and nothing
    writes the entry, for `settle` seconds. So the lag of replication must be shorter than that.

    Args:
        cache: the cache.
        views: all views of the table.
        scan: reads the table.
        reader: reads single items.
        part: the part to compare; None for all.
        settle: seconds that an unchanged entry may differ.
        repair: whether to write snapshot rows over differences, through the fences.
        fence_ttl: seconds that a fence is kept, for repair.
        on_progress: called with the result so far.
        clock: returns monotonic seconds.
        wait: waits a number of seconds.

    Raises:
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
    """
    result, part = Comparison(), part or Part()
    ttl = fence_ttl if repair else None
    follow_up = FollowUp(cache, reader, result, settle, ttl, clock=clock, wait=wait)
    with DifferenceScan(cache, views, part, result, on_progress) as differences:
        pages = (page for segment in part.segments for page in scan.pages(segment))
        for doubt in differences.doubts(item for page in pages for item in page.items):
            follow_up.add(doubt)
        follow_up.settle_all()
    on_progress(result)
    return result
