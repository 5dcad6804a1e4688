"""The table itself: what DynamoDB is asked. Its errors are left as boto3 raises them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import sleep
from typing import TYPE_CHECKING, Any, Final

from botocore.parsers import ResponseParserError

from dynamirror.dynamodb.keys import identity, on_the_wire
from dynamirror.errors import SourceError
from dynamirror.records.attribute_value import Item

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

# What BatchGetItem takes at the most.
_KEYS_AT_ONCE: Final = 100
_SHORTEST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
_NOTHING: Final = len("{}")

Found = dict[frozenset[tuple[str, str]], Item]


def read(client: "DynamoDBClient", table: str, key: Item) -> Any:
    """Read one item, consistently; returns DynamoDB's answer.

    Raises:
        ClientError: DynamoDB refused.
        BotoCoreError: it cannot be reached.
        SourceError: its answer was damaged.
    """
    with _whole_answers(table):
        answer: Any = client.get_item(TableName=table, Key=on_the_wire(key), ConsistentRead=True)
        if "Item" not in answer and _length(answer) != _NOTHING:
            raise KeyError("Item")  # there was something, and it cannot be read
    return answer


def read_many(client: "DynamoDBClient", table: str, keys: Sequence[Item]) -> Found:
    """Read items, a hundred at a time, consistently; returns those that there are.

    Raises:
        ClientError: as `read`, as are the others.
    """
    found: Found = {}
    for first in range(0, len(keys), _KEYS_AT_ONCE):
        left: Any = [on_the_wire(key) for key in keys[first : first + _KEYS_AT_ONCE]]
        names = keys[first].keys()
        pause = 0.0
        while left:
            sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE) or _SHORTEST_PAUSE
            asked: Any = {table: {"Keys": left, "ConsistentRead": True}}
            with _whole_answers(table):
                answer: Any = client.batch_get_item(RequestItems=asked)
                items = answer["Responses"].get(table, [])
                left = answer["UnprocessedKeys"].get(table, {}).get("Keys", [])
            found |= {identity({name: item[name] for name in names}): item for item in items}
    return found


def query(client: "DynamoDBClient", table: str, arguments: Mapping[str, Any]) -> Any:
    """Read a page of a query, consistently; returns DynamoDB's answer.

    Raises:
        ClientError: as `read`, as are the others.
    """
    with _whole_answers(table):
        answer: Any = client.query(TableName=table, ConsistentRead=True, **arguments)
        answer["Items"]  # or it was damaged
    return answer


@contextmanager
def _whole_answers(table: str) -> Iterator[None]:
    """Refuse what boto3 takes for an answer that holds nothing, or quotes in its error."""
    try:
        yield
    except (KeyError, ResponseParserError):
        raise SourceError(f"table {table}: an answer was damaged on its way") from None


def _length(answer: Any) -> int:
    return int(answer["ResponseMetadata"]["HTTPHeaders"].get("content-length", _NOTHING))
