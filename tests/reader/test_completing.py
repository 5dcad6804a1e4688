"""A mirror that turns complete while it is read: nothing that exists is told absent."""

from collections.abc import Callable
from typing import Any

import pytest
from boto3.dynamodb.conditions import Key
from tests.support.mirrored import MakeMirrored, Mirrored, source_of

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.reader import Reader
from dynamirror.reader.guarded_cache import ReadCounts
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.keyspace import completeness_marker_key
from dynamirror.views.view import ViewSpec

SPEC = ViewSpec(encoding=DYNAMODB_JSON, collection=True)
ITEMS = [{"pk": "p", "sk": number} for number in range(5)]
WHOLE = Key("pk").eq("p")


@pytest.fixture
def world(make: MakeMirrored) -> Mirrored:
    """A table of five items, of which the cache has none."""
    world = make(SPEC, keys={"pk": "S", "sk": "N"})
    world.put(*ITEMS)
    return world


@pytest.fixture
def before_marker(world: Mirrored, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What is done one by one, each before a reader reads the marker after something else."""
    steps: list[Callable[[], None]] = []
    marker = completeness_marker_key(world.name).encode()
    looked: list[bytes] = []

    def step(commands: list[Command]) -> None:
        if looked and marker in [one.key for one in commands] and steps:
            steps.pop(0)()
            looked.clear()
        looked.extend(one.key for one in commands if one.key != marker)

    def ask(cache: Cache, command: Command) -> Any:
        if cache is not world.cache:
            step([command])
        return asked(cache, command)

    def execute(cache: Cache, commands: Any) -> Any:
        commands = list(commands)
        if cache is not world.cache:
            looked.extend(one.key for one in commands if one.key != marker)
            step([one for one in commands if one.key == marker])
        return executed(cache, commands)

    asked, executed = Cache.read_one, Cache.execute
    monkeypatch.setattr(Cache, "read_one", ask)
    monkeypatch.setattr(Cache, "execute", execute)
    return steps


def rebuild(world: Mirrored, since: int = 1) -> None:
    """Bring all items into the cache, and say so."""
    world.mirror(*ITEMS)
    world.is_complete(since)


def flushed(world: Mirrored) -> Reader:
    """A reader that saw the mirror complete, whose cache has been emptied since."""
    reader = world.reader(on_miss="absent")
    rebuild(world)
    absent = reader.get_item(Key={"pk": "p", "sk": 99})
    assert source_of(absent) == "cache"
    world.cache.broadcast(b"FLUSHALL")
    return reader


@pytest.mark.parametrize("begun", ["new", "flushed"])
def test_an_item_is_not_absent_when_a_rebuild_ends_behind_the_miss(
    world: Mirrored, before_marker: list[Callable[[], None]], begun: str
) -> None:
    reader = world.reader(on_miss="absent") if begun == "new" else flushed(world)
    hits = reader.counts.hits
    before_marker.append(lambda: rebuild(world, 50))
    answer = reader.get_item(Key=ITEMS[3])
    assert not before_marker, "the rebuild ended between the look and the marker"
    assert (answer.get("Item"), source_of(answer)) == (ITEMS[3], "cache")
    assert reader.counts.hits == hits + 1


@pytest.mark.parametrize("begun", ["new", "flushed"])
def test_no_item_of_a_batch_is_absent_when_a_rebuild_ends_behind_the_miss(
    world: Mirrored, before_marker: list[Callable[[], None]], begun: str
) -> None:
    reader = world.reader(on_miss="absent") if begun == "new" else flushed(world)
    before_marker.append(lambda: rebuild(world, 50))
    keys = [*ITEMS, {"pk": "p", "sk": 99}]
    answer = reader.batch_get_item(RequestItems={world.name: {"Keys": keys}})
    assert not before_marker
    assert answer["Responses"] == {world.name: ITEMS}
    assert source_of(answer) == "cache"


@pytest.mark.parametrize("begun", ["new", "flushed"])
def test_a_query_is_not_empty_when_a_rebuild_ends_behind_the_index(
    world: Mirrored, before_marker: list[Callable[[], None]], begun: str
) -> None:
    reader = world.reader(on_miss="absent") if begun == "new" else flushed(world)
    before_marker.append(lambda: rebuild(world, 50))
    answer = reader.query(KeyConditionExpression=WHOLE)
    assert answer["Items"] == ITEMS
    # A new reader looks at the marker first, and asks the table.
    assert source_of(answer) == ("table" if begun == "new" else "cache")
    assert bool(before_marker) == (begun == "new")


def test_a_mirror_that_is_lost_and_rebuilt_again_and_again_is_not_believed(
    world: Mirrored, before_marker: list[Callable[[], None]]
) -> None:
    reader = flushed(world)
    key = {"pk": "p", "sk": 3}

    def lose_and_say_complete(since: int) -> Callable[[], None]:
        def do() -> None:
            world.cache.broadcast(b"FLUSHALL")
            world.is_complete(since)

        return do

    request = {world.name: {"Keys": [key]}}
    calls: list[Callable[[], Any]] = [
        lambda: reader.get_item(Key=key).get("Item"),
        lambda: reader.batch_get_item(RequestItems=request)["Responses"][world.name][0],
        lambda: reader.query(KeyConditionExpression=WHOLE)["Items"][3],
    ]
    for call in calls:
        before_marker[:] = [lose_and_say_complete(since) for since in range(100, 110)]
        assert call() == key
        world.cache.broadcast(b"FLUSHALL")


def test_a_marker_that_stays_vouches_with_one_look_after_the_miss(
    world: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuild(world)
    reader = world.reader(on_miss="absent")
    gone = {"pk": "p", "sk": 99}
    assert source_of(reader.get_item(Key=gone)) == "cache"
    commands: list[Any] = []
    asked = Cache.read_one

    def ask(cache: Cache, command: Command) -> Any:
        commands.append(command.words[0])
        return asked(cache, command)

    monkeypatch.setattr(Cache, "read_one", ask)
    assert source_of(reader.get_item(Key=gone)) == "cache"
    assert commands == [b"GET", b"HGETALL"]
    assert reader.counts == ReadCounts(misses=2)


def test_a_gap_that_is_noted_meanwhile_is_heeded(
    world: Mirrored, before_marker: list[Callable[[], None]]
) -> None:
    rebuild(world)
    reader = world.reader(on_miss="absent")
    assert source_of(reader.query(KeyConditionExpression=WHOLE)) == "cache"
    before_marker.append(world.is_incomplete)
    assert source_of(reader.query(KeyConditionExpression=WHOLE)) == "table"
    assert source_of(reader.get_item(Key={"pk": "p", "sk": 99})) == "table"
