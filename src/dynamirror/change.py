"""DynamoDB Streams records, decoded: the only module that knows their shape.

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Record.html
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from dynamirror.attributes import Item
from dynamirror.errors import ConfigError, RecordError
from dynamirror.version import ChangeVersion

# Tuples, since a malformed record may hold what a set cannot look up.
_EVENTS = ("INSERT", "MODIFY", "REMOVE")
_FEEDS_A_MIRROR = ("NEW_IMAGE", "NEW_AND_OLD_IMAGES")
_VIEW_TYPES = (*_FEEDS_A_MIRROR, "OLD_IMAGE", "KEYS_ONLY")
_STREAM_ARN = re.compile(
    r"arn:[a-z-]+:dynamodb:[a-z0-9-]+:[0-9]+:table/(?P<table>[A-Za-z0-9_.-]+)/stream/(?P<label>.+)"
)
# A fence holds as many digits of each.
_LONGEST_SEQUENCE = 40
_CREATED_END = 10**10
_EPOCH_END = 10**13


class Stream(msgspec.Struct, frozen=True):
    """What a stream's ARN tells.

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
    if needs_old_image and view_type != "NEW_AND_OLD_IMAGES":
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
    """The record's SequenceNumber as it is spelt, or None where it has none."""
    try:
        text = record["dynamodb"]["SequenceNumber"]
    except (KeyError, TypeError):
        return None
    if not isinstance(text, str) or len(text) > _LONGEST_SEQUENCE:
        return None
    return text if text.isascii() and text.isdigit() else None


def keys(record: Mapping[str, Any]) -> Item | None:
    """The record's primary key, or None where it has none."""
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
    try:
        arn = stream_arn or record["eventSourceARN"]
        event, data = record["eventName"], record["dynamodb"]
        primary_key, created = data["Keys"], data["ApproximateCreationDateTime"]
    except KeyError as error:
        raise RecordError(
            f"{_where(record)}: not a DynamoDB stream record, it lacks {error}"
        ) from None
    except TypeError:
        raise RecordError(
            f"{_where(record)}: not a DynamoDB stream record, it is not an object of objects"
        ) from None
    if not isinstance(arn, str):
        raise RecordError(f"{_where(record)}: eventSourceARN is not text")
    stream = parse_stream_arn(arn)
    carries_old = _carries_old(record, stream.table)
    new, old = data.get("NewImage"), data.get("OldImage")
    if event not in _EVENTS:
        raise RecordError(f"{_where(record)}: unknown event {event!r}")
    if (new is None) != (event == "REMOVE"):
        raise RecordError(
            f"{_where(record)}: {event} {'without' if new is None else 'with'} NewImage"
        )
    for image in (primary_key, new, old):
        if image is not None and not isinstance(image, dict):
            raise RecordError(f"{_where(record)}: an image or key is not an object")
    if not primary_key:
        raise RecordError(f"{_where(record)}: no key attribute")
    version = ChangeVersion(stream.epoch, _sequence(record), _seconds(created, record))
    return Change(stream.table, primary_key, version, new, old, carries_old)


def _carries_old(record: Mapping[str, Any], table: str) -> bool:
    view_type = record["dynamodb"].get("StreamViewType", "NEW_AND_OLD_IMAGES")
    if view_type not in _VIEW_TYPES:
        raise RecordError(f"{_where(record)}: unknown StreamViewType {view_type!r}")
    check_view_type(view_type, table)
    return bool(view_type == "NEW_AND_OLD_IMAGES")


def _sequence(record: Mapping[str, Any]) -> int:
    text = sequence_number(record)
    if text is None:
        raise RecordError(
            f"{_where(record)}: SequenceNumber is missing, or not a number of at most "
            f"{_LONGEST_SEQUENCE} digits"
        )
    return int(text)


def _seconds(created: Any, record: Mapping[str, Any]) -> int:
    try:
        seconds = int(created.timestamp() if isinstance(created, datetime) else created)
    except (TypeError, ValueError, OverflowError):
        seconds = -1
    if not 0 <= seconds < _CREATED_END:
        raise RecordError(
            f"{_where(record)}: ApproximateCreationDateTime is not a time in seconds since 1970"
        )
    return seconds


def _where(record: Mapping[str, Any]) -> str:
    """Name a record without telling what is in it."""
    arn = record.get("eventSourceARN") if isinstance(record, Mapping) else None
    stream = arn if isinstance(arn, str) else "a stream"
    return f"record {sequence_number(record) or '?'} of {stream}"
