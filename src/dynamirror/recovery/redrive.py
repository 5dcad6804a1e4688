"""Redrive: items in quarantine are read from the table again, and applied as rows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.quarantine import QuarantineRecord, reason_in_view, release
from dynamirror.cache.writer import apply_all
from dynamirror.dynamodb.client import error_code
from dynamirror.dynamodb.items import SnapshotReader, SnapshotRow
from dynamirror.dynamodb.keys import identity
from dynamirror.errors import RecordError, SourceError
from dynamirror.records.attribute_value import Item
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.cache_scan import entries_of, expected_entries
from dynamirror.views.canary import views_for
from dynamirror.views.entry import Delete, deletion_of_row, entry_of_row
from dynamirror.views.view import View

# Entries under old keys that are read again at a time.
_AT_ONCE = 500


class Outcome(StrEnum):
    """What became of one item in quarantine."""

    HEALED = "healed"
    """The cache holds what the table does, and the item is out."""
    POISON = "still_poison"
    """It still cannot become an entry, and stays with the reason."""
    FRESH = "too_fresh"
    """A row read now might be older than the change that was parked; it stays."""
    KEYLESS = "no_key"
    """It is not known which item it is; it stays."""
    AGAIN = "parked_again"
    """It was parked again meanwhile, and stays."""


@dataclass(frozen=True, slots=True)
class RedriveResult:
    """One item in quarantine and what became of it.

    Args:
        item: as it was read.
        outcome: what became of it.
        reason: why it stays; empty if it does not.
        wait: seconds to wait until it is no longer too fresh.
    """

    item: QuarantineRecord
    outcome: Outcome
    reason: str = ""
    wait: int = 0


def seconds_until_safe(items: Iterable[QuarantineRecord], as_of: SnapshotVersion) -> int:
    """How long until a row is newer than every parked change.

    A row with the horizon T holds every change that was created before T.

    Args:
        items: what is in quarantine.
        horizon: of a row that is read now.
    """
    newest = max((item.note.created for item in items if item.key is not None), default=-1)
    return max(0, newest + 1 - as_of.as_of)


def redrive(
    cache: Cache,
    views: Sequence[View],
    reader: SnapshotReader,
    items: Iterable[QuarantineRecord],
    *,
    fence_ttl: int,
) -> Iterator[RedriveResult]:
    """Heal items in quarantine, one by one; safe at any moment, and as often as one likes.

    A record that could not be decoded does not tell which key its item had before. So where a
    view's key can change, the view's entries in the cache are searched for what is left of these
    items.

    Args:
        cache: the cache.
        views: all views of the table.
        reader: reads the table.
        items: what is in quarantine.
        fence_ttl: seconds a fence is kept.

    Raises:
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
    """
    cases = (_Case(cache, views, item, fence_ttl) for item in items)
    tried: Iterable[tuple[_Case, RedriveResult | list[str]]]
    tried = ((case, case.apply(reader)) for case in cases)
    if moving := [view for view in views if view.needs_old_image and view.owns_its_keys]:
        tried = list(tried)
        keys = [case.item.key for case, done in tried if not isinstance(done, RedriveResult)]
        _clear_old_keys(cache, moving, reader, filter(None, keys), fence_ttl=fence_ttl)
    for case, done in tried:
        yield done if isinstance(done, RedriveResult) else case.close(done)


def _clear_old_keys(
    cache: Cache,
    views: Iterable[View],
    reader: SnapshotReader,
    keys: Iterable[Item],
    *,
    fence_ttl: int,
) -> None:
    """Delete the entries that items have under keys they do not have any more."""
    expected_state = set(map(identity, keys))
    for view in views if expected_state else ():
        found = (one for one in entries_of(cache, view) if identity(one.item_key) in expected_state)
        while chunk := list(islice(found, _AT_ONCE)):
            left = [one for one in expected_entries(chunk, reader) if isinstance(one, Delete)]
            apply_all(cache, left, fence_ttl=fence_ttl)


@dataclass(frozen=True, slots=True)
class _Case:
    """One item, on its way out of quarantine or not."""

    cache: Cache
    views: Sequence[View]
    item: QuarantineRecord
    fence_ttl: int

    def apply(self, reader: SnapshotReader) -> RedriveResult | list[str]:
        """Write what the table holds; returns why it cannot be, or what became of the item."""
        row = self._row(reader)
        if isinstance(row, RedriveResult):
            return row
        if wait := seconds_until_safe([self.item], row.version):
            reason = f"too fresh, try again in {wait} s"
            return RedriveResult(self.item, Outcome.FRESH, reason, wait)
        # Once T is later than the parked change, the row is newer than that change, and so is
        # whatever the fence prefers to the row: docs/decisions/0005-redrive.md.
        return list(self._apply(row))

    def _row(self, reader: SnapshotReader) -> SnapshotRow | RedriveResult:
        schema = self.views[0].schema
        key = self.item.key
        if key is None:
            return RedriveResult(
                self.item, Outcome.KEYLESS, "the record does not tell which item it is"
            )
        if set(key) != set(schema.keys):
            return self._not_a_key()
        try:
            return reader.read(key)
        except SourceError as error:
            if error_code(error.__cause__) != "ValidationException":
                raise
            return self._not_a_key()

    def _not_a_key(self) -> RedriveResult:
        table = self.views[0].schema.table
        return RedriveResult(
            self.item, Outcome.KEYLESS, f"no item of table {table} can have such a key"
        )

    def _apply(self, row: SnapshotRow) -> Iterator[str]:
        """Apply the row to every view; gives the reasons why it cannot be."""
        for view in views_for(row.key, self.views):
            try:
                entry = entry_of_row(view, row.key, row.item, row.version)
                # What it had before the parked change, nobody has deleted.
                entry = entry or deletion_of_row(view, row.key, row.version)
            except RecordError as error:
                yield reason_in_view(view, error)
                continue
            report = apply_all(self.cache, [entry] if entry else [], fence_ttl=self.fence_ttl)
            for trouble in report.quarantined:
                yield reason_in_view(view, trouble.reason)

    def close(self, reasons: list[str]) -> RedriveResult:
        """Let the item out, or keep it with the reasons."""
        item, table = self.item, self.views[0].schema.table
        reason = "; ".join(reasons)
        note = msgspec.structs.replace(item.note, reason=reason) if reasons else None
        if note == item.note or release(self.cache, table, item, instead=note):
            outcome = Outcome.POISON if reasons else Outcome.HEALED
            return RedriveResult(item, outcome, reason)
        return RedriveResult(item, Outcome.AGAIN, "parked again meanwhile")
