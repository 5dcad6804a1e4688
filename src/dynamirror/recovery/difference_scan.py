"""One pass over a table and its cache that yields the differences."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Any, Final, Self

from dynamirror.cache.client import Cache
from dynamirror.cache.entry_state import (
    EntryLocation,
    EntryState,
    expected_state,
    matches,
    read_entries,
)
from dynamirror.errors import RecordError
from dynamirror.records.attribute_value import Item
from dynamirror.records.chunks import chunked, weight
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.cache_scan import ScannedEntry, entries_of
from dynamirror.recovery.comparison import Comparison, Kind, Part
from dynamirror.recovery.key_set import KeySet
from dynamirror.views.canary import is_canary
from dynamirror.views.entry import Put, entry_of_row
from dynamirror.views.view import View

READ_AT_ONCE: Final = 500
UNKNOWN: Final = object()
_VERSION = SnapshotVersion(0)  # only compared, never written


@dataclass(slots=True)
class Doubt:
    """An entry that differs from its item, perhaps only because a change is on its way.

    Args:
        entry: the entry.
        kind: missing, different or orphaned.
        since: the time of the first follow-up, by the clock.
        fence: the fence's value at the last follow-up.
        unchanged_since: the time since which the fence holds that value.
    """

    entry: ScannedEntry
    kind: Kind
    since: float = 0.0
    fence: Any = UNKNOWN
    unchanged_since: float = 0.0


@dataclass(slots=True)
class DifferenceScan:
    """Goes through table and cache once each, and yields the entries that differ.

    Args:
        cache: the cache.
        views: all views of the table.
        part: the part of table and cache to compare.
        result: counts what was compared.
        on_progress: called with the result after each chunk.
    """

    cache: Cache
    views: Sequence[View]
    part: Part
    result: Comparison
    on_progress: Callable[[Comparison], object] = lambda _result: None
    _seen: KeySet = field(init=False)

    def __enter__(self) -> Self:
        self._seen = KeySet()
        return self

    def __exit__(self, *_error: object) -> None:
        self._seen.close()

    def doubts(self, items: Iterable[Item]) -> Iterator[Doubt]:
        """Yield the differences between the items and the cache, in both directions."""
        yield from self._of_table(items)
        yield from self._of_cache()

    def _of_table(self, items: Iterable[Item]) -> Iterator[Doubt]:
        for chunk in chunked(self._expected(items), itemgetter(2), most=READ_AT_ONCE):
            self._seen.add([put.key for put, *_ in chunk])
            locations = (EntryLocation(put.view, put.key, put.item) for put, *_ in chunk)
            states = read_entries(self.cache, locations)
            for (put, expected, _), state in zip(chunk, states, strict=True):
                if not matches(state, expected):
                    kind = Kind.MISSING if state.value is None else Kind.DIFFERENT
                    yield Doubt(ScannedEntry.of(put.view, put.key, put.item), kind)
            self.on_progress(self.result)

    def _expected(self, items: Iterable[Item]) -> Iterator[tuple[Put, EntryState, int]]:
        """Yield the items' entries, their expected states, and the memory that both take."""
        for item in items:
            if is_canary(item, self.views[0].schema):
                continue
            self.result.items += 1
            size = weight(item)
            for view in self.views:
                try:
                    put = entry_of_row(view, item, item, _VERSION)
                    if put is not None:
                        view.encode(item)
                except RecordError as error:
                    self.result.record(Kind.UNMAPPABLE, str(error))
                    continue
                if isinstance(put, Put) and not (state := expected_state(put)).is_never:
                    yield put, state, size + len(state.value or b"")

    def _of_cache(self) -> Iterator[Doubt]:
        for view in self.views:
            with KeySet() as counted:  # SCAN may return a key twice
                scanned = entries_of(self.cache, view)
                entries = (entry for entry in scanned if self.part.holds(entry.key))
                while chunk := {entry.key: entry for entry in islice(entries, READ_AT_ONCE)}:
                    new = counted.missing(chunk)
                    counted.add(new)
                    self.result.entries += len(new)
                    for key in self._seen.missing(new):
                        yield Doubt(chunk[key], Kind.ORPHANED)
                    self.on_progress(self.result)
