"""Comparison of a table's items with their entries, and of entries with their items."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Any, Final

from dynamirror.cache.client import Cache
from dynamirror.cache.entry_state import (
    EntryLocation,
    EntryState,
    expected_state,
    matches,
    read_entries,
)
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.errors import RecordError
from dynamirror.records.attribute_value import Item
from dynamirror.records.chunks import chunked, weight
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.cache_scan import EntryFinder, ScannedEntry, rows_of_entries
from dynamirror.recovery.comparison import Comparison, Kind
from dynamirror.views.canary import is_canary
from dynamirror.views.entry import Delete, Put, entry_of_row
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
    """Compares parts of a table and its cache, and yields the entries that differ.

    Args:
        cache: the cache.
        views: all views of the table.
        result: counts what was compared.
        on_progress: called with the result after each chunk.
        expected: collects the keys of the entries that there should be; None for no collection.
    """

    cache: Cache
    views: Sequence[View]
    result: Comparison
    on_progress: Callable[[Comparison], object] = lambda _result: None
    expected: set[str] | None = None
    _finder: EntryFinder = field(init=False)

    def __post_init__(self) -> None:
        self._finder = EntryFinder(self.cache, self.views)

    def of_items(self, items: Iterable[Item]) -> Iterator[Doubt]:
        """Yield the entries that are missing or differ from their items."""
        for chunk in chunked(self._expected(items), itemgetter(2), most=READ_AT_ONCE):
            if self.expected is not None:
                self.expected.update(put.key for put, *_ in chunk)
            locations = (EntryLocation(put.view, put.key, put.item) for put, *_ in chunk)
            states = read_entries(self.cache, locations)
            for (put, expected, _), state in zip(chunk, states, strict=True):
                if not matches(state, expected):
                    yield Doubt(
                        ScannedEntry.of(put.view, put.key, put.item), _kind(state, expected)
                    )
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
                except RecordError as error:
                    self.result.record(Kind.UNMAPPABLE, str(error))
                    continue
                if not isinstance(put, Put):
                    continue
                state = expected_state(put)
                if state.is_never and (reason := _refusal(put)):
                    self.result.record(Kind.UNMAPPABLE, reason)
                # No cache part doubts an entry that should not be, because its item is there.
                yield put, state, size + len(state.value or b"")

    def of_keys(self, keys: Sequence[bytes], reader: SnapshotReader) -> Iterator[Doubt]:
        """Yield the entries among keys of the cache whose items are gone, or have other keys.

        Items are read eventually consistently, at half the price. `FollowUp` reads again.

        Args:
            keys: keys of the cache.
            reader: reads the items.

        Raises:
            CacheError: the cache cannot be read.
            SourceError: the table cannot be read.
        """
        for entries in self.entries(keys):
            rows = rows_of_entries(entries, reader, consistent=False)
            for entry, row in zip(entries, rows, strict=True):
                if isinstance(entry.expected_entry(row), Delete):
                    yield Doubt(entry, Kind.ORPHANED)
            self.on_progress(self.result)

    def entries(self, keys: Sequence[bytes]) -> Iterator[list[ScannedEntry]]:
        """Count the entries among keys of the cache, and yield them, some at a time."""
        entries = self._finder.entries(keys)
        while chunk := list({entry.key: entry for entry in islice(entries, READ_AT_ONCE)}.values()):
            self.result.entries += len(chunk)
            yield chunk


def _kind(state: EntryState, expected: EntryState) -> Kind:
    if expected.is_never:
        return Kind.ORPHANED
    return Kind.MISSING if state.value is None else Kind.DIFFERENT


def _refusal(put: Put) -> str | None:
    """Return why the view cannot write an item; None if it can."""
    try:
        put.view.encode(put.item)
    except RecordError as error:
        return str(error)
    return None
