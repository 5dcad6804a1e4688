"""A batch of raw records of one stream."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from math import ceil
from time import time
from typing import Any

from dynamirror.cache.quarantine import ParkedItem, reason_in_view
from dynamirror.errors import RecordError
from dynamirror.records import stream_record
from dynamirror.records.stream_record import Change
from dynamirror.records.version import ChangeVersion
from dynamirror.views.batch_result import RejectedEntry, Report

_END_OF_TIME = 10**10


class RecordBatch:
    """A batch of raw records, any of which may be malformed.

    Args:
        records: the records of one shard, in its order.
    """

    def __init__(self, records: list[Any]) -> None:
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def stream_arn(self) -> str:
        """Return the ARN of the stream, from the first record that has one; else empty."""
        for record in self.records:
            with suppress(KeyError, TypeError):
                if isinstance(arn := record["eventSourceARN"], str):
                    return arn
        return ""

    @cached_property
    def table(self) -> str:
        """Return the name of the table; `?` where no record names it."""
        return _table_of(self.stream_arn)

    @property
    def stream_label(self) -> str | None:
        """Return the creation time in the stream's ARN, which no other stream of the table has."""
        with suppress(RecordError):
            stream_record.parse_stream_arn(self.stream_arn)
            return self.stream_arn.rpartition("/")[2]
        return None

    @cached_property
    def oldest(self) -> float | None:
        """Return the oldest record's creation time, in seconds since 1970; None if unknown.

        The shard's order makes it the first time that any record has.
        """
        return next(filter(_is_time, map(_created, self.records)), None)

    @property
    def newest(self) -> float | None:
        """Return the last record's creation time, in seconds since 1970; None if unknown."""
        created = _created(self.records[-1]) if self.records else None
        return created if _is_time(created) else None

    @property
    def first_sequence_number(self) -> str | None:
        """Return the first record's SequenceNumber, as it is spelt; None where it has none."""
        return stream_record.sequence_number(self.records[0]) if self.records else None

    @property
    def last_sequence_number(self) -> str | None:
        """Return the last record's SequenceNumber, as it is spelt; None where it has none."""
        return stream_record.sequence_number(self.records[-1]) if self.records else None

    @property
    def sequence_numbers(self) -> tuple[str, str] | None:
        """Return those of the first and the last record; None where one has none."""
        first, last = self.first_sequence_number, self.last_sequence_number
        return (first, last) if first and last else None

    def changes(self) -> Iterator[Change]:
        """Yield the changes of the records that can be decoded."""
        for record in self.records:
            with suppress(RecordError):
                yield stream_record.decode(record)

    def parked_items(self, entries: Sequence[RejectedEntry]) -> Iterator[ParkedItem]:
        """Yield an item to quarantine for each entry that cannot be written in its view."""
        if not entries:
            return
        numbers = ((stream_record.sequence_number(record), record) for record in self.records)
        records = {int(number): record for number, record in numbers if number}
        for rejected in entries:
            version = rejected.entry.version
            assert isinstance(version, ChangeVersion)
            reason = reason_in_view(rejected.entry.view, rejected.reason)
            yield parked_item(records[version.sequence], reason, version.created)

    def first_to_repeat(self, report: Report, unparked: list[ParkedItem]) -> list[str]:
        """Return the number of the first record that is neither applied nor quarantined, if any.

        Args:
            report: the outcomes of the batch.
            unparked: the items that the quarantine did not take.
        """
        if any(item.sequence == "?" for item in unparked):
            return [""]  # without a number to name the record by, the whole batch is repeated
        numbers = [int(item.sequence) for item in unparked]
        if (failed := report.lowest_failed()) is not None:
            numbers.append(failed)
        return [self._spelling(min(numbers))] if numbers else []

    def all_to_repeat(self) -> list[str]:
        """Return the number that makes Lambda deliver the whole batch again."""
        numbers = [stream_record.sequence_number(record) or "" for record in self.records]
        return [""] if "" in numbers else [min(numbers, key=int)]

    def _spelling(self, number: int) -> str:
        """Return a sequence number as its record spells it."""
        spellings = filter(None, map(stream_record.sequence_number, self.records))
        return {int(text): text for text in spellings}[number]


def parked_item(record: Any, reason: str, created: int | None = None) -> ParkedItem:
    """Return the item of a record for the quarantine.

    Args:
        record: the raw record.
        reason: why it cannot become an entry.
        created: creation time of the change, in seconds since 1970; None for not later than now.
    """
    arn = ""
    with suppress(KeyError, TypeError):
        arn = record["eventSourceARN"]
    return ParkedItem(
        _table_of(arn),
        stream_record.keys(record),
        stream_record.sequence_number(record) or "?",
        reason,
        ceil(time()) if created is None else created,
    )


def _table_of(arn: Any) -> str:
    with suppress(RecordError, TypeError):
        return stream_record.parse_stream_arn(arn).table
    return "?"


def _created(record: Any) -> Any:
    with suppress(KeyError, TypeError):
        return record["dynamodb"]["ApproximateCreationDateTime"]
    return None


def _is_time(seconds: Any) -> bool:
    return isinstance(seconds, int | float) and 0 <= seconds < _END_OF_TIME
