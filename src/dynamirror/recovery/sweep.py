"""Sweep: find orphaned entries in the cache, and delete them through their fences."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from typing import Final

import msgspec

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.cache.slot_scan import ScanCheckpoint, SlotRange, scan_range
from dynamirror.cache.writer import apply_all
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.errors import CacheError
from dynamirror.records import version
from dynamirror.records.chunks import chunked, weight
from dynamirror.records.version import ChangeVersion, SnapshotVersion
from dynamirror.recovery.cache_scan import EntryFinder, ScannedEntry, expected_entries
from dynamirror.views.entry import Delete, Entry, Put
from dynamirror.views.keyspace import RESERVED, fence_key
from dynamirror.views.view import View

_AT_ONCE: Final = 500
_FENCES: Final = f"{RESERVED}fence:".encode()


class SweepProgress(msgspec.Struct, frozen=True):
    """The progress of a sweep in one range of the cache, or in all.

    Args:
        done: whether all keys were visited.
        checkpoint: where to go on; None for the beginning.
        entries: entries of the mirror.
        doubtful: those that neither a row nor a change confirmed; their items were read.
        deleted: those of the doubtful that had no item.
        written: those of the doubtful that had an item, and were written again.
    """

    done: bool = False
    checkpoint: ScanCheckpoint | None = None
    entries: int = 0
    doubtful: int = 0
    deleted: int = 0
    written: int = 0


class TotalSwept(SweepProgress, frozen=True):
    """The progress of a sweep in all ranges of the cache.

    Args:
        parts_done: ranges that are swept.
        parts: all ranges; 0 where they are not decided, or are not reported.
    """

    parts_done: int = 0
    parts: int = 0


def total_swept(parts: Sequence[SweepProgress], number: int) -> TotalSwept:
    """Return the progress in several ranges as one.

    Args:
        parts: the progress in the ranges that were begun.
        number: the number of ranges; 0 where that is not decided.
    """
    sums = {
        name: sum(getattr(part, name) for part in parts)
        for name in ("entries", "doubtful", "deleted", "written")
    }
    done = sum(part.done for part in parts)
    return TotalSwept(0 < number == done, **sums, parts_done=done, parts=number)


@dataclass(frozen=True, slots=True)
class Sweep:
    """Deletes orphaned entries.

    The fence shows whether a row of the rebuild or a later change wrote an entry. The items of
    all other entries are read, consistently. A view whose keys may be other applications' is left
    out.

    Args:
        cache: the cache.
        views: all views of the table.
        reader: reads the table.
        since: the as-of time at which the rebuild began.
        fence_ttl: seconds that a fence is kept.
    """

    cache: Cache
    views: Iterable[View]
    reader: SnapshotReader
    since: SnapshotVersion
    fence_ttl: int

    def run(self, slots: SlotRange, progress: SweepProgress) -> Iterator[SweepProgress]:
        """Sweep a range of the cache, and yield the progress after each batch of keys.

        Args:
            slots: the range.
            progress: where to go on.

        Raises:
            CacheError: the cache cannot be reached.
            SourceError: the table cannot be read.
        """
        finder = EntryFinder(self.cache, [view for view in self.views if view.owns_its_keys])
        for batch in scan_range(self.cache, slots, progress.checkpoint):
            fences = None
            if batch.whole_slots:
                fences = {key for key in batch.keys if key.startswith(_FENCES)}
            before = 0 if batch.restarted else progress.entries
            progress = msgspec.structs.replace(
                progress, checkpoint=batch.checkpoint, entries=before
            )
            entries = finder.entries(batch.keys)
            while chunk := list(islice(entries, _AT_ONCE)):
                progress = self._swept(chunk, fences, progress)
            yield progress
        yield msgspec.structs.replace(progress, done=True)

    def _swept(
        self, entries: Sequence[ScannedEntry], fences: AbstractSet[bytes] | None, now: SweepProgress
    ) -> SweepProgress:
        doubtful = self._unconfirmed(entries, fences)
        deleted, written = now.deleted, now.written
        # What is applied is not in doubt again, if a pause for the rate ends the work.
        most = min(_AT_ONCE, self.reader.most_at_once() or _AT_ONCE)
        for chunk in chunked(expected_entries(doubtful, self.reader), entry_weight, most=most):
            deletes = [entry for entry in chunk if isinstance(entry, Delete)]
            puts = [entry for entry in chunk if isinstance(entry, Put)]
            deleted += apply_all(self.cache, deletes, fence_ttl=self.fence_ttl).applied
            written += apply_all(self.cache, puts, fence_ttl=self.fence_ttl).applied
        return msgspec.structs.replace(
            now,
            entries=now.entries + len(entries),
            doubtful=now.doubtful + len(doubtful),
            deleted=deleted,
            written=written,
        )

    def _unconfirmed(
        self, entries: Sequence[ScannedEntry], fences: AbstractSet[bytes] | None
    ) -> list[ScannedEntry]:
        """Return the entries that nothing confirms.

        Args:
            entries: the entries.
            fences: the keys of the fences in the slots of the entries; None if they are not known.
                An entry whose fence came later is only doubtful.
        """
        keys = [fence_key(entry.key).encode() for entry in entries]
        asked = [key for key in keys if fences is None or key in fences]
        answers = self.cache.execute([Command(key, (b"GET", key)) for key in asked])
        found = dict(zip(asked, answers, strict=True))
        return [
            entry
            for entry, key in zip(entries, keys, strict=True)
            if not _confirms(found.get(key), self.since)
        ]


def entry_weight(entry: Entry) -> int:
    """Estimate the memory that an entry's item takes, in bytes."""
    return weight(entry.item)


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
