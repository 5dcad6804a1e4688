"""Reads the members of requests to DynamoDB, and refuses those that DynamoDB may refuse."""

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from dynamirror.errors import NotUnderstoodError, RecordError
from dynamirror.expressions import Condition, KeyCondition, Projection, read_query
from dynamirror.expressions.values import is_base64
from dynamirror.reader.capacity import KINDS, consumed
from dynamirror.reader.querying import Ordered
from dynamirror.reader.refusals import check_key
from dynamirror.records.attribute_value import AttributeValue, Item
from dynamirror.records.key_codec import key_text
from dynamirror.views.ranges import Range
from dynamirror.views.view import Schema, View

_QUERY = frozenset(
    {
        "AttributesToGet",
        "ConditionalOperator",
        "ConsistentRead",
        "ExclusiveStartKey",
        "ExpressionAttributeNames",
        "ExpressionAttributeValues",
        "FilterExpression",
        "IndexName",
        "KeyConditionExpression",
        "KeyConditions",
        "Limit",
        "ProjectionExpression",
        "QueryFilter",
        "ReturnConsumedCapacity",
        "ScanIndexForward",
        "Select",
        "TableName",
    }
)
_MOST_ITEMS = 2**31 - 1  # DynamoDB reads Limit as an integer of 32 bits
_KEY_TYPES = frozenset({"S", "N", "B"})
# Python's Decimal takes more than DynamoDB does, such as underscores and infinities.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)


def check_members(body: Mapping[str, Any], known: AbstractSet[str]) -> None:
    """Refuse a body with a member that is not known.

    Raises:
        NotUnderstoodError: it has one.
    """
    if not body.keys() <= known:
        raise NotUnderstoodError(f"members {', '.join(sorted(body.keys() - known))}")


def check_mix(bodies: Iterable[Any]) -> None:
    """Refuse a batch with expressions for one table beside their older forms for another.

    Raises:
        NotUnderstoodError: DynamoDB refuses them.
    """
    members = {name for body in bodies if isinstance(body, Mapping) for name in body}
    if "AttributesToGet" in members and "ProjectionExpression" in members:
        raise NotUnderstoodError("expressions and their older forms")


def consistent(body: Mapping[str, Any]) -> bool:
    """Return whether a body asks for a consistent read.

    Raises:
        NotUnderstoodError: the member is no truth value.
    """
    return flag(body, "ConsistentRead", default=False)


