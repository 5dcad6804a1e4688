"""Builders that show only what matters to a test."""

from collections.abc import Mapping
from typing import Any

from dynamirror.views.view import Schema, View, ViewSpec

STREAM_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/users/stream/2026-01-02T03:04:05.678"
CREATED = 1_790_000_000
SCHEMA = Schema("users", ("id",), ("S",))


def record(
    sequence: int = 1,
    new: Mapping[str, Any] | None = None,
    old: Mapping[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A stream record as a Lambda event has it: INSERT, MODIFY or REMOVE by its images."""
    image = new or old or {"id": {"S": "1"}}
    data = {
        "ApproximateCreationDateTime": CREATED,
        "Keys": {"id": image.get("id", {"S": "1"})},
        "SequenceNumber": f"{sequence:021d}",
        "SizeBytes": 26,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if new is not None:
        data["NewImage"] = dict(new)
    if old is not None:
        data["OldImage"] = dict(old)
    event = "REMOVE" if new is None else "MODIFY" if old is not None else "INSERT"
    return {
        "eventID": f"{sequence:032x}",
        "eventName": event,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "eventSourceARN": STREAM_ARN,
        "dynamodb": data | changes,
    }


def item(item_id: str = "1", **attributes: Any) -> dict[str, Any]:
    """An item in DynamoDB JSON; attributes are given as text unless they are typed already."""
    typed = {
        name: value if isinstance(value, dict) else {"S": value}
        for name, value in attributes.items()
    }
    return {"id": {"S": item_id}, **typed}


def view(spec: ViewSpec | None = None, schema: Schema = SCHEMA) -> View:
    """A view bound to a table."""
    return (spec or ViewSpec()).bind(schema)


class Time:
    """Lambda's context: says how much time is left."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended."""
        return round(self.seconds * 1000)
