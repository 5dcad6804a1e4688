"""The expressions of one request together, and the legacy conditions.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/LegacyConditionalParameters.html
"""

from typing import Any

import pytest

from dynamirror.expressions import (
    NotUnderstoodError,
    query_filter,
    read_projection,
    read_query,
)

KEYS = ("p", "c")
P: dict[str, Any] = {"S": "x"}
EQUAL = {"ComparisonOperator": "EQ", "AttributeValueList": [P]}
EXPRESSIONS: dict[str, Any] = {
    "KeyConditionExpression": "#p = :p",
    "FilterExpression": "#a > :a",
    "ProjectionExpression": "#a, #b",
    "ExpressionAttributeNames": {"#p": "p", "#a": "a", "#b": "b"},
    "ExpressionAttributeValues": {":p": P, ":a": {"N": "1"}},
}
LEGACY: dict[str, Any] = {
    "KeyConditions": {"p": EQUAL},
    "QueryFilter": {"a": {"ComparisonOperator": "GT", "AttributeValueList": [{"N": "1"}]}},
    "AttributesToGet": ["a", "b"],
}
ITEM: dict[str, Any] = {"p": P, "c": {"N": "1"}, "a": {"N": "2"}, "b": {"S": "b"}, "d": P}


@pytest.mark.parametrize("body", [EXPRESSIONS, LEGACY])
def test_a_query_is_read_from_expressions_and_from_their_legacy_forms(body: Any) -> None:
    query = read_query(body, KEYS, ("S", "N"))
    assert query.key.partition == ("p", P)
    assert query.key.sort is None
    assert query.filter
    assert query.filter.holds(ITEM)
    assert not query.filter.holds({**ITEM, "a": {"N": "1.0"}})
    assert query.projection
    assert query.projection.of(ITEM) == {"a": {"N": "2"}, "b": {"S": "b"}}


@pytest.mark.parametrize(
    "change",
    [
        # unused, undefined, empty or of another form
        {"ProjectionExpression": "#a"},
        {"FilterExpression": "attribute_exists(#a)"},
        {"ExpressionAttributeValues": {":p": P}},
        {"ExpressionAttributeNames": {"#p": "p", "#a": "a"}},
        {"ExpressionAttributeNames": {"#p": "p", "#a": "a", "#b": "b", "#q": "q"}},
        {"ExpressionAttributeNames": {"#p": "p", "#a": "a", "#b": "b", "b": "q"}},
        {"ExpressionAttributeNames": {}},
        {"ExpressionAttributeNames": {"#p": "p", "#a": "a", "#b": 1}},
        {"ExpressionAttributeValues": {}},
        {"ExpressionAttributeValues": {":p": P, ":a": {"N": "1"}, "#a": P}},
        {"ExpressionAttributeValues": {":p": P, ":a": {"S": "x" * (2 << 20)}}},
        # a key attribute in the filter, directly or not
        {"FilterExpression": "#a > :a AND c = :a"},
        {"FilterExpression": "#a > :a OR a = c"},
        {"FilterExpression": "#a > :a OR size(c.x) = :a"},
        # into a key attribute, which is a scalar
        {"ProjectionExpression": "#a, #b, p.x"},
        {"ProjectionExpression": "#a, #b, created[0]"},
        {"FilterExpression": "#a > :a AND attribute_not_exists(created.x)"},
        # expressions and legacy forms together
        *({name: value} for name, value in LEGACY.items()),
        {"ConditionalOperator": "AND"},
        # empty, or not there
        *({name: ""} for name in ("KeyConditionExpression", "FilterExpression")),
        {"ProjectionExpression": ""},
        {"KeyConditionExpression": None},
        {"FilterExpression": 1},
        {"ExpressionAttributeNames": ["#p"]},
        {"ExpressionAttributeValues": [":p"]},
    ],
)
def test_a_request_that_dynamodb_may_refuse_is_not_understood(change: dict[str, Any]) -> None:
    with pytest.raises(NotUnderstoodError):
        read_query({**EXPRESSIONS, **change}, KEYS, scalars=["created"])


@pytest.mark.parametrize(
    "change",
    [
        {"QueryFilter": {"p": EQUAL}},
        {"QueryFilter": {"a": EQUAL, "c": EQUAL}},
        {"ConditionalOperator": "OR"},
        {"ConditionalOperator": "or", "QueryFilter": {"a": EQUAL, "b": EQUAL}},
        {"ConditionalOperator": "AND", "QueryFilter": {}},
        {"KeyConditions": {}},
        {"AttributesToGet": ["a", "a"]},
        {"ExpressionAttributeNames": {"#a": "a"}},
        {"ExpressionAttributeValues": {":a": P}},
    ],
)
def test_a_legacy_request_that_dynamodb_may_refuse_is_not_understood(
    change: dict[str, Any],
) -> None:
    with pytest.raises(NotUnderstoodError):
        read_query({**LEGACY, **change}, KEYS)


def test_an_index_may_be_filtered_by_the_tables_key() -> None:
    body = {**EXPRESSIONS, "FilterExpression": "#a > :a AND attribute_exists(c)"}
    assert read_query(body, ("p", "created")).filter


def test_a_get_is_read_with_its_projection() -> None:
    assert read_projection({"Key": {"p": P}}) is None
    names = {"#a": "a"}
    given = {"ProjectionExpression": "#a, p", "ExpressionAttributeNames": names}
    for body in (given, {"AttributesToGet": ["a", "p"]}):
        projection = read_projection(body)
        assert projection
        assert projection.of(ITEM) == {"a": {"N": "2"}, "p": P}


