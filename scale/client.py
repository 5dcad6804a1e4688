"""A stand-in for boto3's client of DynamoDB that serves a table made from a seed."""

from dataclasses import dataclass
from email.utils import formatdate
from math import ceil
from time import thread_time, time
from typing import Any, Final

from botocore.exceptions import ClientError

from dynamirror.dynamodb.client import Aws
from scale.table import KEY, NAME, Table

STREAM_ARN: Final = (
    f"arn:aws:dynamodb:us-east-1:000000000000:table/{NAME}/stream/2026-01-02T03:04:05.678"
)
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Scan.html
_PAGE_BYTES: Final = 1 << 20
_UNIT_BYTES: Final = 4_096
_MOST_KEYS: Final = 100
_SCAN_WORDS: Final = frozenset(
    {
        "TableName",
        "ConsistentRead",
        "ReturnConsumedCapacity",
        "Segment",
        "TotalSegments",
        "Limit",
        "ExclusiveStartKey",
    }
)


@dataclass(slots=True)
class Usage:
    """What was asked of the table.

    Args:
        read_units: read units, as DynamoDB charges them.
        requests: requests.
        scanned: items that Scan returned.
        looked_up: keys that were asked for one by one.
        seconds: what the stand-in itself took, in seconds.
    """

    read_units: float = 0.0
    requests: int = 0
    scanned: int = 0
    looked_up: int = 0
    seconds: float = 0.0


class StandIn:
    """Answers as boto3's client does, as far as dynamirror asks.

    Args:
        table: the table.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.usage = Usage()
        # Added to the clock, after a wait that was left out.
        self.ahead = 0.0

    def describe_table(self, *, TableName: str) -> Any:  # noqa: N803 - boto3's name
        """Describe the table."""
        begun = thread_time()
        _check(TableName)
        table = {
            "TableName": NAME,
            "TableStatus": "ACTIVE",
            "KeySchema": [{"AttributeName": KEY, "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": KEY, "AttributeType": "S"}],
            "ItemCount": self.table.items,
            "TableSizeBytes": self.table.items * self.table.item_bytes,
            "StreamSpecification": {
                "StreamEnabled": True,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
            "LatestStreamArn": STREAM_ARN,
        }
        return self._answer(begun, {"Table": table}, 0)

    def scan(self, **words: Any) -> Any:
        """Return a page: of 1 MB, or of `Limit` items, or to the end of the segment."""
        begun = thread_time()
        _check(words["TableName"])
        if unknown := words.keys() - _SCAN_WORDS:
            raise NotImplementedError(f"Scan with {', '.join(sorted(unknown))}")
        index, of = words.get("Segment", 0), words.get("TotalSegments", 1)
        first, end = (self.table.items * number // of for number in (index, index + 1))
        if "ExclusiveStartKey" in words:
            first = self.table.number(words["ExclusiveStartKey"]) + 1
        most = min(words.get("Limit", _PAGE_BYTES), _PAGE_BYTES // self.table.item_bytes)
        last = min(first + most, end)
        items = self.table.items_between(first, last)
        answer: dict[str, Any] = {"Items": items, "Count": len(items), "ScannedCount": len(items)}
        # A page that is full ends before DynamoDB knows whether there is more.
        if last == first + most:
            answer["LastEvaluatedKey"] = self.table.key(last - 1)
        size = max(1, len(items) * self.table.item_bytes)
        units = ceil(size / _UNIT_BYTES) * _price(words)
        self.usage.scanned += len(items)
        return self._answer(begun, answer, units, {"TableName": NAME, "CapacityUnits": units})

    def get_item(self, *, TableName: str, Key: Any, **words: Any) -> Any:  # noqa: N803 - same
        """Return one item."""
        begun = thread_time()
        _check(TableName)
        item = self.table.item(self.table.number(Key))
        self.usage.looked_up += 1
        units = self._units_of_one() * _price(words)
        return self._answer(begun, {} if item is None else {"Item": item}, units)

    def batch_get_item(self, *, RequestItems: Any, **_words: Any) -> Any:  # noqa: N803 - same
        """Return up to a hundred items; each counts whole read units, also if it is gone."""
        begun = thread_time()
        ((name, asked),) = RequestItems.items()
        _check(name)
        keys: list[Any] = asked["Keys"]
        if not 0 < len(keys) <= _MOST_KEYS or len({key[KEY]["S"] for key in keys}) < len(keys):
            raise _error("ValidationException", "too many keys, none, or one of them twice")
        found = [self.table.item(self.table.number(key)) for key in keys]
        units = len(keys) * self._units_of_one() * _price(asked)
        self.usage.looked_up += len(keys)
        answer = {
            "Responses": {NAME: [item for item in found if item is not None]},
            "UnprocessedKeys": {},
        }
        return self._answer(begun, answer, units, [{"TableName": NAME, "CapacityUnits": units}])

    def _units_of_one(self) -> int:
        return ceil(self.table.item_bytes / _UNIT_BYTES)

    def _answer(
        self, begun: float, answer: dict[str, Any], units: float, consumed: Any = None
    ) -> dict[str, Any]:
        self.usage.requests += 1
        self.usage.read_units += units
        headers = {"date": formatdate(time() + self.ahead, usegmt=True)}
        answer["ResponseMetadata"] = {"HTTPStatusCode": 200, "HTTPHeaders": headers}
        if consumed is not None:
            answer["ConsumedCapacity"] = consumed
        self.usage.seconds += thread_time() - begun
        return answer


class StandInAws(Aws):
    """AWS with no service but a stand-in for DynamoDB."""

    client_of_table: StandIn

    def dynamodb(self) -> Any:
        """Return the stand-in."""
        return self.client_of_table


def _price(words: Any) -> float:
    return 1.0 if words.get("ConsistentRead") else 0.5


def _check(name: str) -> None:
    if name != NAME:
        raise _error("ResourceNotFoundException", "Requested resource not found")


def _error(code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "any")
