"""What boto3 itself takes for an answer of DynamoDB, which the stand-in leaves out."""

import json
from statistics import median
from time import process_time
from typing import Any

import msgspec
from botocore.awsrequest import AWSResponse

from dynamirror.dynamodb.client import Aws
from scale.client import StandIn
from scale.table import KEY, NAME, Table

_TAKEN = 5
_KEYS_AT_ONCE = 100
_LOOKED_UP = 3_000


class Boto3Cost(msgspec.Struct, frozen=True):
    """The CPU time of boto3 for an item, in microseconds.

    Args:
        scanned: for an item of a page of Scan.
        looked_up: for an item that BatchGetItem returns, with its key in the request.
    """

    scanned: float
    looked_up: float


def measure(table: Table) -> Boto3Cost:
    """Let boto3 sign requests for items, and parse answers that never crossed a network."""
    stand_in = StandIn(table)
    client: Any = Aws("us-east-1", "http://127.0.0.1:9", ("any", "any")).dynamodb()
    body = b""

    def answer(**_event: Any) -> AWSResponse:
        raw: Any = _Body(body)
        headers: Any = {"content-length": str(len(body))}
        return AWSResponse("http://127.0.0.1:9", 200, headers, raw)

    client.meta.events.register("before-send.dynamodb", answer)
    page = stand_in.scan(TableName=NAME)
    body = _encoded(page)
    scanned = [_timed(lambda: client.scan(TableName=NAME)) for _ in range(_TAKEN)]
    numbers = range(min(_KEYS_AT_ONCE, table.items))
    asked = {NAME: {"Keys": [table.key(number) for number in numbers], "ConsistentRead": False}}
    body = _encoded(stand_in.batch_get_item(RequestItems=asked))
    times = _LOOKED_UP // len(numbers)

    def look_up() -> None:
        for _ in range(times):
            client.batch_get_item(RequestItems=asked)

    looked_up = [_timed(look_up) for _ in range(_TAKEN)]
    assert client.batch_get_item(RequestItems=asked)["Responses"][NAME][0][KEY]
    return Boto3Cost(
        median(scanned) / len(page["Items"]) * 1e6, median(looked_up) / (times * len(numbers)) * 1e6
    )


class _Body:
    """The body of an answer."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_options: Any) -> Any:
        """Yield the whole body."""
        yield self._content


def _encoded(answer: dict[str, Any]) -> bytes:
    del answer["ResponseMetadata"]
    return json.dumps(answer, separators=(",", ":")).encode()


def _timed(work: Any) -> float:
    begun = process_time()
    work()
    return process_time() - begun
