"""DynamoDB's reads as they are on the wire: from the body of a request to that of the answer.

What these functions do not understand, or DynamoDB may refuse, they pass on.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from dynamirror.dynamodb.keys import identity
from dynamirror.errors import NotUnderstoodError
from dynamirror.expressions import Projection, read_projection
from dynamirror.reader.capacity import consumed, units
from dynamirror.reader.looking_up import Outcome, Wanted, decoded, look_up
from dynamirror.reader.mirrors import MirroredTable, Mirrors
from dynamirror.reader.querying import Page, Shape, read_in_order
from dynamirror.reader.requests import (
    QueryRequest,
    capacity_kind,
    check_members,
    check_mix,
    consistent,
    primary_key,
    query_request,
)
from dynamirror.reader.sizes import typed_size
from dynamirror.reader.source import FOREIGN
from dynamirror.reader.steps import PassedOn, Reason, Steps
from dynamirror.records.attribute_value import Item
from dynamirror.views.canary import PARTITION as CANARY_PARTITION
from dynamirror.views.view import View

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
        projection = read_projection(body)
        kind = capacity_kind(body)
    except NotUnderstoodError:
        return PassedOn(Reason.NOT_UNDERSTOOD)
    (outcome,) = yield from look_up([Wanted(table, key)])
    shown = _shown(outcome, projection)
    if isinstance(shown, Reason):
        return PassedOn(shown)
    answer: Answer = {} if shown.item is None else {"Item": shown.item}
    if kind:
        answer["ConsumedCapacity"] = consumed(kind, body["TableName"], units(shown.size))
    return answer


class _Shown(NamedTuple):
    """The answer for one key, and the size of the whole item."""

    item: Item | None
    size: int = 0


def _shown(outcome: Outcome, projection: Projection | None) -> _Shown | Reason:
    if isinstance(outcome, Reason):
        return outcome
    if outcome is None:
        return _Shown(None)
    try:
        return _Shown(projected(outcome, projection), typed_size(outcome))
    except FOREIGN:
        return Reason.VIEW


class _Asked(NamedTuple):
    """The part of a BatchGetItem for one table."""

    name: str
    body: Body
    table: MirroredTable
    keys: list[Item]
    projection: Projection | None


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
        shown = [_shown(next(outcomes), part.projection) for _ in part.keys]
        room = _add(answered, part, shown, kind, room)
    return answered if answered.responses else PassedOn(reasons[0])


def _add(
    answered: PartialBatch,
    part: _Asked,
    shown: Sequence[_Shown | Reason],
    kind: str | None,
    room: int,
) -> int:
    """Add what was found of one table's part; returns the bytes that there is still room for."""
    items: list[Item] = []
    keys: list[Any] = []
    charged = 0.0
    for given, one in zip(part.body["Keys"], shown, strict=True):
        if isinstance(one, Reason) or one.size > room:
            keys.append(given)
            answered.reasons.append(one if isinstance(one, Reason) else Reason.VIEW)
            continue
        room -= one.size
        charged += units(one.size)
        if one.item is not None:
            items.append(one.item)
    if len(keys) < len(part.keys):
        answered.responses[part.name] = items
        if kind:
            answered.capacity.append(consumed(kind, part.name, charged))
    if keys:
        answered.left[part.name] = {**part.body, "Keys": keys}
    return room


def _parts(mirrors: Mirrors, asked: Any) -> tuple[list[_Asked], dict[str, tuple[Reason, Body]]]:
    """Return the parts that the cache may answer, and those that the table must.

    Raises:
        NotUnderstoodError: DynamoDB may refuse the whole.
    """
    if not isinstance(asked, Mapping) or not asked:
        raise NotUnderstoodError("RequestItems")
    check_mix(asked.values())
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
        part = _Asked(name, body, table, read, read_projection(body))
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


def projected(item: Item, projection: Projection | None) -> Item:
    """Return the parts of an item that are asked for."""
    return item if projection is None else projection.of(item)


def query(mirrors: Mirrors, body: Body) -> Steps[Answer | PassedOn]:
    """Answer a Query."""
    table = mirrors.find(body.get("TableName"))
    if table is None:
        return PassedOn(Reason.UNKNOWN_TABLE)
    request = _request(table, body)
    if isinstance(request, Reason):
        return PassedOn(request)
    try:
        page = yield from read_in_order(table.check, request.ordered, TYPED)
        if isinstance(page, Reason):
            return PassedOn(page)
        return query_answer(request, page, body["TableName"])
    except NotUnderstoodError:
        return PassedOn(Reason.NOT_UNDERSTOOD)
    except FOREIGN:
        return PassedOn(Reason.VIEW)


def _request(table: MirroredTable, body: Body) -> QueryRequest | Reason:
    """Return a query that the cache may answer, or why it must be passed on."""
    try:
        if consistent(body):
            return Reason.CONSISTENT
        view = _view(table, body)
        if isinstance(view, Reason):
            return view
        request = query_request(body, view)
    except NotUnderstoodError:
        return Reason.NOT_UNDERSTOOD
    return _why_not(table, request) or request


def _view(table: MirroredTable, body: Body) -> View | Reason:
    name = body.get("IndexName")
    if name is not None:
        return (table.indexes.get(name) if isinstance(name, str) else None) or Reason.INDEX
    return table.by_order or table.by_key or Reason.VIEW


def _why_not(table: MirroredTable, request: QueryRequest) -> Reason | None:
    """Return why a query that was understood must be passed on."""
    view, partition = request.ordered.view, request.ordered.partition
    # The canary is in the table, and in no view.
    if partition == CANARY_PARTITION or not keeps_names(view, request):
        return Reason.VIEW
    name = view.collection.partition_name if view.collection else table.schema.keys[0]
    if table.min_time and table.min_time({name: partition}) is not None:
        return Reason.TOO_NEW
    return None


def keeps_names(view: View, request: QueryRequest) -> bool:
    """Return whether a view keeps the attributes that a query names."""
    if view.make is None:
        return True
    names = {name for part in (request.keeps, request.projection) if part for name in part.names()}
    value = {"S": ""}
    return all(view.make({name: value}).get(name) is value for name in names)


# Entries of the encoding `dynamodb-json`.
TYPED = Shape(decoded, typed_size)


def query_answer(request: QueryRequest, page: Page, table: str) -> Answer:
    """Return the answer to a query from the items that were read.

    Raises:
        NotUnderstoodError: DynamoDB's answer is not known.
    """
    kept = page.items
    if request.keeps is not None:
        kept = [item for item in kept if request.keeps.holds(item)]
    answer: Answer = {}
    if not request.is_count:
        answer["Items"] = [projected(item, request.projection) for item in kept]
    answer |= {"Count": len(kept), "ScannedCount": len(page.items)}
    if page.last is not None:
        last = page.items[-1]  # with numbers as DynamoDB spells them
        answer["LastEvaluatedKey"] = {n: last.get(n, value) for n, value in page.last.items()}
    if request.kind:
        charged = units(sum(map(typed_size, page.items)))
        answer["ConsumedCapacity"] = consumed(request.kind, table, charged, request.index_name)
    return answer
