"""Reading items by their primary keys, from the cache and from the table."""

import random
import subprocess
import sys
import threading
import time
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import Binary
from tests.support.mirrored import MakeMirrored, Mirrored, age_of, source_of

from dynamirror.errors import ConfigError, SourceError
from dynamirror.reader import written_at
from dynamirror.reader.guarded_cache import ReadCounts
from dynamirror.records.version import ChangeVersion, SnapshotVersion
from dynamirror.views.encoding import DYNAMODB_JSON, HASH, JSON, Encoding, attribute
from dynamirror.views.keyspace import fence_key
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.projection import Projection
from dynamirror.views.view import ViewSpec

TYPED = ViewSpec(encoding=DYNAMODB_JSON)
EVE: dict[str, Any] = {
    "id": "7",
    "name": "Eve",
    "n": Decimal("1.50"),
    "long": Decimal(12345678901234567890123456789012345678),
    "blob": Binary(b"\0\xff"),
    "flag": True,
    "nothing": None,
    "names": {"a", "b"},
    "numbers": {Decimal(1), Decimal("2.5")},
    "blobs": {Binary(b"x"), Binary(b"y")},
    "list": ["a", Decimal(1), [None]],
    "map": {"inner": {"deep": "value"}},
}


def eve(make: MakeMirrored, *specs: ViewSpec, mirrored: bool = True) -> Mirrored:
    """A table with one item."""
    world = make(*specs)
    world.put(EVE)
    if mirrored:
        world.mirror({"id": "7"})
    return world


def test_an_item_comes_from_the_cache_as_boto3_gives_it(make: MakeMirrored) -> None:
    world = eve(make, TYPED)
    reader = world.reader()
    answer = reader.get_item(Key={"id": "7"})
    assert answer["Item"] == world.table.get_item(Key={"id": "7"})["Item"]
    assert {name: type(value) for name, value in answer["Item"].items()} == {
        name: type(value) for name, value in EVE.items()
    }
    assert source_of(answer) == "cache"
    assert reader.counts == ReadCounts(hits=1)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        (JSON, {"id": "7", "n": Decimal("1.5"), "blob": "AP8=", "names": ["a", "b"]}),
        (DYNAMODB_JSON, {name: EVE[name] for name in ("id", "n", "blob", "names")}),
        (HASH, {"id": b"7", "n": b"1.5", "blob": b"\0\xff", "names": b'["a","b"]'}),
        (attribute("name"), {"name": b"Eve"}),
    ],
    ids=["json", "dynamodb-json", "hash", "attribute"],
)
def test_in_every_encoding_cache_and_table_answer_alike(
    make: MakeMirrored, encoding: Encoding, expected: dict[str, Any]
) -> None:
    world = eve(make, ViewSpec(encoding=encoding))
    reader = world.reader()
    cached = reader.get_item(Key={"id": "7"})
    batched = reader.batch_get_item(RequestItems={world.name: {"Keys": [{"id": "7"}]}})
    direct = reader.get_item(Key={"id": "7"}, ConsistentRead=True)
    assert [source_of(one) for one in (cached, batched, direct)] == ["cache", "cache", "table"]
    assert cached["Item"] == direct["Item"] == batched["Responses"][world.name][0]
    assert {name: cached["Item"][name] for name in expected} == expected


@pytest.mark.parametrize("encoding", [JSON, DYNAMODB_JSON, HASH, attribute("name")])
def test_an_empty_text_is_a_value(make: MakeMirrored, encoding: Encoding) -> None:
    world = make(ViewSpec(encoding=encoding))
    world.put({"id": "1", "name": ""})
    world.mirror({"id": "1"})
    answer = world.reader().get_item(Key={"id": "1"})
    assert not answer["Item"]["name"]
    assert source_of(answer) == "cache"


@pytest.mark.parametrize(
    ("tag", "value", "same"),
    [
        ("S", "a:b{c}%", "a:b{c}%"),
        ("N", Decimal("1.50"), Decimal("1.5")),
        ("N", 100, Decimal("1E+2")),
        ("B", b"\0\xff:", Binary(b"\0\xff:")),
        ("B", bytearray(b"x"), b"x"),
    ],
)
def test_a_key_of_any_type_is_found_however_it_is_written(
    make: MakeMirrored, tag: str, value: Any, same: Any
) -> None:
    world = make(TYPED, keys={"pk": tag, "sk": tag})
    world.put({"pk": value, "sk": value, "name": "Eve"})
    world.mirror_items(world.client.scan(TableName=world.name)["Items"])
    for key in ({"pk": value, "sk": same}, {"pk": same, "sk": value}):
        answer = world.reader().get_item(Key=key)
        assert (answer["Item"]["name"], source_of(answer)) == ("Eve", "cache")


