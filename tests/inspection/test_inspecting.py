"""Real changes, a real cache, and an inspection beside the replication."""

import json
from itertools import count
from pathlib import Path
from time import sleep, time
from typing import Any

import pytest
from tests.support.clusters import hung
from tests.support.deadlines import wait_until
from tests.support.inspected import EPOCH, SCHEMA
from tests.support.processes import environment, invoke, start
from tests.support.world import MakeWorld, World

from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.inspection.inspector import Inspector
from dynamirror.inspection.stored import store_tally, stored_tally
from dynamirror.inspection.tally import Tally, ViewTally
from dynamirror.records.stream_record import Change
from dynamirror.records.version import ChangeVersion
from dynamirror.runner.inspection import Inspection, Source
from dynamirror.views.index import IndexSpec
from dynamirror.views.keyspace import fence_key, inspection_key
from dynamirror.views.view import ViewSpec, bind_views

BOARD = ViewSpec(name="board", index=IndexSpec(partition="city"), score="points")


def do(cache: Cache, *words: str) -> Any:
    """Send a command behind the mirror's back."""
    command, key, *rest = words
    return cache.call(key, command.encode(), key.encode(), *(each.encode() for each in rest))


def be_quiet(cache: Cache, key: str) -> None:
    """Make an entry one that nothing has written for a day: its fence has expired."""
    assert do(cache, "DEL", fence_key(key)) == 1


def put(world: World, item_id: str, points: int = 1) -> None:
    """Put an item that is on the board."""
    texts = {"id": {"S": item_id}, "city": {"S": "Ulm"}, "points": {"N": str(points)}}
    world.client.put_item(TableName=world.table, Item=texts)


def begun(world: World, inspection: Inspection) -> None:
    """Wait until the inspection reads the stream."""
    numbers = count()

    def is_read() -> bool:
        put(world, "first", next(numbers))
        return inspection.tally().total.checks > 0

    wait_until(is_read)


def test_each_damage_behind_the_mirrors_back_is_counted_under_its_kind(
    make_world: MakeWorld,
) -> None:
    world = make_world(ViewSpec(), BOARD)
    table, cache = world.table, world.cache
    delivery = world.follow()
    put(world, "quiet")
    world.caught_up(delivery)
    do(cache, "SET", f"{table}:quiet", "wrong")
    be_quiet(cache, f"{table}:quiet")
    options: Any = {"thresholds": (0.5, 1.0, 2.0), "poll_seconds": 0.05}
    with (
        Inspection(*(world.aws, cache, world.views), source=Source.TABLE, **options) as patrol,
        Inspection(*(world.aws, cache, world.views), **options) as inspection,
    ):
        begun(world, inspection)
        for item_id in ("wrong", "missing", "gone", "member", "back", "fine"):
            put(world, item_id)
        put(world, "back", 2)
        world.delete("gone")
        world.caught_up(delivery)
        do(cache, "SET", f"{table}:wrong", "wrong")
        do(cache, "DEL", f"{table}:missing")
        do(cache, "SET", f"{table}:gone", "back again")
        assert do(cache, "ZREM", f"{table}:board:{{Ulm}}:%%", "member") == 1
        found = {"wrong_value": 1, "missing": 1, "should_be_gone": 1, "wrong_index": 1}
        wait_until(lambda: inspection.tally().total.violations == found)
        wait_until(lambda: patrol.tally().total.violations.get("wrong_value"))
        wait_until(lambda: inspection.inspector.waiting == 0)
    tally = inspection.tally()
    assert tally.tables[table]["board"].violations == {"wrong_index": 1}
    last = tally.total.within["2"]
    assert last.asked - last.consistent == sum(found.values())
    assert last.undecided == 0
    assert all(each.sequence_number is None for each in patrol.tally().recent)


def change(number: int) -> Change:
    """Return a change that nobody has made."""
    key: Any = {"id": {"S": str(number)}}
    return Change("users", key, ChangeVersion(EPOCH, number + 1, int(time())), key, None)


