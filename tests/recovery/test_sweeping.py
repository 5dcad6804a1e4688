"""A sweep deletes the entries whose items are gone, and touches nothing else."""

from typing import Any

import pytest
from tests.support.builders import item
from tests.support.world import MakeWorld, World

from dynamirror.cache.scripts import Command
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import ViewSpec

Written = list[tuple[bytes, ...]]


def write(world: World, *commands: tuple[bytes, ...]) -> None:
    """Write as another application does."""
    for answer in world.cache.execute(Command(words[1], words) for words in commands):
        assert isinstance(answer, int | bytes), answer


def dumps(world: World, *commands: tuple[bytes, ...]) -> dict[bytes, Any]:
    """The keys that were written, byte for byte."""
    keys = [words[1] for words in commands]
    answers = world.cache.execute(Command(key, (b"DUMP", key)) for key in keys)
    assert all(isinstance(answer, bytes) for answer in answers)
    return dict(zip(keys, answers, strict=True))


def foreign(table: bytes) -> Written:
    """Keys of others, some of which look much like ours."""
    return [
        (b"SET", b"other:1", b"1"),
        (b"SET", table, b"1"),
        (b"SET", table + b":", b"1"),
        (b"SET", table + b"s:1", b"1"),
        (b"SET", table[:-1] + b":1", b"1"),
        (b"SET", b" " + table + b":1", b"1"),
        (b"SET", b"x" + table + b":1", b"1"),
        (b"SET", table + b":{1}", b"1"),
        (b"SET", table + b":%zz", b"1"),
        (b"SET", table + b":100%", b"1"),
        (b"SET", table + b":%41", b"an A that nobody escapes"),
        (b"SET", table + b":%", b"an id that no item has"),
        (b"SET", table + b":" + b"x" * 2049, b"an id that no item has"),
        (b"SET", table + b":\xff\xfe", b"no text"),
        (b"SET", b"\xff\xfe", b"no text"),
        (b"SET", b"\0", b"1"),
        (b"SET", b"", b"an empty key"),
        (b"RPUSH", b"list", b"a", b"b"),
        (b"SADD", b"set", b"a"),
        (b"ZADD", b"sorted", b"1", b"a"),
        (b"HSET", b"hash", b"a", b"1"),
        (b"XADD", b"stream", b"1-1", b"a", b"1"),
        (b"PFADD", b"log", b"a"),
        (b"SETBIT", b"bits", b"7", b"1"),
        (b"RPUSH", table + b":{list}", b"a"),
        (b"XADD", table.upper() + b":1", b"1-1", b"a", b"1"),
    ]


def test_keys_of_others_are_not_touched_while_left_over_entries_go(make_world: MakeWorld) -> None:
    world = make_world()
    world.puts(item(str(number), name="old") for number in range(20))
    others = foreign(world.table.encode())
    write(world, *others)
    before = dumps(world, *others)
    world.rebuilt()
    delivery = world.follow()
    # Puts only: what a writer deletes, the sweep may delete first.
    with world.written_to(world.counted(1, map(str, range(20)))):
        gone = [f"{world.table}:gone {number}" for number in range(30)]
        write(world, *((b"SET", key.encode(), b"left over") for key in gone))
        _loaded, swept = world.rebuilt()
        assert swept.deleted == len(gone)
        assert world.marker.is_complete
    world.caught_up(delivery)
    assert dumps(world, *others) == before
    assert world.compare().differences == 0


def test_an_entry_of_another_type_whose_item_is_gone_is_deleted_too(world: World) -> None:
    key = f"{world.table}:gone"
    write(world, (b"RPUSH", key.encode(), b"a"))
    _loaded, swept = world.rebuilt()
    assert swept.deleted == 1
    assert world.cache.call(key, b"EXISTS", key.encode()) == 0


def test_a_number_that_no_item_can_have_does_not_stop_the_sweep(make_world: MakeWorld) -> None:
    world = make_world(keys={"id": "N"})
    world.puts([{"id": {"N": "1"}}])
    others: Written = [
        (b"SET", f"{world.table}:{text}".encode(), b"1")
        for text in ("1" * 39, "1E+126", "1E-131", "1.0", "+1", "x", "NaN", "1e+50")
    ]
    write(world, *others, (b"SET", f"{world.table}:2".encode(), b"left over"))
    before = dumps(world, *others)
    _loaded, swept = world.rebuilt()
    assert swept.deleted == 1
    assert dumps(world, *others) == before


@pytest.mark.parametrize("key", ["{id}", "d{id}", "dynamirror{id}"])
def test_where_keys_may_be_anybodys_nothing_is_swept(make_world: MakeWorld, key: str) -> None:
    world = make_world(ViewSpec(key=key))
    world.put("1")
    others: Written = [(b"SET", b"dynamirrorsession", b"1"), (b"SET", b"of anybody", b"1")]
    write(world, *others)
    before = dumps(world, *others)
    _loaded, swept = world.rebuilt()
    assert (swept.entries, swept.deleted) == (0, 0)
    assert dumps(world, *others) == before


def test_where_the_cache_is_the_mirrors_alone_all_that_fits_is_swept(make_world: MakeWorld) -> None:
    world = make_world(ViewSpec(key="{id}", exclusive=True))
    world.put("1")
    write(world, (b"SET", b"left over", b"1"), (b"RPUSH", b"left over, too", b"1"))
    others: Written = [(b"SET", b"\xff", b"1"), (b"SET", b"{tag}", b"1"), (b"SET", b"%", b"1")]
    write(world, *others)
    before = dumps(world, *others)
    _loaded, swept = world.rebuilt()
    assert swept.deleted == 2
    assert dumps(world, *others) == before
    assert world.marker.is_complete  # the marker, the run and the fences are not swept
    assert world.compare().orphaned == 0


def test_a_fence_that_is_no_version_confirms_nothing(world: World) -> None:
    key = f"{world.table}:gone"
    write(world, (b"SET", key.encode(), b"1"), (b"SET", fence_key(key).encode(), b"r12"))
    steps = world.rebuild()
    run = world.begun(steps)
    assert steps.sweep(run).doubtful == 1


def test_an_item_that_is_there_after_all_is_written_not_deleted(world: World) -> None:
    world.put("1", name="x")
    steps = world.rebuild()
    run = world.begun(steps)
    write(world, (b"SET", f"{world.table}:1".encode(), b"damaged"))
    swept = steps.sweep(run)  # without having loaded
    assert (swept.doubtful, swept.deleted, swept.written) == (1, 0, 1)
    assert world.compare().differences == 0
