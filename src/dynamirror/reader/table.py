"""The table itself: what DynamoDB is asked. Its errors are left as boto3 raises them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from botocore.parsers import ResponseParserError

from dynamirror.dynamodb.keys import identity, on_the_wire
from dynamirror.errors import SourceError
from dynamirror.reader.steps import Pause, Steps, TableRequest
from dynamirror.records.attribute_value import Item

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

# What BatchGetItem takes at the most.
_KEYS_AT_ONCE: Final = 100
_SHORTEST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
_NOTHING: Final = len("{}")

Found = dict[frozenset[tuple[str, str]], Item]


def ask(client: "DynamoDBClient", request: TableRequest) -> Any:
    """Carry out a request; returns DynamoDB's answer.

    Raises:
        ClientError: DynamoDB refused.
        BotoCoreError: it cannot be reached.
        SourceError: its answer was damaged.
    """
    with whole_answers(request):
        answer = getattr(client, request.operation)(**request.arguments)
        check_answer(request, answer)
    return answer


@contextmanager
def whole_answers(request: TableRequest) -> Iterator[None]:
    """Refuse what boto3 takes for an answer that holds nothing, or quotes in its error."""
    try:
        yield
    except (KeyError, ResponseParserError):
        tables = ", ".join(_tables(request))
        raise SourceError(f"table {tables}: an answer was damaged on its way") from None


def check_answer(request: TableRequest, answer: Any) -> None:
    """Check that an answer has what one to the request always has.

    Raises:
        KeyError: it has not.
    """
    match request.operation:
        case "get_item":
            if "Item" not in answer and _length(answer) != _NOTHING and not _has_capacity(request):
                raise KeyError("Item")  # there was something, and it cannot be read
        case "batch_get_item":
            answer["Responses"], answer["UnprocessedKeys"]
        case "query":
            answer["Count"]
            if request.arguments.get("Select") != "COUNT":
                answer["Items"]


def _tables(request: TableRequest) -> Iterable[str]:
    asked = request.arguments
    return [asked["TableName"]] if "TableName" in asked else asked["RequestItems"]


def _has_capacity(request: TableRequest) -> bool:
    return bool(request.arguments.get("ReturnConsumedCapacity", "NONE") != "NONE")


def _length(answer: Any) -> int:
    return int(answer["ResponseMetadata"]["HTTPHeaders"].get("content-length", _NOTHING))


def read_request(table: str, key: Item, options: Mapping[str, Any] | None = None) -> TableRequest:
    """Return the request that reads one item, consistently."""
    arguments = {"TableName": table, "Key": on_the_wire(key), "ConsistentRead": True}
    return TableRequest("get_item", {**arguments, **(options or {})})


def read_many(table: str, keys: Sequence[Item]) -> Steps[Found]:
    """Read items, consistently; returns those that there are."""
    if not keys:
        return {}
    names = keys[0].keys()
    asked = {table: {"Keys": list(map(on_the_wire, keys)), "ConsistentRead": True}}
    answer = yield from read_tables(asked)
    items = answer["Responses"].get(table, [])
    return {identity({name: item[name] for name in names}): item for item in items}


def read_tables(
    asked: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any] | None = None
) -> Steps[dict[str, Any]]:
    """Read items of several tables, a hundred at a time; what is left undone is asked for again.

    Args:
        asked: the RequestItems.
        options: further arguments.
    """
    responses: dict[str, list[Any]] = {name: [] for name in asked}
    capacity: list[Any] = []
    pairs = [(name, key) for name, one in asked.items() for key in one["Keys"]]
    for first in range(0, len(pairs), _KEYS_AT_ONCE):
        left: Any = {}
        for name, key in pairs[first : first + _KEYS_AT_ONCE]:
            left.setdefault(name, {**asked[name], "Keys": []})["Keys"].append(key)
        pause = 0.0
        while left:
            if pause:
                yield Pause(pause)
            pause = min(2 * pause, _LONGEST_PAUSE) or _SHORTEST_PAUSE
            answer: Any = yield TableRequest(
                "batch_get_item", {"RequestItems": left, **(options or {})}
            )
            for name, items in answer["Responses"].items():
                responses[name] += items
            capacity += answer.get("ConsumedCapacity", ())
            left = answer["UnprocessedKeys"]
    result: dict[str, Any] = {"Responses": responses}
    return result | ({"ConsumedCapacity": capacity} if capacity else {})
