"""Reads the members of requests to DynamoDB, and refuses those that DynamoDB may refuse."""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from dynamirror.reader.capacity import KINDS
from dynamirror.reader.refusals import check_key
from dynamirror.records.attribute_value import AttributeValue, Item
from dynamirror.views.view import Schema


class NotUnderstoodError(ValueError):
    """A part of a request is not known here, or DynamoDB may refuse it."""


# Python's Decimal takes more than DynamoDB does, such as underscores and infinities.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)


def check_members(body: Mapping[str, Any], known: AbstractSet[str]) -> None:
    """Refuse a body with a member that is not known.

    Raises:
        NotUnderstoodError: it has one.
    """
    if not body.keys() <= known:
        raise NotUnderstoodError(f"members {', '.join(sorted(body.keys() - known))}")


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
    if tag == "B" and isinstance(content, str):
        try:
            b64decode(content, validate=True)
        except ValueError:
            raise NotUnderstoodError(name) from None
    elif not isinstance(content, str):
        raise NotUnderstoodError(name)
    if tag == "N" and not _NUMBER.fullmatch(content):
        raise NotUnderstoodError(name)
    try:
        reason = check_key(name, value, place)
    except ValueError:
        raise NotUnderstoodError(name) from None
    if reason:
        raise NotUnderstoodError(reason)


def projection(body: Mapping[str, Any]) -> Callable[[Item], Item] | None:
    """Return the function that keeps the attributes a body asks for; None for all of them.

    Raises:
        NotUnderstoodError: the projection is not understood.
    """
    if body.keys() & {"AttributesToGet", "ExpressionAttributeNames", "ProjectionExpression"}:
        raise NotUnderstoodError("a projection")
    return None