def test_what_the_cache_has_not_the_table_tells(make: MakeMirrored) -> None:
    world = eve(make, TYPED, mirrored=False)
    reader = world.reader()
    there, absent = reader.get_item(Key={"id": "7"}), reader.get_item(Key={"id": "8"})
    assert there["Item"] == EVE
    assert "Item" not in absent
    assert (source_of(there), source_of(absent)) == ("table", "table")
    assert reader.counts == ReadCounts(misses=2)


def test_a_complete_mirror_is_believed_when_it_says_absent(make: MakeMirrored) -> None:
    world = eve(make, TYPED, mirrored=False)
    reader = world.reader(on_miss="absent")
    # Nothing vouches for the mirror yet.
    assert source_of(reader.get_item(Key={"id": "7"})) == "table"
    world.is_complete()
    assert "Item" not in (answer := reader.get_item(Key={"id": "7"}))
    assert source_of(answer) == "cache"
    world.is_incomplete()
    assert reader.get_item(Key={"id": "7"})["Item"] == EVE
    assert reader.counts == ReadCounts(misses=3, fallbacks=2)


def test_a_mirror_written_in_other_views_is_not_believed(make: MakeMirrored) -> None:
    world = eve(make, TYPED, mirrored=False)
    world.is_complete()
    reader = world.reader(on_miss="absent", views=[ViewSpec(encoding=HASH)])
    assert source_of(reader.get_item(Key={"id": "7"})) == "table"


def test_from_the_table_comes_what_the_view_would_hold(make: MakeMirrored) -> None:
    soon, past = int(time.time()) + 100, int(time.time()) - 100
    spec = ViewSpec(
        encoding=DYNAMODB_JSON,
        when={"type": "user"},
        ttl="expires",
        projection=Projection(exclude=frozenset({"secret"}), rename={"name": "who"}),
    )
    world = make(spec)
    world.put(
        {"id": "1", "type": "user", "name": "Eve", "secret": "x", "expires": soon},
        {"id": "2", "type": "user", "expires": past},
        {"id": "3", "type": "order"},
    )
    reader = world.reader()
    shown = {"id": "1", "type": "user", "who": "Eve", "expires": soon}
    keys = [{"id": "1"}, {"id": "2"}, {"id": "3"}]
    request = {world.name: {"Keys": keys}}
    for expected in ("table", "cache"):
        answer = reader.get_item(Key={"id": "1"})
        assert (answer["Item"], source_of(answer)) == (shown, expected)
        assert "Item" not in reader.get_item(Key={"id": "2"})
        assert "Item" not in reader.get_item(Key={"id": "3"})
        assert reader.batch_get_item(RequestItems=request)["Responses"][world.name] == [shown]
        world.mirror(*keys)


def test_an_item_that_a_view_is_surely_not_for_is_absent_without_a_look(
    make: MakeMirrored,
) -> None:
    spec = ViewSpec(key="users:{id}", encoding=DYNAMODB_JSON, when={"type": "user"})
    world = make(spec, keys={"id": "S", "type": "S"})
    world.put({"id": "1", "type": "user"}, {"id": "1", "type": "order"})
    world.mirror({"id": "1", "type": "user"})
    reader = world.reader()
    assert reader.get_item(Key={"id": "1"})["Item"] == {"id": "1", "type": "user"}
    assert reader.get_item(Key={"id": "1", "type": "user"})["Item"]["type"] == "user"
    assert "Item" not in reader.get_item(Key={"id": "1", "type": "order"})
    assert reader.counts == ReadCounts(hits=2)


