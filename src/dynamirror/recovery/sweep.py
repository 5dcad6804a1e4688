"""Sweep: find orphaned entries in the cache, and delete them through their fences."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.cache.writer import apply_all
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.errors import CacheError
from dynamirror.records import version
from dynamirror.records.chunks import chunked, weight
from dynamirror.records.version import ChangeVersion, SnapshotVersion
from dynamirror.recovery.cache_scan import ScannedEntry, entries_of, expected_entries
from dynamirror.views.entry import Delete, Entry, Put
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import View

_AT_ONCE = 500


@dataclass(slots=True)
class SweepStats:
    """The counts of a sweep.

    Args:
        entries: entries of the mirror.
        doubtful: those that neither a row nor a change confirmed; their items were read.
        deleted: those of the doubtful that had no item.
        written: those of the doubtful that had an item, and were written again.
    """

    entries: int = 0
    doubtful: int = 0
    deleted: int = 0
    written: int = 0


def sweep(
    cache: Cache,
    views: Iterable[View],
    reader: SnapshotReader,
    since: SnapshotVersion,
    *,
    fence_ttl: int,
    on_progress: Callable[[SweepStats], object] = lambda _stats: None,
) -> SweepStats:
    """Delete orphaned entries, and return the counts.

    The fence shows whether a row of the rebuild or a later change wrote an entry. The items of
    all other entries are read, consistently. A view whose keys may be other applications' is left
    out.

    Args:
        cache: the cache.
        views: all views of the table.
        reader: reads the table.
        since: the as-of time at which the rebuild began.
        fence_ttl: seconds that a fence is kept.
        on_progress: called with the counts so far.

    Raises:
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
    """
    stats = SweepStats()
    for view in views:
        if not view.owns_its_keys:
            continue
        scanned = entries_of(cache, view)
        while chunk := list(islice(scanned, _AT_ONCE)):
            doubtful = _unconfirmed(cache, chunk, since)
            stats.entries += len(chunk)
            stats.doubtful += len(doubtful)
            for entries in chunked(expected_entries(doubtful, reader), entry_weight, most=_AT_ONCE):
                deletes = [entry for entry in entries if isinstance(entry, Delete)]
                puts = [entry for entry in entries if isinstance(entry, Put)]
                stats.deleted += apply_all(cache, deletes, fence_ttl=fence_ttl).applied
                stats.written += apply_all(cache, puts, fence_ttl=fence_ttl).applied
            on_progress(stats)
    return stats


def entry_weight(entry: Entry) -> int:
    """Estimate the memory that an entry's item takes, in bytes."""
    return weight(entry.item)


def _unconfirmed(
    cache: Cache, entries: Sequence[ScannedEntry], since: SnapshotVersion
) -> list[ScannedEntry]:
    keys = [fence_key(entry.key).encode() for entry in entries]
    fences = cache.execute([Command(key, (b"GET", key)) for key in keys])
    return [
        entry for entry, fence in zip(entries, fences, strict=True) if not _confirms(fence, since)
    ]


def _confirms(fence: object, since: SnapshotVersion) -> bool:
    if isinstance(fence, Failure):
        if fence.is_final:
            return False  # what stands there is no fence
        raise CacheError(fence.reason)
    try:
        written = version.parse(fence.decode()) if isinstance(fence, bytes) else None
    except ValueError:  # UnicodeDecodeError is a ValueError, too
        return False
    match written:
        case ChangeVersion():
            return written.created >= since.as_of
        case SnapshotVersion():
            return written.as_of >= since.as_of
        case None:
            return False
