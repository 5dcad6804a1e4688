"""Key conditions, as expressions and in the legacy form.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.KeyConditionExpressions.html
"""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.generated_expressions import Expressions, Partition, Value, ordered

from dynamirror.expressions import (
    KeyCondition,
    NotUnderstoodError,
    SortCondition,
    key_conditions,
    parse_key_condition,
    read_query,
)

P = {"S": "x"}
C = {"N": "3"}
VALUES: dict[str, Any] = {
    ":p": P,
    ":c": C,
    ":d": {"N": "5"},
    ":s": {"S": "a"},
    ":b": {"B": "AA=="},
    ":flag": {"BOOL": True},
    ":empty": {"S": ""},
}
NAMES = {"#p": "p", "#c": "c", "#dotted": "p.q"}


def parsed(text: str) -> KeyCondition:
    return parse_key_condition(text, NAMES, VALUES)


@pytest.mark.parametrize(
    "text",
    ["p = :p", ":p = p", " #p=:p ", "(p = :p)", "p = :p and c = :c", "c = :c AND p = :p"],
)
def test_the_partition_key_is_found_in_any_order(text: str) -> None:
    condition = parsed(text).for_keys(("p", "c"), ("S", "N"))
    assert condition.partition == ("p", P)
    assert condition.sort == (SortCondition("c", "=", (C,)) if "c" in text else None)


@pytest.mark.parametrize(
    ("text", "operator", "operands"),
    [
        ("p = :p AND c < :c", "<", (C,)),
        ("p = :p AND :c < c", ">", (C,)),
        (":c >= c AND p = :p", "<=", (C,)),
        ("p = :p AND (:c = c)", "=", (C,)),
        ("((c <= :c) AND (p = :p))", "<=", (C,)),
        ("p = :p AnD #c bEtWeEn :c aNd :d", "BETWEEN", (C, {"N": "5"})),
        ("c BETWEEN :c AND :d AND p = :p", "BETWEEN", (C, {"N": "5"})),
        ("p = :p AND begins_with(c, :s)", "begins_with", ({"S": "a"},)),
        ("begins_with ( c , :b ) AND p = :p", "begins_with", ({"B": "AA=="},)),
    ],
)
def test_the_sort_key_has_one_condition(
    text: str, operator: str, operands: tuple[Any, ...]
) -> None:
    condition = parsed(text).for_keys(("p", "c"))
    assert condition.partition == ("p", P)
    assert condition.sort == SortCondition("c", operator, operands)


@pytest.mark.parametrize(
    "text",
    [
        *("p < :p", "p = :p OR c = :c", "NOT p = :p", "p = :p AND c <> :c", "p = :p AND c IN (:c)"),
        *("p = :p AND p = :p", "p = :p AND c > :c AND c < :d", "p = :p AND c = :c AND d = :d"),
        *("c > :c", "p = c", ":p = :p", "p", "p = :p AND NOT c = :c", "p = :p AND p.q = :c"),
        *(
            "p = :p AND attribute_exists(c)",
            "p = :p AND size(c) = :c",
            "p = :p AND contains(c, :s)",
        ),
        *(
            "p = :p AND c BETWEEN :d AND :c",
            "p = :p AND c BETWEEN :c AND :s",
            "p = :p AND c = :flag",
        ),
        *("p = :p AND begins_with(c, :c)", "p = :p AND begins_with(c, :empty)", "p = :empty"),
        *("p = :p AND BEGINS_WITH(c, :s)", "p = :p AND begins_with(:s, c)", "p[0] = :p"),
        *(
            "((p = :p))",
            "p = :p AND ((c = :c))",
            "p = :p AND :c BETWEEN c AND :d",
            "p BETWEEN :p AND :p",
        ),
    ],
)
def test_what_dynamodb_may_refuse_is_not_understood(text: str) -> None:
    with pytest.raises(NotUnderstoodError):
        parsed(text)


@pytest.mark.parametrize(
    ("text", "names", "types"),
    [
        ("p = :p", ("q", "c"), ()),
        ("p = :p AND c = :c", ("p",), ()),
        ("p = :p AND c = :c", ("p", "d"), ()),
        ("p = :p AND c < :c", ("c", "p"), ()),
        ("#dotted = :p", ("p",), ()),
        ("p = :p", ("p",), ("N",)),
        ("p = :p AND c = :s", ("p", "c"), ("S", "N")),
    ],
)
def test_a_condition_on_another_key_is_not_understood(
    text: str, names: tuple[str, ...], types: tuple[str, ...]
) -> None:
    with pytest.raises(NotUnderstoodError):
        parsed(text).for_keys(names, types)