def test_a_batch_takes_from_each_what_it_has(make: MakeMirrored) -> None:
    world = make(TYPED)
    world.put(*({"id": f"{n}"} for n in range(250)))
    world.mirror(*({"id": f"{n}"} for n in range(0, 250, 50)))
    reader = world.reader()
    keys = [{"id": f"{n}"} for n in range(255)]
    answer = reader.batch_get_item(RequestItems={world.name: {"Keys": keys}})
    assert answer["Responses"] == {world.name: keys[:250]}
    assert answer["UnprocessedKeys"] == {}
    assert source_of(answer) == "mixed"
    assert reader.counts == ReadCounts(hits=5, misses=250)


def test_a_batch_is_of_any_number_of_keys_and_nothing_unknown(make: MakeMirrored) -> None:
    world = make()
    requests: list[dict[str, Any]] = [{}, {world.name: {}}, {world.name: {"Keys": [], "Key": 1}}]
    for request in requests:
        with pytest.raises(ValueError, match="RequestItems"):
            world.reader().batch_get_item(RequestItems=request)
    empty = world.reader().batch_get_item(RequestItems={world.name: {"Keys": []}})
    assert empty["Responses"] == {world.name: []}


def test_items_of_other_tables_come_from_these(make: MakeMirrored) -> None:
    world, other = make(TYPED), make(TYPED)
    item = {"id": "7", "n": 1, "b": Binary(b"1")}
    for one in (world, other):
        one.put(item)
        one.mirror({"id": "7"})
    keys = {"Keys": [{"id": "7"}, {"id": "8"}], "ProjectionExpression": "b, n"}
    answer = world.reader().batch_get_item(RequestItems={world.name: keys, other.name: keys})
    shown = [{"n": 1, "b": Binary(b"1")}]
    assert answer["Responses"] == {world.name: shown, other.name: shown}
    assert source_of(answer) == "mixed"


def test_what_another_application_put_there_is_not_taken_for_an_item(make: MakeMirrored) -> None:
    world = eve(make, TYPED)
    for words in (("SET", "not JSON"), ("SET", "[1]"), ("SET", '{"a":{"Z":1}}'), ("SADD", "x")):
        key = f"{world.name}:7"
        world.cache.call(key, b"UNLINK", key)
        world.cache.call(key, words[0], key, words[1])
        answer = world.reader().get_item(Key={"id": "7"})
        assert (answer["Item"], source_of(answer)) == (EVE, "table")


def test_a_view_that_a_reader_cannot_use_is_refused(make: MakeMirrored) -> None:
    world = make(ViewSpec("one", key="one:{id}"), ViewSpec("two", key="two:{name}:{id}"))
    with pytest.raises(ConfigError, match="must be one of one, two, not None"):
        world.reader()
    with pytest.raises(ConfigError, match="more than the primary key"):
        world.reader(view="two")
    with pytest.raises(ConfigError, match="on_miss"):
        world.reader(view="one", on_miss="guess")
    assert "Item" not in world.reader(view="one").get_item(Key={"id": "1"})


def test_an_index_view_is_not_one_to_get_items_from(make: MakeMirrored) -> None:
    one = '[[view]]\nname = "one"\nkey = "one:{id}"\n'
    index = '[[view]]\nname = "by-name"\nindex = { partition = "name" }\n'
    world = make(*parse_views(one + index))
    with pytest.raises(ConfigError, match=r"by-name is an index view; read it by IndexName="):
        world.reader(view="by-name")


def test_keys_and_views_are_looked_up_where_they_are_not_given(make: MakeMirrored) -> None:
    world = eve(make, ViewSpec())
    reader = world.reader(schema=None, views=None)
    assert source_of(reader.get_item(Key={"id": "7"})) == "cache"
    with pytest.raises(SourceError, match="does not exist"):
        type(reader)(world.settings, "no-such-table", aws=world.aws)


def test_a_write_is_waited_for_until_it_is_visible(make: MakeMirrored) -> None:
    world, created = make(TYPED), int(time.time())
    world.put({"id": "1", "n": Decimal(1)})
    world.mirror({"id": "1"}, version=ChangeVersion(1, 1, created - 60))
    response = world.table.put_item(Item={"id": "1", "n": Decimal(2)})
    at = written_at(response)
    assert abs(at - time.time()) < 60
    later = threading.Timer(
        0.2, world.mirror, [{"id": "1"}], {"version": ChangeVersion(1, 2, int(at))}
    )
    reader = world.reader()
    begin = time.monotonic()
    later.start()
    answer = reader.get_item(Key={"id": "1"}, min_time=at, wait=10.0)
    assert 0.1 < time.monotonic() - begin < 5
    assert (answer["Item"]["n"], source_of(answer)) == (2, "cache")
    later.join()


