"""A stand-in for boto3's client of DynamoDB, in front of the writer's table."""

import json
import socket
import threading
from email.utils import formatdate
from math import ceil
from pathlib import Path
from time import time
from typing import Any, Final

import msgspec

from dynamirror.records.attribute_value import Item
from soak.changes import STREAM, TABLE, key_text, number_of
from soak.writer import ADDRESS, Ask, Page, receive, send

_ITEM_BYTES: Final = 400
_UNIT_BYTES: Final = 4_096


class Table:
    """Asks the writer; safe for use by several threads at once.

    Each answer holds all changes that are in the stream by then: reads are strongly consistent.

    Args:
        folder: holds the socket of the writer's table.
    """

    def __init__(self, folder: Path) -> None:
        self._address = str(folder / ADDRESS)
        self._local = threading.local()

    def ask(self, question: Ask) -> Page:
        """Ask the writer."""
        if not hasattr(self._local, "connection"):
            self._local.connection = socket.socket(socket.AF_UNIX)
            self._local.connection.connect(self._address)
        send(self._local.connection, question)
        return msgspec.msgpack.decode(receive(self._local.connection), type=Page)

    def close(self) -> None:
        """Close the connection of this thread."""
        if hasattr(self._local, "connection"):
            self._local.connection.close()

    def items(self, numbers: list[int]) -> list[Item]:
        """Return those of some items that exist."""
        return [msgspec.json.decode(text) for text in self.ask(Ask(numbers)).items]

    def item(self, key: Item) -> Item | None:
        """Return an item by its primary key; None if it does not exist."""
        found = self.items([number_of(key)])
        return found[0] if found else None


class TableClient:
    """Answers as boto3's client does, as far as a rebuild asks.

    Args:
        table: the table.
        items: number of items that it may have.
    """

    def __init__(self, table: Table, items: int) -> None:
        self._table = table
        self._items = items

    def describe_table(self, *, TableName: str) -> Any:  # noqa: N803 - boto3's name
        """Describe the table."""
        assert TableName == TABLE
        count = self._table.ask(Ask(None)).count
        keys = (("pk", "HASH"), ("sk", "RANGE"))
        table = {
            "TableName": TABLE,
            "TableStatus": "ACTIVE",
            "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in keys],
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": "S"} for name, _ in keys
            ],
            "ItemCount": count,
            "TableSizeBytes": count * _ITEM_BYTES,
            "StreamSpecification": {
                "StreamEnabled": True,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
            "LatestStreamArn": STREAM,
        }
        return _answer({"Table": table})

    def scan(self, **words: Any) -> Any:
        """Return a page."""
        index, of = words.get("Segment", 0), words.get("TotalSegments", 1)
        first, end = (self._items * number // of for number in (index, index + 1))
        if "ExclusiveStartKey" in words:
            first = number_of(words["ExclusiveStartKey"]) + 1
        page = self._table.ask(Ask(None, first, end, words.get("Limit", 1 << 20)))
        items = [msgspec.json.decode(text) for text in page.items]
        answer: dict[str, Any] = {"Items": items, "Count": len(items)}
        if page.last is not None:
            answer["LastEvaluatedKey"] = json.loads(f"{{{key_text(page.last)}}}")
        units = ceil(max(1, len(items) * _ITEM_BYTES) / _UNIT_BYTES)
        return _answer(answer | {"ConsumedCapacity": {"CapacityUnits": units}})

    def get_item(self, *, Key: Any, **_words: Any) -> Any:  # noqa: N803 - same
        """Return one item."""
        item = self._table.item(Key)
        return _answer({} if item is None else {"Item": item})

    def batch_get_item(self, *, RequestItems: Any, **_words: Any) -> Any:  # noqa: N803 - same
        """Return several items."""
        keys = RequestItems[TABLE]["Keys"]
        items = self._table.items([number_of(key) for key in keys])
        consumed = [{"TableName": TABLE, "CapacityUnits": len(keys)}]
        return _answer(
            {
                "Responses": {TABLE: items},
                "UnprocessedKeys": {},
                "ConsumedCapacity": consumed,
            }
        )


def _answer(answer: dict[str, Any]) -> dict[str, Any]:
    headers = {"date": formatdate(time(), usegmt=True)}
    return answer | {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": headers}}
