"""Queries: the index of a partition, read in order."""

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.conditions import Key
from tests.support.mirrored import MakeMirrored, Mirrored, age_of, source_of

from dynamirror.errors import ConfigError
from dynamirror.reader import Reader
from dynamirror.reader.guarded_cache import ReadCounts
from dynamirror.records.key_codec import sort_bytes
from dynamirror.records.version import ChangeVersion
from dynamirror.views.encoding import DYNAMODB_JSON, HASH, JSON, Encoding, attribute
from dynamirror.views.view import ViewSpec

INDEXED = ViewSpec(encoding=DYNAMODB_JSON, collection=True)
QUERIES = 200  # of each type of sort key
SEED = 20_260_102


def texts(rng: random.Random) -> str:
    """Sort keys that often begin alike, of one to four bytes a letter."""
    return "".join(rng.choice("ab~\0{}:%é€😀\uffff") for _ in range(rng.randint(1, 4)))


def binaries(rng: random.Random) -> bytes:
    """The same in bytes."""
    return bytes(rng.choice([0, 1, 0x7F, 0xFE, 0xFF]) for _ in range(rng.randint(1, 4)))


def numbers(rng: random.Random) -> Decimal:
    """Numbers of all sizes."""
    digits = rng.choice([0, 1, 5, 9, 10, 11, 99, 100, 101, rng.randrange(10**36)])
    return Decimal(rng.choice([1, -1]) * digits).scaleb(rng.choice([-120, -3, -1, 0, 0, 0, 1]))


MAKERS: dict[str, Callable[[random.Random], Any]] = {"S": texts, "B": binaries, "N": numbers}


def partition(make: MakeMirrored, tag: str, values: list[Any], *specs: ViewSpec) -> Mirrored:
    """A table with one partition `p` that the cache has whole, and one that is next to it."""
    world = make(*(specs or (INDEXED,)), keys={"pk": "S", "sk": tag})
    items = [{"pk": "p", "sk": value, "n": number} for number, value in enumerate(values)]
    world.put(*items, *({**item, "pk": "q", "n": -1} for item in items))
    world.mirror_items(world.client.scan(TableName=world.name)["Items"])
    world.is_complete()
    return world


def some_condition(rng: random.Random, tag: str, values: list[Any]) -> Any:
    """Any key condition of the partition."""

    def operand() -> Any:
        return rng.choice(values) if rng.random() < 0.6 else MAKERS[tag](rng)

    sort, whole = Key("sk"), Key("pk").eq("p")
    operator = rng.choice(["", "eq", "lt", "lte", "gt", "gte", "between", "begins_with"])
    if operator == "" or (operator == "begins_with" and tag == "N"):
        return whole
    if operator == "between":
        low, high = sorted((operand(), operand()), key=in_order(tag))
        return whole & sort.between(low, high)
    if operator == "begins_with":
        value = operand()
        return sort.begins_with(value[: rng.randint(1, len(value))]) & whole
    return whole & getattr(sort, operator)(operand())


def in_order(tag: str) -> Callable[[Any], bytes]:
    """DynamoDB's order of sort keys."""
    return lambda value: sort_bytes({tag: str(value) if tag == "N" else value})


def pages(ask: Callable[..., Any], **arguments: Any) -> list[tuple[list[Any], Any]]:
    """All pages of a query, each its items and where the next begins."""
    result = []
    while True:
        answer = ask(**arguments)
        assert answer["Count"] == answer["ScannedCount"] == len(answer["Items"])
        last = answer.get("LastEvaluatedKey")
        result.append((answer["Items"], last))
        if last is None:
            return result
        arguments["ExclusiveStartKey"] = last


@pytest.mark.parametrize("tag", ["S", "N", "B"])
def test_a_query_agrees_with_the_tables_own(make: MakeMirrored, tag: str) -> None:
    """Every page of it, whatever the condition, the direction and the limit."""
    rng = random.Random(f"{SEED} {tag}")
    asked = 0
    for size in (1, 12, 40):
        values = sorted({MAKERS[tag](rng) for _ in range(size)})  # a set is in no seeded order
        world = partition(make, tag, values)
        reader = world.reader()
        while asked < QUERIES * {1: 0.1, 12: 0.6, 40: 1}[size]:
            arguments: dict[str, Any] = {
                "KeyConditionExpression": some_condition(rng, tag, values),
                "ScanIndexForward": rng.random() < 0.5,
            }
            if rng.random() < 0.7:
                arguments["Limit"] = rng.choice([1, 2, 5, 50] if size < 40 else [7, 11, 50])
            expected = pages(world.table.query, **arguments)
            got = pages(reader.query, **arguments)
            assert got == expected, f"seed {SEED}, query {asked} of {tag}: {describe(arguments)}"
            asked += 1
        assert reader.counts.fallbacks == 0
    assert asked == QUERIES


