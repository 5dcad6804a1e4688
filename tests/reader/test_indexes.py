"""Index views answer as a table's own LSI and GSIs do, over generated items and calls."""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from boto3.dynamodb.conditions import Attr, Key
from boto3.dynamodb.types import Binary
from tests.support.mirrored import MakeMirrored, Mirrored, source_of

from dynamirror.reader.guarded_cache import GuardedCache
from dynamirror.reader.mirrors import MirroredTable, Mirrors
from dynamirror.reader.steps import PassedOn, run
from dynamirror.reader.wire import query
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.view import bind_views

Call = dict[str, Any]
VIEWS = """
[[view]]
name = "all-gsi"
index = { partition = "customer", sort = "created" }
[[view]]
name = "keys-gsi"
index = { partition = "customer", sort = "label" }
include = ["pk"]
[[view]]
name = "some-gsi"
index = { partition = "n" }
include = ["total", "tags"]
[[view]]
name = "bytes-lsi"
index = { partition = "pk", sort = "raw" }
"""
# Partition, sort and their types.
SCHEMAS = {
    "all-gsi": ("customer", "S", "created", "N"),
    "keys-gsi": ("customer", "S", "label", "S"),
    "some-gsi": ("n", "N", None, None),
    "bytes-lsi": ("pk", "S", "raw", "B"),
}
NUMBERS = [*range(-3, 4), 10**20, -(10**20)]
LABELS = ["", "a", "a\0", "a\0b", "a\1", "ab", "b", "é", "\U0001f600"][1:]
RAWS = [b"\0", b"\0\0", b"\1", b"a", b"\xff", b"\xff\xff"]


def _schema(partition: str, sort: str | None) -> list[dict[str, str]]:
    names = [partition, *([sort] if sort else [])]
    kinds = ("HASH", "RANGE")
    return [{"AttributeName": n, "KeyType": k} for n, k in zip(names, kinds, strict=False)]


def _indexes() -> Call:
    def gsi(name: str, projection: Any) -> Any:
        partition, _, sort, _ = SCHEMAS[name]
        return {
            "IndexName": name, "KeySchema": _schema(partition or "", sort), "Projection": projection
        }  # fmt: skip

    types = {
        "pk": "S",
        "sk": "N",
        "customer": "S",
        "created": "N",
        "label": "S",
        "n": "N",
        "raw": "B",
    }
    return {
        "KeySchema": _schema("pk", "sk"),
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": tag} for name, tag in types.items()
        ],
        "LocalSecondaryIndexes": [gsi("bytes-lsi", {"ProjectionType": "ALL"})],
        "GlobalSecondaryIndexes": [
            gsi("all-gsi", {"ProjectionType": "ALL"}),
            gsi("keys-gsi", {"ProjectionType": "KEYS_ONLY"}),
            gsi("some-gsi", {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["total", "tags"]}),
        ],
    }  # fmt: skip


def _items(chance: random.Random) -> Iterator[Call]:
    """Items with many ties, of which some lack an index's attribute."""
    for number in range(60):
        item: Call = {"pk": f"p{number % 4}", "sk": number, "total": number % 7, "tags": {"x", "y"}}
        drawn = {
            "customer": chance.choice(["ann", "bob", "%n1"]),
            "created": chance.choice(NUMBERS),
            "label": chance.choice(LABELS),
            "n": chance.choice([1, 2, -5]),
            "raw": chance.choice(RAWS),
        }
        item |= {name: value for name, value in drawn.items() if chance.random() < 0.8}
        yield item


VALUES: dict[str, list[Any]] = {"created": NUMBERS, "label": LABELS, "raw": RAWS}
PARTITIONS: dict[str, list[Any]] = {
    "customer": ["ann", "bob", "%n1", "nobody"],
    "n": [1, 2, -5, 9],
    "pk": ["p0", "p1", "p3", "none"],
}


def _call(chance: random.Random) -> Call:
    name = chance.choice(list(SCHEMAS))
    partition, _, sort, _ = SCHEMAS[name]
    condition: Any = Key(partition or "").eq(chance.choice(PARTITIONS[partition or ""]))
    if sort is not None:
        one, two = sorted(
            chance.choices(VALUES[sort], k=2), key=lambda v: v.encode() if isinstance(v, str) else v
        )
        key = Key(sort)
        made: list[Callable[[], Any]] = [
            lambda: key.eq(one), lambda: key.lt(one), lambda: key.lte(one), lambda: key.gt(one),
            lambda: key.gte(one), lambda: key.between(one, two),
        ]  # fmt: skip
        if sort != "created":
            made.append(lambda: key.begins_with(one))
        if chance.random() < 0.7:
            condition &= chance.choice(made)()
    call: Call = {"IndexName": name, "KeyConditionExpression": condition}
    call["ScanIndexForward"] = chance.random() < 0.5
    if chance.random() < 0.5:
        call["Limit"] = chance.randint(1, 8)
    if chance.random() < 0.2:
        call["Select"] = "COUNT"
    elif chance.random() < 0.2:
        call["ProjectionExpression"] = "pk, sk"
    if chance.random() < 0.3:
        call["FilterExpression"] = Attr("sk").gt(20)
    return call


