"""Sweep: entries whose items are gone are found in the cache, and deleted through their fences."""

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
    """What a sweep came upon.

    Args:
        entries: entries of the mirror.
        doubtful: of these, the ones that no row and no change had confirmed, and were read again.
        deleted: of these, the ones that are in the table no more.
        written: of these, the ones that are, and were written anew.
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
    on_progress: Callable[[SweepStats], object] = lambda _swept: None,
) -> SweepStats:
    """Delete the entries whose items are gone.

    An entry that a row of the rebuild or a later change wrote has a fence that says so. Only the
    others are read from the table, consistently. A view whose keys cannot be told from other
    applications' is left out.

    Args:
        cache: the cache.
        views: all views of the table.
        reader: reads the table.
        since: the horizon at which the rebuild began.
        fence_ttl: seconds a fence is kept.
        on_progress: is told now and then how far it is.

    Raises:
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
    """
    swept = SweepStats()
    for view in views:
        if not view.owns_its_keys:
            continue
        found = entries_of(cache, view)
        while chunk := list(islice(found, _AT_ONCE)):
            doubtful = _unconfirmed(cache, chunk, since)
            swept.entries += len(chunk)
            swept.doubtful += len(doubtful)
            entries = expected_entries(doubtful, reader)
            for some in chunked(entries, entry_weight, most=_AT_ONCE):
                _write(cache, some, fence_ttl=fence_ttl, swept=swept)
            on_progress(swept)
    return swept


def entry_weight(entry: Entry) -> int:
    """Estimate the memory that an entry's item takes, in bytes."""
    return weight(entry.item)


def _write(cache: Cache, entries: Sequence[Entry], *, fence_ttl: int, swept: SweepStats) -> None:
    for expected_state, kind in ((Delete, "deleted"), (Put, "written")):
        mine = [entry for entry in entries if isinstance(entry, expected_state)]
        report = apply_all(cache, mine, fence_ttl=fence_ttl)
        setattr(swept, kind, getattr(swept, kind) + report.applied)


def _unconfirmed(
    cache: Cache, found: Sequence[ScannedEntry], since: SnapshotVersion
) -> list[ScannedEntry]:
    keys = [fence_key(one.key).encode() for one in found]
    fences = cache.execute([Command(key, (b"GET", key)) for key in keys])
    return [one for one, fence in zip(found, fences, strict=True) if not _confirms(fence, since)]


def _confirms(fence: object, since: SnapshotVersion) -> bool:
    if isinstance(fence, Failure):
        raise CacheError(fence.reason)
    try:
        held = version.parse(fence.decode()) if isinstance(fence, bytes) else None
    except ValueError:  # UnicodeDecodeError is one, too
        return False
    match held:
        case ChangeVersion():
            return held.created >= since.as_of
        case SnapshotVersion():
            return held.as_of >= since.as_of
        case None:
            return False
