"""docs/reading.md's table of what the cache answers, request by request."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.conformance import WIRE
from tests.support.generated_expressions import Value
from tests.support.mirrored import MakeMirrored, Mirrored

from dynamirror.cache.client import Cache
from dynamirror.reader import wire
from dynamirror.reader.guarded_cache import GuardedCache
from dynamirror.reader.mirrors import MirroredTable, Mirrors, OnMiss
from dynamirror.reader.steps import PassedOn, run
from dynamirror.settings import Settings
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.index import IndexSpec
from dynamirror.views.view import ViewSpec

PAGE = Path(__file__).parents[2] / "docs/reading.md"
OPERATIONS = ("GetItem", "BatchGetItem", "Query")
P = {":p": {"S": "p"}}
CONDITION: Value = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": P}
EQUAL = {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "p"}]}
NAMED: Value = {"ProjectionExpression": "#n, s", "ExpressionAttributeNames": {"#n": "n"}}
CAPACITY: Value = {"ReturnConsumedCapacity": "TOTAL"}


@dataclass(frozen=True)
class Asked:
    """A row of the table: what its requests have.

    Args:
        item: of a GetItem, and of each table in a BatchGetItem.
        query: of a Query.
        batch: of a BatchGetItem, beside its tables.
    """

    item: Value = field(default_factory=dict)
    query: Value = field(default_factory=dict)
    batch: Value = field(default_factory=dict)


GROUP = {"KeyConditions": {"group": EQUAL}}
ROWS: dict[str, Asked] = {
    "whole items": Asked(query=CONDITION),
    "`ProjectionExpression`, names of attributes": Asked(NAMED, CONDITION | NAMED),
    "`AttributesToGet`": Asked(
        {"AttributesToGet": ["n"]}, {"KeyConditions": {"pk": EQUAL}, "AttributesToGet": ["n"]}
    ),
    "`ReturnConsumedCapacity`": Asked(CAPACITY, CONDITION | CAPACITY, CAPACITY),
    "two tables": Asked(),
    "`KeyConditionExpression` with a range of sort keys": Asked(
        query={
            "KeyConditionExpression": "pk = :p AND sk BETWEEN :a AND :b",
            "ExpressionAttributeValues": {**P, ":a": {"N": "1"}, ":b": {"N": "2"}},
        }
    ),
    "`KeyConditions`": Asked(query={"KeyConditions": {"pk": EQUAL}}),
    "`FilterExpression`": Asked(query=CONDITION | {"FilterExpression": "attribute_exists(n)"}),
    "`QueryFilter`": Asked(
        query={
            "KeyConditions": {"pk": EQUAL},
            "QueryFilter": {"n": {"ComparisonOperator": "NOT_NULL"}},
        }
    ),
    "`Limit`, `ExclusiveStartKey`, descending": Asked(
        query=CONDITION
        | {
            "Limit": 1,
            "ExclusiveStartKey": {"pk": {"S": "p"}, "sk": {"N": "7"}},
            "ScanIndexForward": False,
        }
    ),
    "`Select` COUNT": Asked(query=CONDITION | {"Select": "COUNT"}),
    "`IndexName` of an index view": Asked(query=GROUP | {"IndexName": "by-group"}),
    "`IndexName` of another index": Asked(query=GROUP | {"IndexName": "another"}),
    "`ConsistentRead`": Asked({"ConsistentRead": True}, CONDITION | {"ConsistentRead": True}),
    "a table that is not mirrored": Asked(query=CONDITION),
    "an expression that DynamoDB refuses": Asked(
        {"ProjectionExpression": "n,"}, CONDITION | {"FilterExpression": "n ="}
    ),
    'no such item, `on_miss="table"`': Asked(query=CONDITION),
    'no such item, `on_miss="absent"`': Asked(query=CONDITION),
    "an expired entry": Asked(query=CONDITION),
    "an incomplete mirror": Asked(query=CONDITION),
    "a cache that is down": Asked(query=CONDITION),
}


def cells() -> list[tuple[str, str, str]]:
    """The cells of the page: the request, the operation, and what it says."""
    section = PAGE.read_text("utf-8").split("### What the cache answers")[1].split("###")[0]
    found = re.findall(r"^\| (.*) \| (.*) \| (.*) \| (.*) \|$", section, re.MULTILINE)
    assert found[0] == ("request", *OPERATIONS)
    return [
        (row[0], operation, cell)
        for row in found[1:]
        for operation, cell in zip(OPERATIONS, row[1:], strict=True)
    ]


def test_every_row_is_tried() -> None:
    assert [row for row, operation, _ in cells() if operation == "GetItem"] == list(ROWS)


class Tables(NamedTuple):
    """Two mirrored tables, with sort keys that are numbers and texts."""

    numbered: Mirrored
    texts: Mirrored


def tables(make: MakeMirrored, *, ttl: str | None = None) -> Tables:
    """Make tables with a few items of the partition `p`, all in a complete mirror."""
    plain = ViewSpec(name="plain", encoding=DYNAMODB_JSON, collection=True, ttl=ttl)
    grouped = ViewSpec(name="by-group", encoding=DYNAMODB_JSON, index=IndexSpec("group", "n"))
    made = Tables(
        make(plain, grouped, keys={"pk": "S", "sk": "N"}),
        make(plain, keys={"pk": "S", "sk": "S"}),
    )
    keys: list[tuple[Mirrored, list[Any]]] = [(made.numbered, [1, 2, 7]), (made.texts, ["1"])]
    for world, sorts in keys:
        world.put(
            *({"pk": "p", "sk": sort, "n": 1, "group": "p", "expires": 1000} for sort in sorts)
        )
        world.mirror_items(world.client.scan(TableName=world.name)["Items"])
        world.is_complete()
    return made


def body_of(row: str, operation: str, made: Tables) -> Value:
    """Return the request of a cell."""
    asked, absent = ROWS[row], "no such item" in row
    name = "unknown" if "not mirrored" in row else made.numbered.name
    key: Value = {"pk": {"S": "absent" if absent else "p"}, "sk": {"N": "1"}}
    if operation == "GetItem":
        return {"TableName": name, "Key": key, **asked.item}
    if operation == "Query":
        values = {"ExpressionAttributeValues": {":p": {"S": "absent"}}} if absent else {}
        return {"TableName": name, **asked.query, **values}
    members = {name: part for name, part in asked.item.items() if name not in CAPACITY}
    request: Value = {name: {"Keys": [key], **members}}
    if row == "two tables":
        request[made.texts.name] = {"Keys": [{"pk": {"S": "p"}, "sk": {"S": "1"}}]}
    return {"RequestItems": request, **asked.batch}


def answer_of(row: str, operation: str, made: Tables, cache: GuardedCache) -> str:
    """Return what becomes of the request of a cell."""
    on_miss: OnMiss = "absent" if "absent" in row else "table"
    mirrors = Mirrors(MirroredTable(one.schema, one.views, on_miss=on_miss) for one in made)
    answer: Any = run(WIRE[operation](mirrors, body_of(row, operation, made)), cache)
    if isinstance(answer, PassedOn):
        return "passed on"
    assert not isinstance(answer, wire.PartialBatch) or not answer.left
    return "from the cache"


def test_the_table_holds(make: MakeMirrored) -> None:
    usual, expiring, incomplete = tables(make), tables(make, ttl="expires"), tables(make)
    incomplete.numbered.is_incomplete()
    cache = GuardedCache(usual.numbered.cache, failures=3, pause=5)
    nowhere = Cache(Settings(host="127.0.0.1", port=9, tls=False))
    special = {
        "an expired entry": (expiring, cache),
        "an incomplete mirror": (incomplete, cache),
        "a cache that is down": (usual, GuardedCache(nowhere, failures=3, pause=5)),
    }
    found = [
        (row, operation, answer_of(row, operation, *special.get(row, (usual, cache))))
        for row, operation, cell in cells()
        if cell != "-"
    ]
    assert found == [each for each in cells() if each[2] != "-"]