def test_a_cache_that_hangs_is_unavailable_and_its_checks_are_undecided(
    single_valkey: EmbeddedValkey, open_cache: Any
) -> None:
    cache = open_cache(single_valkey.settings(timeout=0.3))
    inspector = Inspector(cache, bind_views([ViewSpec()], SCHEMA), 1.0, (0.1, 60.0))
    inspector.receive([change(0)], made=time())
    with hung(single_valkey):
        wait_until(lambda: inspector.run_due() > 0)
        down = inspector.tally().total
        assert (down.within["0.1"].asked, down.within["0.1"].undecided) == (0, 1)
    wait_until(lambda: inspector.run_due() > 0)
    inspector.receive([change(1)], made=time())

    def has_answered() -> bool:
        inspector.run_due()
        return inspector.tally().total.within["0.1"].asked > 0

    wait_until(has_answered)
    total = inspector.tally().total
    assert total.unavailable >= 0.3
    assert total.violations == {}


def test_tallies_of_several_processes_are_stored_for_an_hour(cache: Cache) -> None:
    now = time()
    one = Tally(1.0, now, now, {"users": {"default": ViewTally(checks=3)}})
    old = Tally(1.0, now - 9000, now - 9000, {"users": {"default": ViewTally(checks=99)}})
    assert stored_tally(cache, "users") is None
    store_tally(cache, "users", "a:0", old)
    do(cache, "PERSIST", inspection_key("users"))
    for who in ("a:1", "a:2", "a:2"):
        store_tally(cache, "users", who, one)
    do(cache, "HSET", inspection_key("users"), "a:3", "damaged")
    stored = stored_tally(cache, "users")
    assert stored is not None
    assert stored.total.checks == 6
    assert 3500 < do(cache, "TTL", inspection_key("users")) <= 3600


@pytest.fixture
def env(valkey: EmbeddedValkey, dynamodb: EmbeddedDynamoDB, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a command line."""
    return environment(
        tmp_path, AWS_ENDPOINT_URL=dynamodb.endpoint_url, **valkey.settings().to_env()
    )


def test_run_counts_what_it_inspects_and_stores_it(world: World, env: dict[str, str]) -> None:
    numbers = count()
    options = ("--table", world.table, "--inspect", "1", "--interval", "0.1")
    process = start("run", *options, "--json", "--no-auto-rebuild", env=env)
    try:
        assert process.stdout
        for text in process.stdout:
            counts = json.loads(text)["inspection"]
            if counts["within"]["1"]["consistent"]:
                break
            put(world, "1", next(numbers))
            sleep(0.05)  # so many writes suffice
        assert counts["violations"]["missing"] == 0
        process.terminate()
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    stored = stored_tally(world.cache, world.table)
    assert stored is not None
    assert stored.total.checks >= counts["checks"] > 0


def test_inspect_exits_with_1_only_if_an_entry_was_wrong(world: World, env: dict[str, str]) -> None:
    world.put("1", text="right")
    world.caught_up(world.follow())
    options = ("--table", world.table, "--source", "table", "--within", "0.2")
    done = invoke("inspect", *options, "--for", "0.5", "--json", env=env)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["violations"] == dict.fromkeys(counts["violations"], 0)
    do(world.cache, "DEL", f"{world.table}:1")
    be_quiet(world.cache, f"{world.table}:1")
    process = start("inspect", *options, "--interval", "0.1", "--for", "60", env=env)
    try:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "1 violation (1 missing)" in line:
                break
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 1
    finally:
        process.kill()
        process.communicate()
    assert any(line.startswith("consistency violated: missing") for line in lines)
    assert "right" not in "".join(lines)


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--inspect", "0"),
        ("run", "--inspect", "1.5"),
        ("inspect", "--share", "2"),
        ("inspect", "--within", "10,1"),
        ("inspect", "--within", "a"),
        ("inspect", "--within", "0"),
    ],
    ids=" ".join,
)
def test_a_wrong_share_or_threshold_is_a_usage_error(words: tuple[str, ...]) -> None:
    done = invoke(*words, "--table", "users", "--cache", "127.0.0.1:1", env={})
    assert done.returncode == 2
    assert done.stderr.startswith(f"dynamirror: {words[1]}: ")
