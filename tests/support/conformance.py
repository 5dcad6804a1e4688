"""Reads of a mirror beside the same reads of the table."""

from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any, NamedTuple

from botocore.exceptions import ClientError
from tests.support.generated_expressions import Requests, Value
from tests.support.generated_reads import Kind, Reads, kind, repr_of, settled_answer
from tests.support.mirrored import MakeMirrored, Mirrored

from dynamirror.dynamodb.client import describe_schema
from dynamirror.reader import Reader, wire
from dynamirror.reader.guarded_cache import GuardedCache
from dynamirror.reader.mirrors import MirroredTable, Mirrors, OnMiss
from dynamirror.reader.steps import PassedOn, run
from dynamirror.reader.values import values_of
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.index import IndexSpec
from dynamirror.views.view import ViewSpec

GROUPED = IndexSpec(partition="group", sort="rank")
WIRE = {
    "GetItem": wire.get_item,
    "BatchGetItem": wire.batch_get_item,
    "Query": wire.query,
}
_METHODS = {"GetItem": "get_item", "BatchGetItem": "batch_get_item", "Query": "query"}


class Fleet(NamedTuple):
    """Mirrored tables, and what they hold."""

    worlds: list[Mirrored]
    tables: dict[str, Kind]
    requests: Requests

    def mirrors(self, on_miss: OnMiss = "absent") -> Mirrors:
        """Return what a wire reads."""
        return Mirrors(
            MirroredTable(world.schema, world.views, on_miss=on_miss) for world in self.worlds
        )


def fleet(
    make: MakeMirrored, requests: Requests, seed: int, *, count: int = 30, ttl: str | None = None
) -> Fleet:
    """Make a table of each kind, with a complete mirror."""
    random = Random(seed)
    worlds, tables = [], {}
    for sort in (None, "S", "N", "B"):
        made = kind(random, sort, count)
        plain = ViewSpec(name="plain", encoding=DYNAMODB_JSON, collection=sort is not None, ttl=ttl)
        grouped = ViewSpec(
            name="by-group",
            key="{table}-by-group:{{{group}}}:{rank}:{pk}" + (":{sk}" if sort else ""),
            encoding=DYNAMODB_JSON,
            index=GROUPED,
        )
        world = make(plain, grouped, keys=made.keys)
        _add_index(world)
        for item in made.items:
            status, answer = requests.call("PutItem", {"TableName": world.name, "Item": item})
            assert status == 200, answer
        scan: Value = {"TableName": world.name}
        _, answer = requests.call("Scan", scan)
        world.mirror_items(answer["Items"])
        world.is_complete()
        worlds.append(world)
        tables[world.name] = made._replace(items=answer["Items"])
    return Fleet(worlds, tables, requests)


def _add_index(world: Mirrored) -> None:
    keys: list[Any] = [
        {"AttributeName": "group", "KeyType": "HASH"},
        {"AttributeName": "rank", "KeyType": "RANGE"},
    ]
    world.client.update_table(
        TableName=world.name,
        AttributeDefinitions=[
            {"AttributeName": "group", "AttributeType": "S"},
            {"AttributeName": "rank", "AttributeType": "N"},
        ],
        GlobalSecondaryIndexUpdates=[
            {
                "Create": {
                    "IndexName": "by-group",
                    "KeySchema": keys,
                    "Projection": {"ProjectionType": "ALL"},
                }
            }
        ],
    )
    world.schema, _ = describe_schema(world.client, world.name)


class Tally(NamedTuple):
    """What became of reads.

    Args:
        answered: by operation, those that the cache answered, or part of them.
        passed: by reason, those that it did not.
    """

    answered: Counter[str]
    passed: Counter[str]


