"""Pages of a query are cut where DynamoDB cuts them."""

import random
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.conditions import Key
from boto3.dynamodb.types import Binary
from tests.support.mirrored import MakeMirrored, Mirrored, source_of

from dynamirror.emulators.dynamodb import write_items
from dynamirror.reader.sizes import PAGE_BYTES, item_size, number_size
from dynamirror.views.encoding import DYNAMODB_JSON, HASH, JSON, Encoding, attribute
from dynamirror.views.view import ViewSpec

SEED = 20_261_126
KEYS = {"pk": "S", "sk": "N"}
WHOLE = Key("pk").eq("p")


def spec(encoding: Encoding = DYNAMODB_JSON) -> ViewSpec:
    """A view that can be queried."""
    return ViewSpec(encoding=encoding, collection=True)


def filled(make: MakeMirrored, items: list[Any], encoding: Encoding = DYNAMODB_JSON) -> Mirrored:
    """A partition, in DynamoDB JSON, that the cache has whole and the table has not."""
    world = make(spec(encoding), keys=KEYS)
    world.mirror_items(items)
    world.is_complete()
    return world


def cut(call: Any, **arguments: Any) -> list[list[int]]:
    """The sort keys of each page."""
    pages = []
    while True:
        answer = call(KeyConditionExpression=WHOLE, **arguments)
        pages.append([int(item["sk"]) for item in answer["Items"]])
        if "LastEvaluatedKey" not in answer:
            return pages
        arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


@pytest.mark.parametrize(
    ("number", "size"),
    [("0", 1), ("5", 2), ("12", 2), ("100", 2), ("123", 3), ("-5", 3), ("1.5", 3), ("1E+125", 2)],
)
def test_a_number_takes_a_byte_for_two_digits_and_one_more(number: str, size: int) -> None:
    assert number_size(Decimal(number)) == size


def test_an_item_is_as_large_as_amazon_says() -> None:
    item = {
        "text": "é",  # 4 + 2
        "blob": Binary(b"123"),  # 4 + 3
        "no": None,  # 2 + 1
        "yes": True,  # 3 + 1
        "list": ["a", Decimal(12)],  # 4 + 3 + (1 + 1) + (1 + 2)
        "map": {"b": "cd"},  # 3 + 3 + (1 + 1 + 2)
        "set": {"a", "bc"},  # 3 + 3
        "é": [],  # 2 + 3
    }
    assert item_size(item) == 6 + 7 + 3 + 4 + 12 + 10 + 6 + 5


@pytest.mark.parametrize("encoding", [JSON, DYNAMODB_JSON])
def test_nine_thousand_small_items_are_one_page(make: MakeMirrored, encoding: Encoding) -> None:
    digits = {f"n{number}": {"N": str(number)} for number in range(14)}
    items = [{"pk": {"S": "p"}, "sk": {"N": str(n)}, **digits} for n in range(9_000)]
    world = filled(make, items, encoding)
    answer = world.reader().query(KeyConditionExpression=WHOLE)
    assert (answer["Count"], source_of(answer)) == (9_000, "cache")
    assert "LastEvaluatedKey" not in answer


@pytest.mark.parametrize("encoding", [JSON, DYNAMODB_JSON, HASH, attribute("about")])
@pytest.mark.parametrize("forward", [True, False])
def test_an_item_that_would_take_a_page_past_a_megabyte_begins_the_next(
    make: MakeMirrored, encoding: Encoding, *, forward: bool
) -> None:
    texts = ["x" * 300_000] * 9
    items = [
        {"pk": {"S": "p"}, "sk": {"N": str(number)}, "about": {"S": text}}
        for number, text in enumerate(texts)
    ]
    world = filled(make, items, encoding)
    order = list(range(9)) if forward else list(range(8, -1, -1))
    pages = []
    arguments: dict[str, Any] = {"ScanIndexForward": forward}
    while "ExclusiveStartKey" not in arguments or arguments["ExclusiveStartKey"]:
        answer = world.reader().query(KeyConditionExpression=WHOLE, **arguments)
        pages.append(answer["Count"])
        arguments["ExclusiveStartKey"] = answer.get("LastEvaluatedKey")
    assert pages == [3, 3, 3]
    if encoding is DYNAMODB_JSON:
        assert cut(world.reader().query, ScanIndexForward=forward) == [
            order[:3],
            order[3:6],
            order[6:],
        ]


