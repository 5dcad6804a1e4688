"""The outcomes of a batch, entry by entry."""

from collections.abc import Iterable

import msgspec

from dynamirror.records.version import ChangeVersion
from dynamirror.views.entry import Entry


class RejectedEntry(msgspec.Struct, frozen=True):
    """An entry that was not simply written, and why."""

    entry: Entry
    reason: str


class Report(msgspec.Struct):
    """The outcomes of one batch.

    Args:
        applied: entries that the cache took.
        stale: entries left alone, since the cache held something at least as new.
        coalesced: entries not even sent, since something newer was in the same batch.
        quarantined: entries whose items cannot be written in their view.
        failed: entries that the cache did not take.
    """

    applied: int = 0
    stale: int = 0
    coalesced: int = 0
    quarantined: list[RejectedEntry] = []
    failed: list[RejectedEntry] = []

    def lowest_failed(self) -> int | None:
        """Return the lowest sequence number that was not applied; the stream must restart there."""
        sequences = (
            rejected.entry.version.sequence
            for rejected in self.failed
            if isinstance(rejected.entry.version, ChangeVersion)
        )
        return min(sequences, default=None)


class BatchResult(msgspec.Struct, frozen=True):
    """The facts about one batch.

    Args:
        table: the table's name; `?` where no record names it.
        records: how many came.
        report: the outcomes.
        parked: items set aside.
        failed: entries not applied, or all records if the batch failed whole.
        oldest: when its oldest record was created, in seconds since 1970; None if not known.
        ended: when it was through.
        seconds: what it took.
        sequence_numbers: of its first and its last record; None if one has none.
        stream: label in the ARN of its stream; empty where no record names it.
        error: type and sentence of the error that ended it; None for none.
    """

    table: str
    records: int
    report: Report
    parked: int
    failed: int
    oldest: float | None
    ended: float
    seconds: float
    sequence_numbers: tuple[str, str] | None = None
    stream: str = ""
    error: str | None = None

    @property
    def lag(self) -> float | None:
        """Return the seconds from the creation of the oldest record to the end; None if unknown."""
        return None if self.oldest is None else max(0.0, self.ended - self.oldest)


class Tally(msgspec.Struct):
    """How many entries came to which outcome, over many batches, and how many items were parked."""

    applied: int = 0
    stale: int = 0
    coalesced: int = 0
    quarantined: int = 0
    failed: int = 0

    def add(self, batch: BatchResult) -> None:
        """Count one batch."""
        report = batch.report
        self.applied += report.applied
        self.stale += report.stale
        self.coalesced += report.coalesced
        self.quarantined += batch.parked
        self.failed += len(report.failed)


def partial_batch_response(identifiers: Iterable[str]) -> dict[str, list[dict[str, str]]]:
    """Return Lambda's partial batch response: where to restart; an empty list is success.

    https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
    """
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}
