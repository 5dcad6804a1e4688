"""The canary comes through among all that happens, and nobody takes it for an item."""

import re
from time import time
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.builders import SCHEMA, Time, item, record
from tests.support.scans import keys_in
from tests.support.world import FENCE_TTL, MARGIN, MakeCanary, MakeWorld, World

from dynamirror.cache.client import Cache
from dynamirror.cache.quarantine import count, read_quarantine
from dynamirror.cache.scripts import Command
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.reader import Reader
from dynamirror.recovery.redrive import Outcome, redrive
from dynamirror.recovery.verify import compare
from dynamirror.replication.canary_probe import CanaryMark, CanaryProbe, last
from dynamirror.replication.replicator import Replicator
from dynamirror.views.canary import NAME, is_canary, item_key
from dynamirror.views.keyspace import canary_key, fence_key
from dynamirror.views.view import Views, ViewSpec

VIEWS = {
    "default": (ViewSpec(),),
    "of an id alone": (ViewSpec(key="{id}", exclusive=True),),
    "when": (
        ViewSpec("some", key="s:{id}", when={"id": {"prefix": "dyn"}}),
        ViewSpec("all", key="a:{id}"),
    ),
    "key that changes": (ViewSpec(key="by:{name}:{id}"),),
}


def beat(canary: CanaryProbe) -> None:
    """One beat, which must be seen."""
    result = canary.probe(30)
    assert result.seen, result.error
    assert result.latency is not None


def assert_mirrored(world: World) -> None:
    """Hold the mirror true, and the canary no part of it but in its own place."""
    assert any(is_canary(one, world.schema) for one in world.items()), "it is in the table"
    found = world.verify()
    assert (found.differences, found.in_flight, found.sample) == (0, 0, {})
    assert found.items == len(world.items()) - 1
    key = {**item_key(world.schema), "name": {"S": "x"}}
    places = {view.key_of(key) for view in world.views}
    assert not places & {one.decode() for one in keys_in(world.cache, "*")}
    assert last(world.cache, world.table) is not None


@pytest.mark.parametrize("views", VIEWS.values(), ids=VIEWS)
def test_it_comes_through_among_random_changes(
    make_world: MakeWorld, make_canary: MakeCanary, views: tuple[ViewSpec, ...]
) -> None:
    world = make_world(*views, items=[item(f"old{number}", name="x") for number in range(30)])
    canary, delivery = make_canary(world), world.follow()
    with world.written_to(world.simulated(6)):
        beat(canary)
        (loaded,), _swept = world.rebuilt()
        beat(canary)
        assert world.marker.is_complete
    world.caught_up(delivery)
    assert loaded.items >= 30
    assert_mirrored(world)
    delivery.stop()
    (loaded,), swept = world.rebuilt()
    assert (loaded.items, swept.deleted) == (len(world.items()) - 1, 0)
    assert_mirrored(world)


@pytest.mark.parametrize("tag", "SNB")
def test_a_collection_does_not_list_it(make_world: MakeWorld, tag: str) -> None:
    spec = ViewSpec(key="c:{{{id}}}:{n}", collection=True)
    world = make_world(spec, keys={"id": "S", "n": tag})
    values: Any = {"S": ["a", "b"], "N": ["1", "0"], "B": [b"a", b"b"]}[tag]
    for value in values:
        for partition in ("x", NAME):
            key = {"id": {"S": partition}, "n": {tag: value}}
            if not is_canary(key, world.schema):
                world.client.put_item(TableName=world.table, Item=key)
    # Which types the keys have, it finds out by itself.
    undeclared = type(world.schema)(world.table, world.schema.keys)
    canary = CanaryProbe(world.cache, world.client, undeclared)
    delivery = world.follow()
    beat(canary)
    beat(canary)
    assert canary._schema.types == ("S", tag)
    world.caught_up(delivery)
    world.rebuilt()
    assert_mirrored(world)
    index = f"c:{{{NAME}}}:%%".encode()
    members = world.cache.execute_one(Command(index, (b"ZRANGE", index, 0, -1)))
    assert len(members) == len(world.items()) - 1 - len(values)


def test_it_tells_when_the_replicator_stands_still(world: World, make_canary: MakeCanary) -> None:
    canary, delivery = make_canary(world), world.follow()
    beat(canary)
    delivery.stop()
    stopped = canary.probe(0.3)
    assert (stopped.seen, stopped.latency) == (False, None)
    assert stopped.error is not None
    assert re.fullmatch(r"the cache did not have it within \d s of the write", stopped.error)
    world.follow()
    beat(canary)


def test_another_canary_s_beat_that_overtakes_this_one_counts(
    world: World, make_canary: MakeCanary
) -> None:
    one, other = make_canary(world), make_canary(world)
    one.write(CanaryMark(1000, "one"))
    other.write(CanaryMark(1001, "other"))
    delivery = world.follow()
    world.caught_up(delivery)
    assert last(world.cache, world.table) == CanaryMark(1001, "other")
    assert one.wait_until_seen(CanaryMark(1000, "one"), 0).seen


