"""DynamoDB Streams records, decoded: the only module that knows their shape.

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Record.html
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeGuard

import msgspec

from dynamirror.errors import ConfigError, RecordError
from dynamirror.records.attribute_value import Item
from dynamirror.records.version import ChangeVersion

_pack = msgspec.msgpack.Encoder().encode
# Records by which a batch is judged, and the share of items among them that makes a look at all the
# others not worth its while.
_SAMPLE = 250
_HARDLY = 0.95
# Tuples, since a malformed record may hold what a set cannot look up.
_PUTS = ("INSERT", "MODIFY")
_EVENTS = (*_PUTS, "REMOVE")
_BOTH_IMAGES = "NEW_AND_OLD_IMAGES"
_FEEDS_A_MIRROR = ("NEW_IMAGE", _BOTH_IMAGES)
_VIEW_TYPES = (*_FEEDS_A_MIRROR, "OLD_IMAGE", "KEYS_ONLY")
_STREAM_ARN = re.compile(
    r"arn:[a-z-]+:dynamodb:[a-z0-9-]+:[0-9]+:table/(?P<table>[A-Za-z0-9_.-]+)/stream/(?P<label>.+)"
)
# A fence holds as many digits of each.
_LONGEST_SEQUENCE = 40
_CREATED_END = 10**10
_EPOCH_END = 10**13


class Stream(msgspec.Struct, frozen=True):
    """The table and the epoch in a stream's ARN.

    Args:
        table: name of the table.
        epoch: creation of the stream, in milliseconds since 1970.
    """

    table: str
    epoch: int


class Change(msgspec.Struct, frozen=True, gc=False):
    """One version of one item.

    Args:
        table: name of the table.
        keys: the item's primary-key attributes.
        version: where the change stands in the item's history.
        new: the item after the change; None once it is deleted.
        old: the item before the change, if the stream carries it and there was one.
        carries_old: whether the stream carries it.
    """

    table: str
    keys: Item
    version: ChangeVersion
    new: Item | None
    old: Item | None
    carries_old: bool = True


def check_view_type(view_type: object, table: str, *, needs_old_image: bool = False) -> None:
    """Refuse a stream that cannot feed a mirror.

    Raises:
        ConfigError: the stream does not carry the images that a mirror needs.
    """
    if view_type not in _FEEDS_A_MIRROR:
        raise ConfigError(
            f"the stream of table {table} has the view type {view_type}, which does not carry the "
            "new image; switch the stream off and on again with NEW_AND_OLD_IMAGES"
        )
    if needs_old_image and view_type != _BOTH_IMAGES:
        raise ConfigError(
            f"the stream of table {table} has the view type {view_type}, but a view's key names an "
            "attribute that can change, which needs the old image; switch the stream off and on "
            "again with NEW_AND_OLD_IMAGES"
        )


@lru_cache(maxsize=64)
def parse_stream_arn(arn: str) -> Stream:
    """Read table and epoch from `arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/LABEL`.

    Raises:
        RecordError: it is not the ARN of a DynamoDB stream.
    """
    found = _STREAM_ARN.fullmatch(arn)
    try:
        created = datetime.fromisoformat(found["label"]) if found else None
        # The label has no zone; it is in UTC.
        epoch = round(created.replace(tzinfo=UTC).timestamp() * 1000) if created else -1
    except (OverflowError, ValueError):
        epoch = -1
    if found is None or not 0 <= epoch < _EPOCH_END:
        raise RecordError(f"{arn!r} is not the ARN of a DynamoDB stream")
    return Stream(table=found["table"], epoch=epoch)


def sequence_number(record: Mapping[str, Any]) -> str | None:
    """Return the record's SequenceNumber as written, or None."""
    try:
        text = record["dynamodb"]["SequenceNumber"]
    except (KeyError, TypeError):
        return None
    return text if _is_sequence_number(text) else None


def keys(record: Mapping[str, Any]) -> Item | None:
    """Return the record's primary key, or None."""
    try:
        found = record["dynamodb"]["Keys"]
    except (KeyError, TypeError):
        return None
    return found if isinstance(found, Mapping) and found else None


def decode(record: Mapping[str, Any], stream_arn: str | None = None) -> Change:
    """Decode one record, from a Lambda event or from GetRecords.

    Args:
        record: as Lambda hands it over (created: a number, binary: base64 text) or as boto3 does
            (created: a datetime, binary: bytes).
        stream_arn: the stream's ARN, for records of GetRecords, which do not name it.

    Raises:
        RecordError: the record is not one of a DynamoDB stream; says which and why.
        ConfigError: the stream's view type cannot feed a mirror.
    """
    # Once a record: what is checked in line costs a third of what it costs in a function.
    try:
        arn = stream_arn or record["eventSourceARN"]
        event, data = record["eventName"], record["dynamodb"]
        primary_key, created = data["Keys"], data["ApproximateCreationDateTime"]
        number, view_type = data.get("SequenceNumber"), data.get("StreamViewType", _BOTH_IMAGES)
        new, old = data.get("NewImage"), data.get("OldImage")
    except KeyError as error:
        raise _malformed(record, f"not a DynamoDB stream record, it lacks {error}") from None
    except (AttributeError, TypeError):
        raise _malformed(
            record, "not a DynamoDB stream record, it is not an object of objects"
        ) from None
    if not isinstance(arn, str):
        raise _malformed(record, "eventSourceARN is not text")
    stream = parse_stream_arn(arn)
    if view_type != _BOTH_IMAGES:
        _check_view_type(view_type, stream.table, record)
    if wrong := _wrong(event, primary_key, new, old):
        raise _malformed(record, wrong)
    if not _is_sequence_number(number):
        raise _malformed(
            record,
            f"SequenceNumber is missing, or not a number of at most {_LONGEST_SEQUENCE} digits",
        )
    seconds = created if type(created) is int else _seconds(created)
    if not 0 <= seconds < _CREATED_END:
        raise _malformed(record, "ApproximateCreationDateTime is not a time in seconds since 1970")
    version = ChangeVersion(stream.epoch, int(number), seconds)
    return Change(stream.table, primary_key, version, new, old, view_type == _BOTH_IMAGES)


