"""What a batch of raw records says of itself."""

from contextlib import suppress
from typing import Any

from dynamirror.cache.quarantine import ParkedItem
from dynamirror.errors import RecordError
from dynamirror.records import stream_record as records
from dynamirror.views.batch_result import Report

_END_OF_TIME = 10**10


def _arn(batch: list[Any]) -> str:
    """The stream that a batch is of: all its records are of one. The first that tells, tells."""
    for record in batch:
        with suppress(KeyError, TypeError):
            if isinstance(arn := record["eventSourceARN"], str):
                return arn
    return ""


def _table(batch: list[Any]) -> str:
    with suppress(RecordError):
        return records.parse_stream_arn(_arn(batch)).table
    return "?"


def _stream_label(batch: list[Any]) -> str | None:
    """When the stream was created, which tells it from other streams of its table."""
    with suppress(RecordError):
        arn = _arn(batch)
        return arn.rpartition("/")[2] if records.parse_stream_arn(arn) else None
    return None


def _oldest(batch: list[Any]) -> float | None:
    """When the oldest record was created, in seconds since 1970; None if none tells.

    It is the first that tells: a batch is of one shard, and in its order.
    """
    return next(filter(_is_time, map(_created, batch)), None)


def _created(record: Any) -> Any:
    with suppress(KeyError, TypeError):
        return record["dynamodb"]["ApproximateCreationDateTime"]
    return None


def _is_time(seconds: Any) -> bool:
    return isinstance(seconds, int | float) and 0 <= seconds < _END_OF_TIME


def _first_to_repeat(batch: list[Any], report: Report, unparked: list[ParkedItem]) -> list[str]:
    """The identifier of the earliest record that is neither applied nor parked, as it is spelt."""
    if any(item.sequence == "?" for item in unparked):
        return [""]  # the record has no number to name it by: the whole batch must come again
    numbers = [int(item.sequence) for item in unparked]
    if (failed := report.lowest_failed()) is not None:
        numbers.append(failed)
    if not numbers:
        return []
    spelt = {int(text): text for text in map(records.sequence_number, batch) if text}
    return [spelt[min(numbers)]]


def _all_to_repeat(batch: list[Any]) -> list[str]:
    spelt = [records.sequence_number(record) or "" for record in batch]
    return [""] if "" in spelt else [min(spelt, key=int)]