@pytest.mark.parametrize(
    ("partition", "sort", "fits"),
    [
        ("x" * 2048, "x" * 1024, True),
        ("x" * 2049, "x", False),
        ("x", "x" * 1025, False),
        ("é" * 1025, "x", False),
        ("x", "é" * 512, True),
    ],
)
def test_a_key_is_not_longer_than_dynamodb_allows(partition: str, sort: str, *, fits: bool) -> None:
    values = {":p": {"S": partition}, ":c": {"S": sort}}
    condition = parse_key_condition("p = :p AND c > :c", None, values)
    if fits:
        assert condition.for_keys(("p", "c")).sort
    else:
        with pytest.raises(NotUnderstoodError):
            condition.for_keys(("p", "c"))


def _legacy(operator: str, *values: Value) -> Value:
    return {"ComparisonOperator": operator, "AttributeValueList": list(values)}


def test_legacy_key_conditions_become_the_same() -> None:
    equal = _legacy("EQ", P)
    assert key_conditions({"p": equal}) == KeyCondition(("p", P))
    for operator, sign in {"LE": "<=", "LT": "<", "GE": ">=", "GT": ">", "EQ": "="}.items():
        condition = key_conditions({"c": _legacy(operator, C), "p": equal}).for_keys(("p", "c"))
        assert condition == KeyCondition(("p", P), SortCondition("c", sign, (C,)))
    between = key_conditions({"p": equal, "c": _legacy("BETWEEN", C, {"N": "4"})})
    assert between.sort == SortCondition("c", "BETWEEN", (C, {"N": "4"}))
    begins = key_conditions({"p": equal, "c": _legacy("BEGINS_WITH", {"S": "a"})})
    assert begins.sort == SortCondition("c", "begins_with", ({"S": "a"},))


@pytest.mark.parametrize(
    "given",
    [
        *(None, {}, [], {"p": {}}, {"p": {"ComparisonOperator": "EQ"}}, {"p": _legacy("eq", P)}),
        *({"p": _legacy("EQ", P, P)}, {"p": _legacy("NE", P)}, {"p": _legacy("IN", P)}),
        *({"p": _legacy("NULL")}, {"p": _legacy("CONTAINS", P)}, {"p": _legacy("GT", P)}),
        *({"p": _legacy("EQ", {"L": []})}, {"p": {**_legacy("EQ", P), "Exists": True}}),
        {"p": _legacy("EQ", P), "c": _legacy("BETWEEN", {"N": "4"}, C)},
        {"p": _legacy("EQ", P), "c": _legacy("BEGINS_WITH", C)},
        {"p": _legacy("EQ", P), "c": _legacy("EQ", C), "d": _legacy("EQ", C)},
    ],
)
def test_legacy_key_conditions_that_dynamodb_may_refuse_are_not_understood(given: Any) -> None:
    with pytest.raises(NotUnderstoodError):
        key_conditions(given)


@given(st.integers(0, 2**32).map(Random))
def test_a_key_condition_selects_what_the_emulator_selects(
    partition: Partition, random: Random
) -> None:
    made = Expressions(random, partition.items)
    equal = f"{made.name('pk')} = {made.constant({'S': 'p'})}"
    sort, low = made.name("sk"), made.constant({"N": str(random.randint(-1, 41))})
    sign = random.choice(["=", "<", "<=", ">", ">=", "BETWEEN"])
    if sign == "BETWEEN":
        high = made.constant({"N": "25.5"}) if ordered(made.values[low]) < 25 else low
        text = f"{sort} BETWEEN {low} AND {high}"
    else:
        text = random.choice([f"{sort} {sign} {low}", f"({low} {sign} {sort})"])
    parts = random.sample([equal, text], 2)
    body = {
        "TableName": "expressions",
        "KeyConditionExpression": " AND ".join(parts),
        **made.placeholders(),
    }
    sort_condition = read_query(body, ("pk", "sk"), ("S", "N")).key.sort
    assert sort_condition
    found = [item for item in partition.items if _fits(sort_condition, item["sk"])]
    assert partition.requests.call("Query", body) == (200, _answer(found))


def _fits(condition: SortCondition, value: Value) -> bool:
    """Return whether a value is in the range, written down independently."""
    number, edges = ordered(value), [ordered(dict(operand)) for operand in condition.operands]
    return bool(
        {
            "=": number == edges[0],
            "<": number < edges[0],
            "<=": number <= edges[0],
            ">": number > edges[0],
            ">=": number >= edges[0],
            "BETWEEN": edges[0] <= number <= edges[-1],
        }[condition.operator]
    )


def _answer(items: list[Value]) -> Value:
    return {"Items": items, "Count": len(items), "ScannedCount": len(items)}