def some_value(rng: random.Random, depth: int = 0) -> Any:  # noqa: PLR0911 - one for each type
    """A value of any type, in DynamoDB JSON."""
    kinds = ["S", "N", "B", "BOOL", "NULL", "NS", "SS", "BS"]
    match rng.choice(kinds if depth == 3 else [*kinds, "L", "M"]):
        case "S":
            return {"S": rng.choice("aé€😀") * rng.randrange(40)}
        case "N":
            return {"N": some_number(rng)}
        case "B":
            return {"B": rng.randbytes(rng.randrange(40))}
        case "BOOL":
            return {"BOOL": rng.random() < 0.5}
        case "NULL":
            return {"NULL": True}
        case "NS":
            return {"NS": list({some_number(rng) for _ in range(3)})}
        case "SS":
            return {"SS": list({rng.choice("aé€") * rng.randint(1, 9) for _ in range(3)})}
        case "BS":
            return {"BS": list({rng.randbytes(rng.randint(1, 9)) for _ in range(3)})}
        case "L":
            return {"L": [some_value(rng, depth + 1) for _ in range(rng.randrange(5))]}
        case _:
            return {"M": {f"é{n}": some_value(rng, depth + 1) for n in range(rng.randrange(5))}}


def some_number(rng: random.Random) -> str:
    """A number in its plainest form."""
    digits = rng.choice([1, -1]) * rng.randrange(10 ** rng.randint(1, 20))
    return str(Decimal(digits).scaleb(rng.choice([0, 0, -3, 2])).normalize())


def test_pages_of_any_items_are_the_tables_own(make: MakeMirrored) -> None:
    """With the emulator, which cuts as the documentation says: at 1 MB or before."""
    rng = random.Random(SEED)
    items: list[Any] = []
    for number in range(400):
        item = {"pk": {"S": "p"}, "sk": {"N": str(number)}}
        item |= {f"a{n}": some_value(rng) for n in range(rng.randrange(12))}
        if rng.random() < 0.2:
            item["long"] = {"S": "x" * rng.randrange(60_000)}
        items.append(item)
    world = make(spec(), keys=KEYS)
    write_items(world.client, world.name, items)
    world.mirror_items(world.client.scan(TableName=world.name)["Items"])
    scanned: list[Any] = []
    for page in world.client.get_paginator("scan").paginate(TableName=world.name):
        scanned += page["Items"]
    world.mirror_items(scanned)
    world.is_complete()
    reader = world.reader()
    for arguments in ({}, {"ScanIndexForward": False}, {"Limit": 77}):
        expected = cut(world.table.query, **arguments)
        assert cut(reader.query, **arguments) == expected, f"seed {SEED}"
        assert len(expected) > 1
    assert reader.counts.fallbacks == 0


def test_the_page_is_a_megabyte_to_the_byte(make: MakeMirrored) -> None:
    for beyond, first in ((0, 3), (1, 2)):
        world = make(spec(), keys=KEYS)
        rest = PAGE_BYTES + beyond
        for number in range(3):
            item = {"pk": "p", "sk": number, "about": ""}
            left = rest if number == 2 else 350_000
            item["about"] = "x" * (left - size_of(item))
            rest -= 350_000
            world.put(item)
            world.mirror({"pk": "p", "sk": number})
        world.is_complete()
        for call in (world.reader().query, world.table.query):
            assert len(cut(call)[0]) == first


def size_of(item: dict[str, Any]) -> int:
    """Its size with the numbers as they are read."""
    return item_size({**item, "sk": Decimal(item["sk"])})
