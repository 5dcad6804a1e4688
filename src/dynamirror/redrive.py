"""Redrive: items in quarantine are read from the table again, and applied as rows."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from dynamirror.apply import apply_all
from dynamirror.aws import error_code
from dynamirror.cache import Cache
from dynamirror.canary import views_for
from dynamirror.entry import no_entry, of_row
from dynamirror.errors import RecordError, SourceError
from dynamirror.quarantine import Listed, release
from dynamirror.rows import Row, RowReader
from dynamirror.version import RowVersion
from dynamirror.view import View


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
class Redriven:
    """One item in quarantine and what became of it.

    Args:
        item: as it was read.
        outcome: what became of it.
        reason: why it stays; empty if it does not.
        wait: seconds to wait until it is no longer too fresh.
    """

    item: Listed
    outcome: Outcome
    reason: str = ""
    wait: int = 0


def seconds_to_wait(items: Iterable[Listed], horizon: RowVersion) -> int:
    """How long until a row is newer than every parked change.

    A row with the horizon T holds every change that was created before T.

    Args:
        items: what is in quarantine.
        horizon: of a row that is read now.
    """
    newest = max((item.note.created for item in items if item.key is not None), default=-1)
    return max(0, newest + 1 - horizon.horizon)


def redrive(
    cache: Cache,
    views: Sequence[View],
    reader: RowReader,
    items: Iterable[Listed],
    *,
    fence_ttl: int,
) -> Iterator[Redriven]:
    """Heal items in quarantine, one by one; safe at any moment, and as often as one likes.

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
    for item in items:
        yield _Case(cache, views, item, fence_ttl).redrive(reader)


@dataclass(frozen=True, slots=True)
class _Case:
    """One item, on its way out of quarantine or not."""

    cache: Cache
    views: Sequence[View]
    item: Listed
    fence_ttl: int

    def redrive(self, reader: RowReader) -> Redriven:
        row = self._row(reader)
        if isinstance(row, Redriven):
            return row
        if wait := seconds_to_wait([self.item], row.version):
            reason = f"too fresh, try again in {wait} s"
            return Redriven(self.item, Outcome.FRESH, reason, wait)
        # Once T is later than the parked change, the row is newer than that change, and so is
        # whatever the fence prefers to the row: docs/decisions/0005-redrive.md.
        return self._close(list(self._apply(row)))

    def _row(self, reader: RowReader) -> Row | Redriven:
        schema = self.views[0].schema
        key = self.item.key
        if key is None:
            return Redriven(self.item, Outcome.KEYLESS, "the record does not tell which item it is")
        if set(key) != set(schema.keys):
            return self._not_a_key()
        try:
            return reader.read(key)
        except SourceError as error:
            if error_code(error.__cause__) != "ValidationException":
                raise
            return self._not_a_key()

    def _not_a_key(self) -> Redriven:
        table = self.views[0].schema.table
        return Redriven(self.item, Outcome.KEYLESS, f"no item of table {table} can have such a key")

    def _apply(self, row: Row) -> Iterator[str]:
        """Apply the row to every view; gives the reasons why it cannot be."""
        for view in views_for(row.key, self.views):
            try:
                entry = of_row(view, row.key, row.item, row.version)
                # What it had before the parked change, nobody has deleted.
                entry = entry or no_entry(view, row.key, row.version)
            except RecordError as error:
                yield f"view {view.name}: {error}"
                continue
            report = apply_all(self.cache, [entry] if entry else [], fence_ttl=self.fence_ttl)
            for trouble in report.quarantined:
                yield f"view {view.name}: {trouble.reason}"

    def _close(self, reasons: list[str]) -> Redriven:
        item, table = self.item, self.views[0].schema.table
        reason = "; ".join(reasons)
        note = msgspec.structs.replace(item.note, reason=reason) if reasons else None
        if note == item.note or release(self.cache, table, item, instead=note):
            outcome = Outcome.POISON if reasons else Outcome.HEALED
            return Redriven(item, outcome, reason)
        return Redriven(item, Outcome.AGAIN, "parked again meanwhile")
