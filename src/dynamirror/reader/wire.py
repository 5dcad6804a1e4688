"""DynamoDB's reads as they are on the wire: from the body of a request to that of the answer.

What these functions do not understand, or DynamoDB may refuse, they pass on.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from dynamirror.dynamodb.keys import identity
from dynamirror.reader.capacity import consumed, units
from dynamirror.reader.looking_up import Wanted, look_up
from dynamirror.reader.mirrors import MirroredTable, Mirrors
from dynamirror.reader.requests import (
    NotUnderstoodError,
    capacity_kind,
    check_members,
    consistent,
    primary_key,
    projection,
)
from dynamirror.reader.sizes import typed_size
from dynamirror.reader.steps import PassedOn, Reason, Steps
from dynamirror.records.attribute_value import Item

Body: TypeAlias = Mapping[str, Any]
Answer: TypeAlias = dict[str, Any]

# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
_MOST_KEYS = 100
_MOST_BYTES = 16 << 20
_PROJECTION = frozenset({"AttributesToGet", "ExpressionAttributeNames", "ProjectionExpression"})
_GET = _PROJECTION | {"ConsistentRead", "Key", "ReturnConsumedCapacity", "TableName"}
_BATCH = frozenset({"RequestItems", "ReturnConsumedCapacity"})
_BATCH_OF_TABLE = _PROJECTION | {"ConsistentRead", "Keys"}


class PartialBatch(NamedTuple):
    """What the cache answers of a BatchGetItem.

    Args:
        responses: items by table; every table of the request that is not in `left` as a whole.
        left: the RequestItems that the table must still be asked for; empty if there are none.
        units: what DynamoDB would have charged for what was answered, by table; empty if the
            request does not ask for it.
        reasons: why keys are left, in no order.
        capacity: `ConsumedCapacity` of what was answered; empty if it is not asked for.
    """

    responses: dict[str, list[Item]]
    left: dict[str, Any]
    reasons: list[Reason]
    capacity: list[Answer]

    @property
    def body(self) -> Answer:
        """Return the answer's body, where nothing is left."""
        body: Answer = {"Responses": self.responses, "UnprocessedKeys": {}}
        return body | ({"ConsumedCapacity": self.capacity} if self.capacity else {})


def get_item(mirrors: Mirrors, body: Body) -> Steps[Answer | PassedOn]:
    """Answer a GetItem."""
    table = mirrors.find(body.get("TableName"))
    if table is None:
        return PassedOn(Reason.UNKNOWN_TABLE)
    try:
        if consistent(body):
            return PassedOn(Reason.CONSISTENT)
        check_members(body, _GET)
        key = primary_key(body.get("Key"), table.schema)
        project = projection(body)
        kind = capacity_kind(body)
    except NotUnderstoodError:
        return PassedOn(Reason.NOT_UNDERSTOOD)
    (item,) = yield from look_up([Wanted(table, key)])
    if isinstance(item, Reason):
        return PassedOn(item)
    answer: Answer = {} if item is None else {"Item": project(item) if project else item}
    if kind:
        charged = units(typed_size(item or {}))
        answer["ConsumedCapacity"] = consumed(kind, body["TableName"], charged)
    return answer


class _Asked(NamedTuple):
    """The part of a BatchGetItem for one table."""

    name: str
    body: Body
    table: MirroredTable
    keys: list[Item]
    project: Any


def batch_get_item(mirrors: Mirrors, body: Body) -> Steps[PartialBatch | PassedOn]:
    """Answer a BatchGetItem, or part of it."""
    try:
        check_members(body, _BATCH)
        kind = capacity_kind(body)
        parts, left = _parts(mirrors, body.get("RequestItems"))
    except NotUnderstoodError:
        return PassedOn(Reason.NOT_UNDERSTOOD)
    reasons = [reason for reason, _ in left.values()]
    if not parts:
        return PassedOn(reasons[0])
    outcomes = iter(
        (yield from look_up([Wanted(part.table, key) for part in parts for key in part.keys]))
    )
    answered = PartialBatch({}, {name: asked for name, (_, asked) in left.items()}, reasons, [])
    room = _MOST_BYTES
    for part in parts:
        items: list[Item] = []
        keys: list[Any] = []
        charged = 0.0
        for given in part.body["Keys"]:
            item = next(outcomes)
            size = typed_size(item) if isinstance(item, dict) else 0
            room -= size
            if isinstance(item, Reason) or room < 0:
                keys.append(given)
                reasons.append(item if isinstance(item, Reason) else Reason.VIEW)
                continue
            charged += units(size)
            if item is not None:
                items.append(part.project(item) if part.project else item)
        if len(keys) < len(part.keys):
            answered.responses[part.name] = items
            if kind:
                answered.capacity.append(consumed(kind, part.name, charged))
        if keys:
            answered.left[part.name] = {**part.body, "Keys": keys}
    return answered if answered.responses else PassedOn(reasons[0])


def _parts(mirrors: Mirrors, asked: Any) -> tuple[list[_Asked], dict[str, tuple[Reason, Body]]]:
    """Return the parts that the cache may answer, and those that the table must.

    Raises:
        NotUnderstoodError: DynamoDB may refuse the whole.
    """
    if not isinstance(asked, Mapping) or not asked:
        raise NotUnderstoodError("RequestItems")
    parts: list[_Asked] = []
    left: dict[str, tuple[Reason, Body]] = {}
    count = 0
    for name, body in asked.items():
        keys = body.get("Keys") if isinstance(body, Mapping) else None
        if not isinstance(keys, list) or not keys:
            raise NotUnderstoodError("Keys")
        count += len(keys)
        table = mirrors.find(name)
        if table is None:
            left[name] = Reason.UNKNOWN_TABLE, body
            continue
        check_members(body, _BATCH_OF_TABLE)
        read = [primary_key(key, table.schema) for key in keys]
        _check_distinct(read)
        part = _Asked(name, body, table, read, projection(body))
        if consistent(body):
            left[name] = Reason.CONSISTENT, body
        else:
            parts.append(part)
    tables = [part.table for part in parts]
    if count > _MOST_KEYS or len({id(table) for table in tables}) < len(tables):
        raise NotUnderstoodError("RequestItems")
    return parts, left


def _check_distinct(keys: Iterable[Item]) -> None:
    read = list(keys)
    if len({identity(key) for key in read}) < len(read):
        raise NotUnderstoodError("a key comes twice")