def compare_wire(
    given: Fleet, mirrors: Mirrors, cache: GuardedCache, reads: Reads, count: int
) -> Tally:
    """Make reads of the mirror; assert that what it answers is what the table answers."""
    tally = Tally(Counter(), Counter())
    for _ in range(count):
        operation, body = reads.read()
        mine: Any = run(WIRE[operation](mirrors, body), cache)
        if isinstance(mine, PassedOn):
            tally.passed[mine.reason] += 1
            continue
        if isinstance(mine, wire.PartialBatch):
            tally.passed.update(mine.reasons)
            mine = _completed(given.requests, mine)
        tally.answered[operation] += 1
        status, answer = given.requests.call(operation, body)
        assert status == 200, (operation, body, answer, mine)
        mine, answer = settled_answer(operation, mine), settled_answer(operation, answer)
        if "IndexName" in body:
            compare_ties(body, mine, answer)
        else:
            assert mine == answer, (operation, body)
    return tally


def _completed(requests: Requests, mine: wire.PartialBatch) -> Value:
    """Return the answer with what the table has of the rest."""
    body = mine.body
    if mine.left:
        status, answer = requests.call("BatchGetItem", {"RequestItems": mine.left})
        assert status == 200, answer
        responses = dict(mine.responses)
        for name, items in answer["Responses"].items():
            responses[name] = [*responses.get(name, []), *items]
        body["Responses"] = responses
    return body


def compare_ties(body: Value, mine: Value, answer: Value) -> None:
    """Assert that answers agree; the order of items with one index key is nowhere specified."""
    if "Limit" in body or "ExclusiveStartKey" in body:
        assert mine["ScannedCount"] == answer["ScannedCount"], body
        assert ("LastEvaluatedKey" in mine) == ("LastEvaluatedKey" in answer), body
        return
    ranks = [[item.get("rank") for item in one.get("Items", [])] for one in (mine, answer)]
    assert ranks[0] == ranks[1], body
    for one in (mine, answer):
        one.get("Items", []).sort(key=repr_of)
    assert mine == answer, body


def compare_reader(
    readers: Mapping[str, Reader], worlds: Mapping[str, Mirrored], reads: Reads, count: int
) -> Tally:
    """Make reads with a `Reader` and boto3's resource; assert that they agree."""
    tally = Tally(Counter(), Counter())
    for _ in range(count):
        operation, body = reads.read()
        name = body.get("TableName") or min(body["RequestItems"])
        arguments = _arguments(operation, body)
        call = getattr(readers[name], _METHODS[operation])
        own: Any = worlds[name].table
        if operation == "BatchGetItem":
            own = worlds[name].resource
        mine, answer = (
            _outcome(each, arguments) for each in (call, getattr(own, _METHODS[operation]))
        )
        tally.answered[f"{operation} {mine.pop('from', 'refused')}"] += 1
        answer.pop("from", None)
        if "IndexName" in body and "error" not in answer:
            compare_ties(body, mine, answer)
        else:
            assert mine == answer, (operation, body)
    return tally


def _outcome(call: Any, arguments: Value) -> Value:
    try:
        answer = call(**arguments)
    except ClientError as error:
        return {"error": error.response["Error"]["Code"]}
    found = answer.pop("ResponseMetadata").get("dynamirror", {}).get("source")
    answer.pop("ConsumedCapacity", None)
    for name, items in answer.get("Responses", {}).items():
        answer["Responses"][name] = sorted(items, key=repr_of)
    return {**answer, "from": found}


def _arguments(operation: str, body: Value) -> Value:
    """Return a request with values of Python."""

    def low(values: Value) -> Value:
        return {name: _python(value) for name, value in values.items()}

    arguments = {name: part for name, part in body.items() if name != "TableName"}
    for name in ("Key", "ExpressionAttributeValues", "ExclusiveStartKey"):
        if name in arguments:
            arguments[name] = low(arguments[name])
    for name in ("KeyConditions", "QueryFilter"):
        if name in arguments:
            arguments[name] = {
                key: {**one, "AttributeValueList": [_python(v) for v in one["AttributeValueList"]]}
                for key, one in arguments[name].items()
            }
    if operation == "BatchGetItem":
        arguments["RequestItems"] = {
            name: {**one, "Keys": [low(key) for key in one["Keys"]]}
            for name, one in arguments["RequestItems"].items()
        }
    return arguments


def _python(value: Value) -> Any:
    return values_of({"": value})[""]
