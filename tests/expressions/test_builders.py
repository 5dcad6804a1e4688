"""Expressions are understood as the builders of libraries write them."""

from typing import Any

import pytest
from boto3.dynamodb.conditions import Attr, ConditionExpressionBuilder, Key

from dynamirror.expressions import parse_condition, parse_key_condition

ITEM: dict[str, Any] = {
    "n": {"N": "3"},
    "s": {"S": "hello"},
    "name": {"M": {"first": {"L": [{"S": "Ada"}]}}},
    "tags": {"SS": ["a", "b"]},
}


def wire(value: Any) -> dict[str, Any]:
    return {"N": str(value)} if isinstance(value, int) else {"S": value}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Attr("n").eq(3), True),
        (Attr("n").ne(3), False),
        (Attr("n").lt(4) & Attr("n").lte(3) & Attr("n").gt(2) & Attr("n").gte(3), True),
        (Attr("n").between(1, 3) | Attr("n").eq(9), True),
        (~Attr("n").is_in([1, 2]), True),
        (~(~Attr("n").eq(3)), True),
        (~(Attr("n").eq(3) & (Attr("s").eq("x") | Attr("s").begins_with("he"))), False),
        (Attr("name.first[0]").contains("d") & Attr("tags").contains("a"), True),
        (Attr("name.first").size().eq(1) & Attr("s").size().between(5, 6), True),
        (Attr("gone").not_exists() & Attr("n").exists() & Attr("n").attribute_type("N"), True),
    ],
)
def test_conditions_of_boto3_are_understood(condition: Any, *, expected: bool) -> None:
    built = ConditionExpressionBuilder().build_expression(condition)
    values = {name: wire(value) for name, value in built.attribute_value_placeholders.items()}
    names = built.attribute_name_placeholders
    assert parse_condition(built.condition_expression, names, values).holds(ITEM) is expected


@pytest.mark.parametrize(
    ("condition", "operator"),
    [
        (Key("p").eq("x"), None),
        (Key("p").eq("x") & Key("c").eq(1), "="),
        (Key("p").eq("x") & Key("c").lt(1), "<"),
        (Key("p").eq("x") & Key("c").between(1, 2), "BETWEEN"),
        (Key("c").begins_with("a") & Key("p").eq("x"), "begins_with"),
    ],
)
def test_key_conditions_of_boto3_are_understood(condition: Any, operator: str | None) -> None:
    built = ConditionExpressionBuilder().build_expression(condition, is_key_condition=True)
    values = {name: wire(value) for name, value in built.attribute_value_placeholders.items()}
    key = parse_key_condition(built.condition_expression, built.attribute_name_placeholders, values)
    found = key.for_keys(("p", "c"))
    assert found.partition == ("p", {"S": "x"})
    assert (found.sort.operator if found.sort else None) == operator


@pytest.mark.parametrize(
    "text",
    [
        # PynamoDB
        "(#0 = :0 AND begins_with (#1, :1))",
        "((#0 < :0 OR attribute_exists (#0)) AND (NOT contains (#1, :1)))",
        "(size (#1) > :0 AND #0 IN (:0, :0))",
        # aws-sdk-go's expression package, and dynamodb-toolbox
        "(#0 = :0) AND ((#1 = :1) OR (NOT (attribute_not_exists (#0))))",
        "(#0 BETWEEN :0 AND :0) OR (size (#1) >= :0)",
        "((#0 = :0) OR (#1 = :1)) AND (#0 <> :0)",
    ],
)
def test_conditions_of_other_builders_are_understood(text: str) -> None:
    values = {":0": {"N": "3"}, ":1": {"S": "he"}}
    assert parse_condition(text, {"#0": "n", "#1": "s"}, values).names() <= {"n", "s"}
