"""Compare a sample of entries with the table, over and over."""

from collections.abc import Sequence
from itertools import islice
from time import monotonic

from dynamirror.cache.entry_state import EntryState, expected_state, read_entries
from dynamirror.dynamodb.items import SnapshotReader, SnapshotRow
from dynamirror.dynamodb.scan import Scan, Segment
from dynamirror.errors import RecordError
from dynamirror.page.difference_tracker import DifferenceTracker
from dynamirror.page.entry_text import natural_order, value_text
from dynamirror.page.mirror_source import MirrorSource
from dynamirror.page.state import EntryRow
from dynamirror.records.attribute_value import Item
from dynamirror.recovery.cache_scan import ScannedEntry, rows_of_entries
from dynamirror.runner.delivery import Delivery
from dynamirror.views.view import View

MOST_ROWS = 30
_REFRESH_SECONDS = 3.0


class EntrySample:
    """The same entries at every comparison, so that a viewer sees them change.

    Args:
        most_rows: size of the sample in entries.
        refresh_seconds: time after which new entries replace deleted ones.
    """

    def __init__(
        self,
        mirror: MirrorSource,
        *,
        most_rows: int = MOST_ROWS,
        refresh_seconds: float = _REFRESH_SECONDS,
    ) -> None:
        self._mirror = mirror
        self._most_rows = most_rows
        self._refresh_seconds = refresh_seconds
        self._scan = Scan(mirror.client, mirror.table, margin=0, limit=most_rows)
        self._reader = SnapshotReader(mirror.client, mirror.table)
        self._entries: dict[str, ScannedEntry] = {}
        self._rows: list[EntryRow] = []
        self._differences = DifferenceTracker()
        self._refreshed = float("-inf")

    def compare(self, delivery: Delivery | None) -> Sequence[EntryRow]:
        """Compare the entries with the table, and return them, wrong ones first.

        Raises:
            CacheError: the cache cannot be read.
            SourceError: the table cannot be read.
        """
        if monotonic() - self._refreshed > self._refresh_seconds:
            self._refresh()
        self._pin()
        self._rows = self._compared(delivery)
        return tuple(self._rows)

    def _refresh(self) -> None:
        page = next(iter(self._scan.pages(Segment(0, 1))), None)
        new = self._unknown(page.items if page else ())
        # Rows stay after a failed read, so they may name entries that have left the sample.
        deleted = [
            row.key
            for row in self._rows
            if row.table is None and row.cache is None and row.key in self._entries
        ]
        room = self._most_rows - len(self._entries)
        for key in islice(deleted, max(0, len(new) - room)):
            del self._entries[key]
            self._differences.forget([key])
        self._entries |= dict(islice(new.items(), self._most_rows - len(self._entries)))
        self._refreshed = monotonic()

    def _unknown(self, items: Sequence[Item]) -> dict[str, ScannedEntry]:
        entries = (entry for item in items for entry in _entries(self._mirror.views, item))
        return {entry.key: entry for entry in entries if entry.key not in self._entries}

    def _pin(self) -> None:
        for key, entry in self._unknown(self._mirror.pinned()).items():
            if len(self._entries) >= self._most_rows:
                self._entries.popitem()
            self._entries = {key: entry, **self._entries}

    def _compared(self, delivery: Delivery | None) -> list[EntryRow]:
        found = sorted(self._entries.values(), key=lambda entry: natural_order(entry.key))
        now = monotonic()
        from_table = list(rows_of_entries(found, self._reader))
        from_cache = read_entries(self._mirror.cache, [entry.location for entry in found])
        rows = []
        for entry, row, held in zip(found, from_table, from_cache, strict=True):
            expected = expected_state(entry.expected_entry(row))
            verdict = self._differences.verdict(
                entry.key,
                expected,
                held,
                now=now,
                delivered=lambda since: delivery is not None and delivery.caught_up(since),
            )
            table = value_text(expected.value, entry.view)
            cache = value_text(held.value, entry.view)
            absent = _absence(entry, row, expected)
            rows.append(EntryRow(entry.key, table, cache, verdict, absent))
        # Python's sort is stable, so the rest keeps its order.
        return sorted(rows, key=lambda row: not row.verdict.is_wrong)


def _absence(entry: ScannedEntry, row: SnapshotRow, expected: EntryState) -> str:
    """Return why a table implies no entry, if it implies none."""
    if row.item is None:
        return "no item"
    if expected.expires is not None:
        return "item has expired"
    try:
        key = entry.view.render(row.item)
        if key == entry.key:
            entry.view.encode(row.item)
    except RecordError:
        return "item in quarantine"
    return "item has another key" if key not in (None, entry.key) else "item is not in this view"


def _entries(views: Sequence[View], item: Item) -> list[ScannedEntry]:
    entries = []
    for view in views:
        try:
            key = view.render(item)
        except RecordError:
            continue  # it is in quarantine
        if key is not None:
            entries.append(ScannedEntry.of(view, key, item))
    return entries