def decode_put(record: Any, arn: str, stream: Stream, names: Sequence[str]) -> Change | None:
    """Decode a record of the commonest kind; return None for any other, which needs `decode`.

    The commonest puts an item, `decode` finds nothing wrong in it, and its key attributes are those
    of the table and of its images. Each test here is one that other records meet, or stricter.

    Args:
        record: the record, from a Lambda event.
        arn: the stream's ARN.
        stream: what `parse_stream_arn` reads in it.
        names: names of the table's key attributes.
    """
    try:
        data = record["dynamodb"]
        keys, new, old = data["Keys"], data["NewImage"], data.get("OldImage")
        sequence, created = data["SequenceNumber"], data["ApproximateCreationDateTime"]
        if not (
            record["eventSourceARN"] == arn
            and record["eventName"] in _PUTS
            and data["StreamViewType"] == _BOTH_IMAGES
            and len(keys) == len(names)
            and type(created) is int
            and 0 <= created < _CREATED_END
            and _is_sequence_number(sequence)
        ):
            return None
        for name in names:
            value = keys[name]
            if new[name] != value or (old is not None and old[name] != value):
                return None
    except (AttributeError, LookupError, TypeError):
        return None  # what is no object where one belongs ends here, too
    version = ChangeVersion(stream.epoch, int(sequence), created)
    return Change(stream.table, keys, version, new, old)


def _wrong(event: object, primary_key: object, new: object, old: object) -> str | None:
    """Return the fault in the body of a record, if there is one."""
    if event not in _EVENTS:
        return f"unknown event {event!r}"
    if (new is None) != (event == "REMOVE"):
        return f"{event} {'without' if new is None else 'with'} NewImage"
    if not (
        (new is None or isinstance(new, dict))
        and (old is None or isinstance(old, dict))
        and (primary_key is None or isinstance(primary_key, dict))
    ):
        return "an image or key is not an object"
    return None if primary_key else "no key attribute"


def newest(batch: list[Any]) -> list[Any]:
    """Keep each item's newest record, and any without a usable key or number.

    Not one of them is decoded: that a hot item has changed a hundred times costs a look at each. A
    batch is left as it is if hardly an item comes twice among the last, or if it has two streams.
    """
    kept: dict[object, Any] = {}
    numbers: dict[object, int] = {}
    number_of = numbers.get
    arn = None
    # Backwards, since the newest mostly comes last.
    for place, record in enumerate(reversed(batch)):
        item: object
        try:
            if record["eventSourceARN"] != arn:
                if arn is not None:
                    return batch
                arn = record["eventSourceARN"]
            data = record["dynamodb"]
            text = data["SequenceNumber"]
            # What has a sign has no place among the others: it is parked, not passed over.
            if "0" <= text < ":":
                number, item = int(text), _pack(data["Keys"])
            else:
                number, item = 0, place
        except (LookupError, OverflowError, RecursionError, TypeError, ValueError):
            number, item = 0, place
        if number > number_of(item, -1):
            numbers[item], kept[item] = number, record
        if place == _SAMPLE and len(kept) > _HARDLY * _SAMPLE:
            return batch
    return list(reversed(kept.values()))


def _is_sequence_number(text: object) -> TypeGuard[str]:
    return (
        isinstance(text, str)
        and len(text) <= _LONGEST_SEQUENCE
        and text.isascii()
        and text.isdigit()
    )


def _check_view_type(view_type: object, table: str, record: Mapping[str, Any]) -> None:
    if view_type not in _VIEW_TYPES:
        raise _malformed(record, f"unknown StreamViewType {view_type!r}")
    check_view_type(view_type, table)


def _seconds(created: Any) -> int:
    """Return whole seconds since 1970; -1 if it is no time."""
    try:
        return int(created.timestamp() if isinstance(created, datetime) else created)
    except (TypeError, ValueError, OverflowError):
        return -1


def _malformed(record: Mapping[str, Any], what: str) -> RecordError:
    """Return the error for a record, without its content."""
    arn = record.get("eventSourceARN") if isinstance(record, Mapping) else None
    stream = arn if isinstance(arn, str) else "a stream"
    return RecordError(f"record {sequence_number(record) or '?'} of {stream}: {what}")
