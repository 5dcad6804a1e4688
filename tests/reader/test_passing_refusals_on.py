"""What DynamoDB refuses is passed on before the cache is asked, so that DynamoDB refuses it."""

from typing import Any

import pytest
from tests.support.generated_expressions import Value

from dynamirror.reader import wire
from dynamirror.reader.mirrors import MirroredTable, Mirrors
from dynamirror.reader.steps import PassedOn, Reason
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.index import IndexSpec
from dynamirror.views.view import Schema, ViewSpec, bind_views

PLAIN = ViewSpec(name="plain", encoding=DYNAMODB_JSON, collection=True)
GROUPED = ViewSpec(name="by-group", encoding=DYNAMODB_JSON, index=IndexSpec("grp", "num"))
SCHEMAS = (
    Schema("numbers", ("pk", "sk"), ("S", "N")),
    Schema("bytes", ("pk", "sk"), ("S", "B")),
    Schema("indexed", ("pk", "sk"), ("S", "N"), (("grp", "S"), ("num", "N")), ("by-group",)),
)
VALUES: Value = {":p": {"S": "p"}}
QUERY: Value = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": VALUES}
GROUP: Value = {
    "IndexName": "by-group",
    "KeyConditionExpression": "grp = :p",
    "ExpressionAttributeValues": VALUES,
}


def is_passed_on(operation: Any, body: Value, table: str = "numbers") -> bool:
    """Return whether a request goes to DynamoDB at once, not understood."""
    mirrors = Mirrors(MirroredTable(one, bind_views((PLAIN, GROUPED), one)) for one in SCHEMAS)
    try:
        name = {} if "RequestItems" in body else {"TableName": table}
        next(operation(mirrors, {**name, **body}))
    except StopIteration as stop:
        return bool(stop.value == PassedOn(Reason.NOT_UNDERSTOOD))
    return False  # the cache is asked


def group(value: Value, **more: Any) -> Value:
    """Return a query of the index."""
    return GROUP | {"ExpressionAttributeValues": {":p": value, **more}}


def key(**sort: str) -> Value:
    """Return a request for one item."""
    return {"Key": {"pk": {"S": "p"}, "sk": sort}}


@pytest.mark.parametrize("number", ["1e200", "1E200", "1e-131", "1" * 39, "1_0", "", "NaN"])
def test_a_number_that_is_none_of_dynamodb_s(number: str) -> None:
    assert not is_passed_on(wire.get_item, key(N="1e2"))
    assert is_passed_on(wire.get_item, key(N=number))
    assert is_passed_on(wire.query, QUERY | {"ExclusiveStartKey": key(N=number)["Key"]})


@pytest.mark.parametrize("text", ["YR==", "YQ", "Y", "@@==", "YQ==\n"])
def test_binary_that_is_no_base64(text: str) -> None:
    assert not is_passed_on(wire.get_item, key(B="YQ=="), "bytes")
    assert is_passed_on(wire.get_item, key(B=text), "bytes")
    for values in ({"B": text}, {"BS": ["YQ==", text]}, {"L": [{"B": text}]}):
        body = QUERY | {
            "FilterExpression": "n = :n",
            "ExpressionAttributeValues": {**VALUES, ":n": values},
        }
        assert is_passed_on(wire.query, body, "bytes")


@pytest.mark.parametrize("value", [{}, {"S": "a", "N": "1"}, {"BOOL": True}, {"N": "x"}, None, "1"])
def test_a_start_key_whose_index_attribute_has_no_value_of_a_key(value: Any) -> None:
    start = {"pk": {"S": "p"}, "sk": {"N": "1"}, "grp": {"S": "p"}, "num": {"N": "1"}}
    assert not is_passed_on(wire.query, GROUP | {"ExclusiveStartKey": start})
    for name in ("num", "grp"):
        assert is_passed_on(wire.query, GROUP | {"ExclusiveStartKey": {**start, name: value}})


def test_a_value_of_another_type_than_the_index_has() -> None:
    """The types of an index that the table has are declared; no other index has any."""
    number = group({"N": "1"})
    assert is_passed_on(wire.query, number, "indexed")
    assert not is_passed_on(wire.query, number)
    sorted_text = group({"S": "p"}, **{":n": {"S": "1"}}) | {
        "KeyConditionExpression": "grp = :p AND num > :n"
    }
    assert is_passed_on(wire.query, sorted_text, "indexed")
    assert not is_passed_on(wire.query, sorted_text)
    equal = {"ComparisonOperator": "EQ", "AttributeValueList": [{"B": "YQ=="}]}
    legacy = {"IndexName": "by-group", "KeyConditions": {"grp": equal}}
    assert is_passed_on(wire.query, legacy, "indexed")
    start = {"pk": {"S": "p"}, "sk": {"N": "1"}, "grp": {"S": "p"}, "num": {"S": "1"}}
    assert is_passed_on(wire.query, GROUP | {"ExclusiveStartKey": start}, "indexed")
    assert not is_passed_on(wire.query, GROUP | {"ExclusiveStartKey": start})


@pytest.mark.parametrize("path", ["pk.a", "sk[0]", "grp.a", "num[1].b"])
def test_a_path_into_a_key_of_the_table_or_of_an_index(path: str) -> None:
    """Keys are scalars."""
    projection = {"ProjectionExpression": f"n, {path}"}
    requests = [(wire.get_item, key(N="1") | projection), (wire.query, QUERY | projection)]
    requests += [
        (wire.query, GROUP | projection),
        (wire.query, GROUP | {"FilterExpression": f"attribute_exists({path})"}),
    ]
    for operation, body in requests:
        assert is_passed_on(operation, body, "indexed")
    batch = {"RequestItems": {"indexed": {"Keys": [key(N="1")["Key"]], **projection}}}
    assert is_passed_on(wire.batch_get_item, batch)
    # Not known to be a key there.
    if path[:2] in ("gr", "nu"):
        assert not is_passed_on(wire.get_item, key(N="1") | projection)