@pytest.mark.parametrize(
    "body",
    [
        {"ExpressionAttributeNames": {"#a": "a"}},
        {"ProjectionExpression": "a", "ExpressionAttributeNames": {"#a": "a"}},
        {"ProjectionExpression": "a", "AttributesToGet": ["a"]},
        {"ProjectionExpression": "a", "ExpressionAttributeValues": {":a": P}},
        {"AttributesToGet": []},
        {"ProjectionExpression": "p.x"},
        {"ProjectionExpression": "a, p[0]"},
    ],
)
def test_a_get_that_dynamodb_may_refuse_is_not_understood(body: dict[str, Any]) -> None:
    with pytest.raises(NotUnderstoodError):
        read_projection(body, KEYS)


VALUES: dict[str, Any] = {
    "t": {"S": "hello"},
    "n": {"N": "5"},
    "bin": {"B": "AIBh"},
    "ns": {"NS": ["1", "2"]},
    "list": {"L": [{"N": "1"}, {"S": "x"}]},
    "nil": {"NULL": True},
    "x.y": {"S": "dotted"},
}


def legacy_holds(name: str, operator: str, *values: dict[str, Any]) -> bool:
    condition = {"ComparisonOperator": operator, "AttributeValueList": list(values)}
    return query_filter({name: condition}).holds(VALUES)


@pytest.mark.parametrize(
    ("name", "operator", "values", "expected"),
    [
        ("n", "EQ", [{"N": "5.0"}], True),
        ("n", "EQ", [{"S": "5"}], False),
        ("list", "EQ", [{"L": [{"N": "1.0"}, {"S": "x"}]}], True),
        ("n", "NE", [{"S": "5"}], True),
        ("gone", "NE", [{"S": "5"}], True),
        ("gone", "EQ", [{"S": "5"}], False),
        ("n", "LT", [{"N": "10"}], True),
        ("n", "LT", [{"S": "9"}], False),
        ("n", "BETWEEN", [{"N": "5"}, {"N": "5"}], True),
        ("n", "IN", [{"N": "1"}, {"N": "5.00"}], True),
        ("ns", "IN", [{"N": "1"}], False),
        ("gone", "IN", [{"N": "1"}], False),
        # a value of type NULL is there
        ("nil", "NULL", [], False),
        ("nil", "NOT_NULL", [], True),
        ("gone", "NULL", [], True),
        ("x.y", "NOT_NULL", [], True),
        ("t", "CONTAINS", [{"S": "ell"}], True),
        ("ns", "CONTAINS", [{"N": "2.0"}], True),
        ("list", "CONTAINS", [{"N": "1"}], True),
        ("bin", "CONTAINS", [{"B": "gGE="}], True),
        ("n", "CONTAINS", [{"N": "5"}], False),
        ("t", "NOT_CONTAINS", [{"S": "dog"}], True),
        ("t", "NOT_CONTAINS", [{"N": "1"}], True),
        ("ns", "NOT_CONTAINS", [{"N": "2"}], False),
        ("t", "BEGINS_WITH", [{"S": "he"}], True),
        ("bin", "BEGINS_WITH", [{"B": "AIA="}], True),
        ("n", "BEGINS_WITH", [{"S": "5"}], False),
    ],
)
def test_legacy_operators_mean_what_the_documentation_says(
    name: str, operator: str, values: list[dict[str, Any]], *, expected: bool
) -> None:
    # https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Condition.html
    assert legacy_holds(name, operator, *values) is expected


def test_reports_differ_on_not_contains_of_what_is_missing() -> None:
    with pytest.raises(NotUnderstoodError):
        legacy_holds("gone", "NOT_CONTAINS", {"S": "a"})


def test_the_conditional_operator_joins_legacy_conditions() -> None:
    conditions = {
        "n": {"ComparisonOperator": "EQ", "AttributeValueList": [{"N": "5"}]},
        "t": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "other"}]},
    }
    assert not query_filter(conditions).holds(VALUES)
    assert not query_filter(conditions, "AND").holds(VALUES)
    assert query_filter(conditions, "OR").holds(VALUES)  # the emulator ignores it
    assert query_filter(conditions).names() == {"n", "t"}


ONE, TEXT, SET = {"N": "1"}, {"S": "a"}, {"NS": ["1"]}


@pytest.mark.parametrize(
    ("operator", "values"),
    [
        *(("eq", [ONE]), ("DOG", [ONE]), ("EQ", []), ("EQ", [ONE, ONE]), ("NULL", [ONE])),
        *(("NOT_NULL", [ONE]), ("IN", []), ("IN", [ONE, TEXT]), ("IN", [SET]), ("LT", [SET])),
        *(("BETWEEN", [ONE]), ("BETWEEN", [ONE, TEXT]), ("BETWEEN", [{"N": "2"}, ONE])),
        *(("BEGINS_WITH", [ONE]), ("BEGINS_WITH", [{"S": ""}]), ("CONTAINS", [SET])),
        *(("CONTAINS", [{"S": ""}]), ("NOT_CONTAINS", [SET]), ("NOT_CONTAINS", [{"B": ""}])),
        *(("EQ", [{"SS": []}]), ("EQ", ["a"]), ("EQ", "a"), ("IN", [ONE] * 100)),
    ],
)
def test_legacy_conditions_that_dynamodb_may_refuse_are_not_understood(
    operator: str, values: Any
) -> None:
    condition = {"ComparisonOperator": operator, "AttributeValueList": values}
    with pytest.raises(NotUnderstoodError):
        query_filter({"a": condition})


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        [],
        {"": EQUAL},
        {"a": None},
        {"a": {}},
        {"a": {**EQUAL, "Value": ONE}},
        {"a": {"ComparisonOperator": []}},
    ],
)
def test_a_legacy_filter_of_another_form_is_not_understood(given: Any) -> None:
    with pytest.raises(NotUnderstoodError):
        query_filter(given)
