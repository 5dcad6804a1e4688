"""All expressions of one request, with the rules that concern them together."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from dynamirror.errors import NotUnderstoodError
from dynamirror.expressions.condition import Condition, parse_condition
from dynamirror.expressions.key_condition import KeyCondition, parse_key_condition
from dynamirror.expressions.legacy import attributes_to_get, key_conditions, query_filter
from dynamirror.expressions.projection import Projection, parse_projection

_NAMES: Final = "ExpressionAttributeNames"
_VALUES: Final = "ExpressionAttributeValues"
_EXPRESSIONS: Final = ("KeyConditionExpression", "FilterExpression", "ProjectionExpression")
_LEGACY: Final = ("KeyConditions", "QueryFilter", "AttributesToGet", "ConditionalOperator")
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
_MOST_BYTES: Final = 2 << 20
_is_placeholder = re.compile(r"[#:][A-Za-z0-9_]{1,254}").fullmatch


class QueryExpressions(NamedTuple):
    """What a query asks for.

    Args:
        key: the condition on the key, in the order of the key schema.
        filter: the condition on the other attributes, if there is one.
        projection: the parts to return; None for whole items.
    """

    key: KeyCondition
    filter: Condition | None
    projection: Projection | None


class _Parsed(Protocol):
    @property
    def placeholders(self) -> frozenset[str]: ...


def read_query(
    body: Mapping[str, Any],
    keys: Sequence[str],
    types: Sequence[str] = (),
    scalars: Iterable[str] = (),
) -> QueryExpressions:
    """Read the expressions of a Query, or their legacy forms.

    Args:
        body: the request.
        keys: names of the key attributes of the table or index that is queried.
        types: their type tags, if known.
        scalars: key attributes of the table and of all its indexes.

    Raises:
        NotUnderstoodError: they are not understood, or DynamoDB may refuse them.
    """
    _check_mix(body)
    names, values = body.get(_NAMES), body.get(_VALUES)
    key_text, filter_text = body.get("KeyConditionExpression"), body.get("FilterExpression")
    if key_text is not None:
        key = parse_key_condition(key_text, names, values)
    else:
        key = key_conditions(body.get("KeyConditions"))
    condition = None
    if filter_text is not None:
        condition = parse_condition(filter_text, names, values)
    elif body.get("QueryFilter"):
        condition = query_filter(body["QueryFilter"], body.get("ConditionalOperator"))
    elif body.get("ConditionalOperator") is not None:
        raise NotUnderstoodError("ConditionalOperator is for two conditions and more")
    projection = _projection(body)
    check_placeholders(names, values, (key, condition, projection))
    if condition:
        check_filter(condition, keys)
    check_scalars((condition, projection), (*keys, *scalars))
    return QueryExpressions(key.for_keys(keys, types), condition, projection)


def read_projection(body: Mapping[str, Any], scalars: Iterable[str] = ()) -> Projection | None:
    """Read the projection of a GetItem, or of one table in a BatchGetItem; None for whole items.

    Args:
        body: the request, or its part for the table.
        scalars: key attributes of the table and of all its indexes.

    Raises:
        NotUnderstoodError: it is not understood, or DynamoDB may refuse it.
    """
    _check_mix(body)
    projection = _projection(body)
    check_placeholders(body.get(_NAMES), body.get(_VALUES), (projection,))
    check_scalars((projection,), scalars)
    return projection


def check_placeholders(
    names: object, values: object, expressions: Iterable[_Parsed | None]
) -> None:
    """Check that all names and values of a request are used, and not too large.

    Raises:
        NotUnderstoodError: DynamoDB may refuse them.
    """
    if names is None and values is None:
        return
    given: set[str] = set()
    for placeholders, sign in ((names, "#"), (values, ":")):
        if placeholders is None:
            continue
        if not isinstance(placeholders, Mapping) or not placeholders:
            raise NotUnderstoodError("a request's names and values must not be empty")
        if not all(name[:1] == sign and _is_placeholder(name) for name in placeholders):
            raise NotUnderstoodError("a request has a placeholder of another form")
        given.update(placeholders)
    used = frozenset[str]().union(*(each.placeholders for each in expressions if each))
    if not given <= used:
        raise NotUnderstoodError("a request has names or values that no expression uses")
    # In JSON they are never smaller than as DynamoDB counts them.
    if len(msgspec.json.encode((names, values))) > _MOST_BYTES:
        raise NotUnderstoodError("a request's names and values are too large")


def check_filter(condition: Condition, keys: Iterable[str]) -> None:
    """Check that a filter reads none of the key attributes of what is queried.

    Raises:
        NotUnderstoodError: it does.
    """
    if not condition.names().isdisjoint(keys):
        raise NotUnderstoodError("a filter reads a key attribute")


def check_scalars(
    expressions: Iterable[Condition | Projection | None], attributes: Iterable[str]
) -> None:
    """Check that no expression reads into a key attribute, which is a scalar.

    Args:
        expressions: those of one request.
        attributes: key attributes of the table and of all its indexes.

    Raises:
        NotUnderstoodError: one does.
    """
    keys = tuple(attributes)
    if not all(each is None or each.nested.isdisjoint(keys) for each in expressions):
        raise NotUnderstoodError("an expression reads into a key attribute")


def _projection(body: Mapping[str, Any]) -> Projection | None:
    text, listed = body.get("ProjectionExpression"), body.get("AttributesToGet")
    if text is not None:
        return parse_projection(text, body.get(_NAMES))
    return attributes_to_get(listed) if listed is not None else None


def _check_mix(body: Mapping[str, Any]) -> None:
    legacy = any(body.get(name) is not None for name in _LEGACY)
    if legacy and any(body.get(name) is not None for name in _EXPRESSIONS):
        raise NotUnderstoodError("a request mixes expressions with their legacy forms")