@pytest.mark.parametrize("wait", [0.0, 0.05])
def test_a_write_that_is_not_visible_in_time_is_read_from_the_table(
    make: MakeMirrored, wait: float
) -> None:
    world, now = make(TYPED), time.time()
    world.put({"id": "1", "n": Decimal(1)})
    world.mirror({"id": "1"}, version=ChangeVersion(1, 1, int(now) - 60))
    world.put({"id": "1", "n": Decimal(2)})
    reader = world.reader()
    answer = reader.get_item(Key={"id": "1"}, min_time=now, wait=wait)
    assert (answer["Item"]["n"], source_of(answer)) == (2, "table")
    batch = reader.batch_get_item(
        RequestItems={world.name: {"Keys": [{"id": "1"}, {"id": "2"}]}}, min_time=now, wait=wait
    )
    assert batch["Responses"][world.name] == [{"id": "1", "n": 2}]
    assert reader.counts == ReadCounts(fallbacks=3)


@pytest.mark.parametrize(
    ("version", "visible"),
    [
        (ChangeVersion(1, 1, 999), False),
        (ChangeVersion(1, 1, 1000), True),
        (SnapshotVersion(1000), False),
        (SnapshotVersion(1001), True),
    ],
    ids=str,
)
def test_a_fence_tells_whether_a_moment_is_visible(
    make: MakeMirrored, version: Any, *, visible: bool
) -> None:
    world = eve(make, TYPED, mirrored=False)
    world.mirror({"id": "7"}, version=version)
    answer = world.reader().get_item(Key={"id": "7"}, min_time=1000.5)
    assert source_of(answer) == ("cache" if visible else "table")


def test_a_delete_is_visible_by_its_fence(make: MakeMirrored) -> None:
    world, now = eve(make, TYPED), time.time()
    world.is_complete()
    world.table.delete_item(Key={"id": "7"})
    world.mirror({"id": "7"}, version=ChangeVersion(1, 2, int(now) + 1))
    reader = world.reader(on_miss="absent")
    answer = reader.get_item(Key={"id": "7"}, min_time=now)
    assert ("Item" in answer, source_of(answer)) == (False, "cache")


def test_the_age_of_an_answer_is_that_of_what_it_shows(make: MakeMirrored) -> None:
    world, now = eve(make, TYPED, mirrored=False), time.time()
    world.mirror({"id": "7"}, version=ChangeVersion(1, 1, int(now) - 100))
    reader = world.reader()
    assert age_of(reader.get_item(Key={"id": "7"})) is None
    age = age_of(reader.get_item(Key={"id": "7"}, age=True))
    assert age is not None
    assert 99 < age < 130
    assert age_of(reader.get_item(Key={"id": "7"}, ConsistentRead=True)) == 0.0
    world.put({"id": "8"})
    world.mirror({"id": "8"}, version=SnapshotVersion(int(now) - 500))
    request = {world.name: {"Keys": [{"id": "7"}, {"id": "8"}]}}
    age = age_of(reader.batch_get_item(RequestItems=request, age=True))
    assert age is not None
    assert 499 < age < 530
    fence = fence_key(f"{world.name}:7")
    world.cache.call(fence, b"UNLINK", fence)
    assert age_of(reader.get_item(Key={"id": "7"}, age=True)) is None


def test_threads_share_a_reader(make: MakeMirrored) -> None:
    world = make(TYPED)
    world.put(*({"id": f"{n}", "n": Decimal(n)} for n in range(20)))
    world.mirror(*({"id": f"{n}"} for n in range(20)))
    reader, wrong = world.reader(), list[Any]()

    def read(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(200):
            number = rng.randrange(20)
            item = reader.get_item(Key={"id": f"{number}"})["Item"]
            if item != {"id": f"{number}", "n": number}:
                wrong.append(item)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert reader.counts == ReadCounts(hits=1600)


def test_importing_dynamirror_imports_no_reader() -> None:
    program = (
        "import sys, dynamirror; light = not {'boto3', 'valkey'} & set(sys.modules); "
        "from dynamirror import AsyncReader, Reader; print(light, Reader.__name__)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["True", "Reader"]