def describe(arguments: dict[str, Any]) -> str:
    """A query, to look at."""
    return f"{arguments['KeyConditionExpression'].get_expression()} {arguments}"


def page_of(reader: Reader, **arguments: Any) -> tuple[list[int], str]:
    """The numbers of what a query of `p` finds, and where it was found."""
    answer = reader.query(**{"KeyConditionExpression": Key("pk").eq("p"), **arguments})
    return [int(item["n"]) for item in answer["Items"]], source_of(answer)


def test_while_the_mirror_is_incomplete_the_table_is_asked(make: MakeMirrored) -> None:
    world = partition(make, "N", [1, 2, 3])
    reader = world.reader()
    assert page_of(reader) == ([0, 1, 2], "cache")
    world.is_incomplete()
    # The index is there, but perhaps not all of it.
    assert page_of(reader) == ([0, 1, 2], "table")
    world.cache.broadcast(b"FLUSHALL")
    assert page_of(reader, ScanIndexForward=False, Limit=2) == ([2, 1], "table")
    assert reader.counts == ReadCounts(hits=1, fallbacks=2)


def test_while_it_is_complete_a_partition_without_an_index_is_empty(make: MakeMirrored) -> None:
    world = partition(make, "N", [1])
    reader = world.reader()
    answer = reader.query(KeyConditionExpression=Key("pk").eq("no such"))
    assert (answer["Items"], answer["Count"], source_of(answer)) == ([], 0, "cache")
    assert "LastEvaluatedKey" not in answer


def test_the_table_is_asked_where_that_is_wanted(make: MakeMirrored) -> None:
    world = partition(make, "N", [1, 2])
    world.put({"pk": "p", "sk": 3, "n": 2})
    assert page_of(world.reader()) == ([0, 1], "cache")
    assert page_of(world.reader(), ConsistentRead=True) == ([0, 1, 2], "table")


def test_entries_that_have_gone_are_left_out_and_paging_goes_on(make: MakeMirrored) -> None:
    world = partition(make, "N", list(range(450)))
    gone = {3, 4, 5, *range(100, 350)}
    keys = [world.view.key_of({"pk": {"S": "p"}, "sk": {"N": str(number)}}) for number in gone]
    for name in filter(None, keys):
        world.cache.call(name, b"UNLINK", name)
    left = [number for number in range(450) if number not in gone]
    reader = world.reader()
    assert page_of(reader) == (left, "cache")
    key: dict[str, Any] = {"KeyConditionExpression": Key("pk").eq("p")}
    found = pages(reader.query, Limit=3, **key)
    assert [int(item["n"]) for items, _ in found for item in items] == left
    assert {len(items) for items, last in found if last} == {3}, "others are in their place"
    back = pages(reader.query, Limit=300, ScanIndexForward=False, **key)
    assert [int(item["n"]) for items, _ in back for item in items] == left[::-1]


@pytest.mark.parametrize("encoding", [JSON, DYNAMODB_JSON, HASH, attribute("n")])
def test_in_every_encoding_index_and_table_answer_alike(
    make: MakeMirrored, encoding: Encoding
) -> None:
    spec = ViewSpec(encoding=encoding, collection=True, when={"n": {">": 0}})
    world = partition(make, "N", [5, -1, 3], spec)
    answers = [
        world.reader().query(KeyConditionExpression=Key("pk").eq("p"), ConsistentRead=consistent)
        for consistent in (False, True)
    ]
    assert answers[0]["Items"] == answers[1]["Items"]
    assert [source_of(answer) for answer in answers] == ["cache", "table"]
    assert answers[0]["Count"] == 2


def test_the_age_is_that_of_the_oldest_item(make: MakeMirrored) -> None:
    world = make(INDEXED, keys={"pk": "S", "sk": "N"})
    world.put({"pk": "p", "sk": 1}, {"pk": "p", "sk": 2})
    world.mirror({"pk": "p", "sk": 1}, version=ChangeVersion(1, 1, 1000))
    world.mirror({"pk": "p", "sk": 2})
    world.is_complete()
    reader = world.reader()
    whole = Key("pk").eq("p")
    assert age_of(reader.query(KeyConditionExpression=whole)) is None
    age = age_of(reader.query(KeyConditionExpression=whole, age=True))
    assert age is not None
    assert age > 10**9
    age = age_of(reader.query(KeyConditionExpression=whole & Key("sk").gt(1), age=True))
    assert age is not None
    assert age < 60


def test_a_view_without_an_index_cannot_be_queried(make: MakeMirrored) -> None:
    reader = make(ViewSpec(), keys={"pk": "S", "sk": "N"}).reader()
    with pytest.raises(ConfigError, match="collection = true"):
        reader.query(KeyConditionExpression=Key("pk").eq("p"))