def flag(body: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """Return a truth value of a body.

    Raises:
        NotUnderstoodError: the member is none.
    """
    value = body.get(name, default)
    if type(value) is not bool:
        raise NotUnderstoodError(name)
    return value


def capacity_kind(body: Mapping[str, Any]) -> str | None:
    """Return how the consumed capacity is to be reported; None for not at all.

    Raises:
        NotUnderstoodError: DynamoDB knows no such way.
    """
    kind = body.get("ReturnConsumedCapacity")
    if kind not in KINDS:
        raise NotUnderstoodError("ReturnConsumedCapacity")
    return None if kind == "NONE" else kind


def primary_key(given: Any, schema: Schema) -> Item:
    """Return a primary key as it is given, partition key first.

    Raises:
        NotUnderstoodError: DynamoDB would refuse it.
    """
    if not isinstance(given, Mapping) or given.keys() != set(schema.keys):
        raise NotUnderstoodError("a key does not match the schema")
    key = {name: given[name] for name in schema.keys}
    for place, (name, tag) in enumerate(zip(schema.keys, schema.types, strict=True)):
        check_value(name, key[name], tag, place)
    return key


def check_value(name: str, value: AttributeValue, tag: str, place: int) -> None:
    """Check that a value can be that of a key attribute.

    Args:
        name: of the attribute.
        value: the value.
        tag: the attribute's type: S, N or B.
        place: 0 for a partition key, 1 for a sort key.

    Raises:
        NotUnderstoodError: DynamoDB would refuse it.
    """
    content = value.get(tag) if isinstance(value, Mapping) and len(value) == 1 else None
    if not isinstance(content, str):
        raise NotUnderstoodError(name)
    if (tag == "N" and not _NUMBER.fullmatch(content)) or (tag == "B" and not is_base64(content)):
        raise NotUnderstoodError(name)
    try:
        reason = check_key(name, value, place)
    except ValueError:
        raise NotUnderstoodError(name) from None
    if reason:
        raise NotUnderstoodError(reason)


class NoIndexError(NotUnderstoodError):
    """The view has no index that lists the items of a partition."""


class QueryRequest(NamedTuple):
    """A query that was understood.

    Args:
        ordered: the entries to read.
        keeps: the condition on items besides that on their keys; None for none.
        projection: the parts of items to return; None for whole items.
        is_count: whether their number alone is wanted.
        kind: how the consumed capacity is to be reported; None for not at all.
        index_name: the index that is named; None for the table.
        placeholders: those of the condition on the keys.
    """

    ordered: Ordered
    keeps: Condition | None
    projection: Projection | None
    is_count: bool
    kind: str | None
    index_name: str | None
    placeholders: frozenset[str]

    @property
    def is_kept(self) -> bool:
        """Return whether the view keeps the attributes that the query names."""
        make = self.ordered.view.make
        if make is None:
            return True
        value = {"S": ""}
        names = self.keeps.names() if self.keeps else frozenset[str]()
        names |= self.projection.names() if self.projection else frozenset()
        return all(make({name: value}).get(name) is value for name in names)

    @property
    def is_whole_count(self) -> bool:
        """Return whether the index alone tells the answer: the number of all its entries."""
        ordered = self.ordered
        is_part = self.keeps is not None or ordered.limit is not None or ordered.start is not None
        return self.is_count and not is_part and not self.kind and ordered.view.ttl is None

    def consumed(self, table: str, charged: float) -> Any:
        """Return `ConsumedCapacity`; None if it is not asked for.

        Args:
            table: the table, as the request names it.
            charged: units.
        """
        is_local = self.index_name in self.ordered.view.schema.local_indexes
        return consumed(self.kind, table, charged, self.index_name, is_local=is_local)


def query_request(body: Mapping[str, Any], view: View) -> QueryRequest:
    """Read the body of a Query that a view shall answer.

    Args:
        body: the body.
        view: the view.

    Raises:
        NotUnderstoodError: it is not understood, or DynamoDB may refuse it.
    """
    check_members(body, _QUERY)
    collection, schema = view.collection, view.schema
    names: Sequence[str] = schema.keys
    if collection is not None:
        names = tuple(filter(None, (collection.partition_name, collection.sort_name)))
    expressions = read_query(body, names, schema.types_of(names), schema.scalars)
    key, projection = expressions.key, expressions.projection
    is_count = _is_count(body, view, projection)
    limit = body.get("Limit")
    if limit is not None and (type(limit) is not int or not 1 <= limit <= _MOST_ITEMS):
        raise NotUnderstoodError("Limit")
    partition = key.partition[1]
    operator, operands = (key.sort.operator, key.sort.operands) if key.sort else ("", ())
    forward = flag(body, "ScanIndexForward", default=True)
    members, only = Range(), None
    try:
        if collection is None:
            only = _only_key(key, schema)
        else:
            members = collection.range_of(operator, operands)
        ordered = Ordered(view, partition, members, only, forward, limit)
        if body.get("ExclusiveStartKey") is not None:
            ordered = ordered._replace(start=_start(body, ordered, names))
    except RecordError as error:
        raise NotUnderstoodError(str(error)) from None
    return QueryRequest(
        ordered,
        expressions.filter,
        projection,
        is_count,
        capacity_kind(body),
        body.get("IndexName"),
        key.placeholders,
    )


def _is_count(body: Mapping[str, Any], view: View, projection: Projection | None) -> bool:
    """Return whether the number of items alone is wanted, and check what else may be."""
    select, is_indexed = body.get("Select"), body.get("IndexName") is not None
    if projection is not None:
        allowed = select in (None, "SPECIFIC_ATTRIBUTES")
    elif select == "ALL_ATTRIBUTES":
        allowed = not is_indexed or view.make is None
    elif select == "ALL_PROJECTED_ATTRIBUTES":
        allowed = is_indexed
    else:
        allowed = select in (None, "COUNT")
    if not allowed:
        raise NotUnderstoodError("Select")
    return bool(select == "COUNT")


def _only_key(key: KeyCondition, schema: Schema) -> Item:
    """Return the primary key that a condition determines."""
    name, value = key.partition
    only = {name: value}
    if key.sort is not None and key.sort.operator == "=":
        only[key.sort.name] = key.sort.operands[0]
    if len(only) < len(schema.keys):
        raise NoIndexError("no index lists the items of a partition")
    return only


def _start(body: Mapping[str, Any], ordered: Ordered, names: Sequence[str]) -> bytes:
    """Return the member after which to begin."""
    given, view = body["ExclusiveStartKey"], ordered.view
    schema, collection = view.schema, view.collection
    known = dict.fromkeys((*names, *schema.keys))
    if not isinstance(given, Mapping) or given.keys() != known.keys():
        raise NotUnderstoodError("ExclusiveStartKey")
    start = {name: given[name] for name in known}
    primary_key({name: start[name] for name in schema.keys}, schema)
    for place, (name, tag) in enumerate(zip(names, schema.types_of(names), strict=True)):
        own = next(iter(start[name]), "") if isinstance(start[name], Mapping) else ""
        if own not in _KEY_TYPES:
            raise NotUnderstoodError("ExclusiveStartKey")
        check_value(name, start[name], tag or own, place)
    if not _is_same(start[names[0]], ordered.partition):
        raise NotUnderstoodError("ExclusiveStartKey is of another partition")
    if collection is None:
        if ordered.key is None or not all(_is_same(start[n], v) for n, v in ordered.key.items()):
            raise NotUnderstoodError("ExclusiveStartKey is outside the range")
        return b""
    member = collection.member(start)
    if not ordered.members.holds(member):
        raise NotUnderstoodError("ExclusiveStartKey is outside the range")
    return member


def _is_same(one: AttributeValue, other: AttributeValue) -> bool:
    return one.keys() == other.keys() and key_text(one) == key_text(other)