def _pages(ask: Callable[..., Any], call: Call) -> list[Any]:
    pages: list[Any] = []
    start: Call = {}
    while len(pages) < 100:
        page = ask(**call, **start)
        pages.append(page)
        if "LastEvaluatedKey" not in page:
            break
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    return pages


def _spelt(value: Any) -> str:
    if isinstance(value, Binary):
        return repr(value)
    return str(sorted(value) if isinstance(value, set) else value)


def _shown(pages: list[Any], sort: str | None, *, exactly: bool) -> Any:
    """What pages must have in common: all but the order of ties, which DynamoDB leaves open."""
    items = [item for page in pages for item in page.get("Items", [])]
    spelt = Counter(str({n: _spelt(v) for n, v in sorted(item.items())}) for item in items)
    last = [sorted(page.get("LastEvaluatedKey", {})) for page in pages]
    ends = [_spelt(page.get("LastEvaluatedKey", {}).get(sort)) for page in pages] if sort else []
    counts = [page["Count"] for page in pages] if exactly else [sum(p["Count"] for p in pages)]
    order = [_spelt(item.get(sort)) for item in items] if sort else []
    return spelt, last, ends, counts, [page["ScannedCount"] for page in pages], order


# More of them, or others: INDEX_CALLS=5000 INDEX_SEED=2
SEED = int(os.environ.get("INDEX_SEED", "17"))
CALLS = int(os.environ.get("INDEX_CALLS", "120"))


def _mirrored(make: MakeMirrored) -> Mirrored:
    mirrored = make(
        *parse_views("[[view]]\nname = 'default'\nencoding='dynamodb-json'\n" + VIEWS),
        indexes=_indexes(),
    )
    items = list(_items(random.Random(SEED)))
    mirrored.put(*items)
    mirrored.mirror(*({"pk": item["pk"], "sk": item["sk"]} for item in items))
    mirrored.is_complete()
    return mirrored


def test_a_view_of_an_index_s_name_answers_as_that_index(make: MakeMirrored) -> None:
    mirrored = _mirrored(make)
    reader = mirrored.reader(view="default")
    chance = random.Random(SEED)
    tried = Counter[str]()
    for _ in range(CALLS):
        call = _call(chance)
        sort = SCHEMAS[call["IndexName"]][2]
        theirs, ours = _pages(mirrored.table.query, call), _pages(reader.query, call)
        assert {source_of(page) for page in ours} == {"cache"}, call
        exactly = "FilterExpression" not in call
        assert _shown(ours, sort, exactly=exactly) == _shown(theirs, sort, exactly=exactly), call
        tried[call["IndexName"]] += 1
    assert min(tried[name] for name in SCHEMAS) > CALLS / 10


def test_an_index_that_the_table_does_not_have_answers_on_the_wire(
    make: MakeMirrored, cache: Any
) -> None:
    specs = parse_views(
        '[[view]]\nname = "by-kind"\nindex = { partition = "kind", sort = "at" }\n'
        '[[view]]\nname = "text"\nencoding = "json"\nindex = { partition = "kind" }\n'
    )
    mirrored = make(*specs, keys={"id": "S"})
    kinds: list[Any] = ["1", 1, b"1", None, True]
    items = [{"id": f"i{n}", "kind": kinds[n % 5], "at": n // 5 % 2} for n in range(20)]
    mirrored.put(*items)
    mirrored.mirror(*({"id": item["id"]} for item in items))
    mirrored.is_complete()
    bound = bind_views(specs, mirrored.schema)
    mirrors = Mirrors([MirroredTable(mirrored.schema, bound)])
    guarded = GuardedCache(cache, failures=3, pause=5)

    def ask(kind: Any, **more: Any) -> Any:
        body = {
            "TableName": mirrored.name,
            "IndexName": "by-kind",
            "KeyConditionExpression": "kind = :k",
            "ExpressionAttributeValues": {":k": kind},
            **more,
        }
        return run(query(mirrors, body), guarded)

    found = {tag: ask({tag: text}) for tag, text in (("S", "1"), ("N", "1.0"), ("B", "MQ=="))}
    ids = {tag: [item["id"]["S"] for item in page["Items"]] for tag, page in found.items()}
    assert ids == {
        "S": ["i0", "i10", "i15", "i5"],
        "N": ["i1", "i11", "i16", "i6"],
        "B": ["i12", "i2", "i17", "i7"],
    }
    page = ask({"S": "1"}, Limit=1)
    assert page["LastEvaluatedKey"] == {
        "kind": {"S": "1"}, "at": {"N": "0"}, "id": {"S": "i0"},
    }  # fmt: skip
    # An encoding without types is never an answer.
    assert isinstance(ask({"S": "1"}, IndexName="text"), PassedOn)