def test_a_beat_of_a_clock_that_is_ahead_is_not_taken_for_a_later_one(
    world: World, make_canary: MakeCanary
) -> None:
    delivery = world.follow()
    beat(CanaryProbe(world.cache, world.client, world.schema, now=lambda: time() + 3600))
    delivery.stop()
    assert not make_canary(world).probe(0.1).seen


def test_it_is_gone_from_the_cache_once_it_is_gone_from_the_table(
    world: World, make_canary: MakeCanary
) -> None:
    delivery = world.follow()
    beat(make_canary(world))
    world.delete(NAME)
    world.caught_up(delivery)
    assert last(world.cache, world.table) is None
    beat(make_canary(world))


def test_it_is_fenced_as_everything(world: World, make_canary: MakeCanary) -> None:
    world.follow()
    beat(make_canary(world))
    fence = fence_key(canary_key(world.table))
    assert 0 < world.cache.call(fence, b"TTL", fence) <= FENCE_TTL


def test_what_a_replicator_that_did_not_know_it_wrote_is_swept(
    world: World, make_canary: MakeCanary
) -> None:
    make_canary(world).write(CanaryMark(1, "x"))
    world.put("1")
    key = f"{world.table}:dynamirror:canary"
    (view,) = world.views
    assert view.key_of({"id": {"S": NAME}}) == key
    for _how in ("by a sweep", "by a verify"):
        world.cache.call(key, b"SET", key, b"{}")
        if _how == "by a sweep":
            assert world.rebuilt()[1].deleted == 1
        else:
            world.cache.call(key, b"UNLINK", fence_key(key))
            found = world.verify(settle=0, repair=True)
            assert (found.orphaned, found.repaired) == (1, 1)
        assert not world.cache.call(key, b"GET", key)


def test_in_quarantine_it_is_healed_as_any_item(world: World, make_canary: MakeCanary) -> None:
    key = {"id": {"S": NAME}}
    world.client.put_item(TableName=world.table, Item={**key, "dynamirror": {"S": "nobody's beat"}})
    poison = record(1, {**key, "dynamirror": {"X": "?"}}, ApproximateCreationDateTime=1)
    poison["eventSourceARN"] = world.arn
    world.replicator({"Records": [poison]}, Time())
    assert count(world.cache, world.table) == 1
    assert last(world.cache, world.table) is None
    reader = SnapshotReader(world.client, world.table, margin=MARGIN)
    items = read_quarantine(world.cache, world.table)
    healed = redrive(world.cache, world.views, reader, items, fence_ttl=FENCE_TTL)
    assert [one.outcome for one in healed] == [Outcome.HEALED]
    assert last(world.cache, world.table) is None, "what is no beat is not taken for one"
    delivery = world.follow()
    beat(make_canary(world))
    world.caught_up(delivery)
    assert_mirrored(world)


def mark(number: int) -> dict[str, Any]:
    """The canary's item."""
    said = {"at": {"N": str(number)}, "nonce": {"S": f"{number}"}}
    return {"id": {"S": NAME}, "dynamirror": {"M": said}}


# Which items changes are of, in the order they were made: the canary is number 0.
histories = st.lists(st.integers(0, 3), min_size=1, max_size=25)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, data=st.data())
def test_any_delivery_order_leaves_the_newest_beat_and_a_true_mirror(
    cache: Cache, history: list[int], data: st.DataObject
) -> None:
    cache.broadcast(b"FLUSHALL")
    table: dict[int, dict[str, Any]] = {}
    changes = []
    for number, who in enumerate(history, 1):
        old = table.get(who)
        table[who] = mark(number) if who == 0 else item(str(who), name=str(number))
        changes.append(record(number, table[who], old))
    again = data.draw(st.lists(st.sampled_from(changes), max_size=5))
    order = data.draw(st.permutations([*changes, *again]))
    cut = data.draw(st.integers(0, len(order)))
    views = Views.for_schema((ViewSpec(key="{id}"),), SCHEMA)
    replicator = Replicator(cache, views, fence_ttl=FENCE_TTL)
    for batch in (order[:cut], order[cut:]):
        replicator({"Records": batch}, Time())
    found = compare(table.values(), cache, views.bind(SCHEMA))
    assert found.differences == 0
    assert found.items == found.entries == len(table) - (0 in table)
    beats = [number for number, who in enumerate(history, 1) if who == 0]
    expected = CanaryMark(beats[-1], str(beats[-1])) if beats else None
    assert last(cache, "users") == expected


@pytest.mark.parametrize("on_miss", ["table", "absent"])
def test_a_reader_does_not_show_it(
    world: World,
    make_canary: MakeCanary,
    valkey: EmbeddedValkey,
    on_miss: Literal["table", "absent"],
) -> None:
    world.follow()
    beat(make_canary(world))
    with Reader(
        valkey.settings(), world.table, views=(ViewSpec(),), aws=world.aws, on_miss=on_miss
    ) as reader:
        for consistent in (False, True):
            answer = reader.get_item(Key={"id": NAME}, ConsistentRead=consistent)
            assert "Item" not in answer
