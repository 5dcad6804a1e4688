"""Redrive: read quarantined items from the table again, and apply them as snapshot rows."""

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

# How many entries under old keys are read again at a time.
_AT_ONCE = 500


class Outcome(StrEnum):
    """The outcome of the redrive of one quarantined item."""

    HEALED = "healed"
    """The cache matches the table, and the item left the quarantine."""
    POISON = "still_poison"
    """The item still cannot become an entry, and stays."""
    FRESH = "too_fresh"
    """A row read now might be older than the quarantined change; the item stays."""
    KEYLESS = "no_key"
    """The item's primary key is not known; the item stays."""
    AGAIN = "parked_again"
    """The item was quarantined again meanwhile, and stays."""


@dataclass(frozen=True, slots=True)
class RedriveResult:
    """The result of the redrive of one quarantined item.

    Args:
        item: the item's record in quarantine, as it was read.
        outcome: the outcome.
        reason: the reason why the item stays; empty if it does not.
        wait: seconds until the change is no longer too fresh.
    """

    item: QuarantineRecord
    outcome: Outcome
    reason: str = ""
    wait: int = 0


def seconds_until_safe(items: Iterable[QuarantineRecord], as_of: SnapshotVersion) -> int:
    """Return the seconds until a row holds every quarantined change.

    A row holds every change that was created before its as-of time.

    Args:
        items: the quarantined items.
        as_of: the as-of time of a row that is read now.
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
    """Apply quarantined items again, and yield the result of each; safe at any time.

    A record that could not be decoded does not contain the old key of its item. So where a view's
    key can change, the view's entries in the cache are searched for orphaned entries.

    Args:
        cache: the cache.
        views: all views of the table.
        reader: reads the table.
        items: the quarantined items.
        fence_ttl: seconds that a fence is kept.

    Raises:
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
    """
    cases = (_Case(cache, views, item, fence_ttl) for item in items)
    attempts: Iterable[tuple[_Case, RedriveResult | list[str]]]
    attempts = ((case, case.apply(reader)) for case in cases)
    if moving := [view for view in views if view.needs_old_image and view.owns_its_keys]:
        attempts = list(attempts)
        keys = [case.item.key for case, result in attempts if not isinstance(result, RedriveResult)]
        _clear_old_keys(cache, moving, reader, filter(None, keys), fence_ttl=fence_ttl)
    for case, result in attempts:
        yield result if isinstance(result, RedriveResult) else case.close(result)


def _clear_old_keys(
    cache: Cache,
    views: Iterable[View],
    reader: SnapshotReader,
    keys: Iterable[Item],
    *,
    fence_ttl: int,
) -> None:
    """Delete the entries of items under keys that they do not have any more."""
    names = set(map(identity, keys))
    for view in views if names else ():
        entries = (entry for entry in entries_of(cache, view) if identity(entry.item_key) in names)
        while chunk := list(islice(entries, _AT_ONCE)):
            expected = expected_entries(chunk, reader)
            orphaned = [entry for entry in expected if isinstance(entry, Delete)]
            apply_all(cache, orphaned, fence_ttl=fence_ttl)


@dataclass(frozen=True, slots=True)
class _Case:
    """The redrive of one quarantined item."""

    cache: Cache
    views: Sequence[View]
    item: QuarantineRecord
    fence_ttl: int

    def apply(self, reader: SnapshotReader) -> RedriveResult | list[str]:
        """Write the table's row; return the reasons of views that cannot, or the final result."""
        row = self._row(reader)
        if isinstance(row, RedriveResult):
            return row
        if wait := seconds_until_safe([self.item], row.version):
            reason = f"too fresh, try again in {wait} s"
            return RedriveResult(self.item, Outcome.FRESH, reason, wait)
        # An as-of time after the quarantined change means that the row is newer than that change.
        # So is every version that the fence prefers to the row: docs/decisions/0005-redrive.md.
        return list(self._apply(row))

    def _row(self, reader: SnapshotReader) -> SnapshotRow | RedriveResult:
        schema = self.views[0].schema
        key = self.item.key
        if key is None:
            return RedriveResult(self.item, Outcome.KEYLESS, "the record does not name its item")
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
        """Apply the row to every view, and yield the reasons of views that cannot write it."""
        for view in views_for(row.key, self.views):
            try:
                entry = entry_of_row(view, row.key, row.item, row.version)
                # The entry from before the quarantined change still exists.
                entry = entry or deletion_of_row(view, row.key, row.version)
            except RecordError as error:
                yield reason_in_view(view, error)
                continue
            report = apply_all(self.cache, [entry] if entry else [], fence_ttl=self.fence_ttl)
            for trouble in report.quarantined:
                yield reason_in_view(view, trouble.reason)

    def close(self, reasons: list[str]) -> RedriveResult:
        """Release the item, or keep it with the reasons."""
        item, table = self.item, self.views[0].schema.table
        reason = "; ".join(reasons)
        note = msgspec.structs.replace(item.note, reason=reason) if reasons else None
        if note == item.note or release(self.cache, table, item, instead=note):
            outcome = Outcome.POISON if reasons else Outcome.HEALED
            return RedriveResult(item, outcome, reason)
        return RedriveResult(item, Outcome.AGAIN, "parked again meanwhile")
