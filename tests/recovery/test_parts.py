"""Sweep, verify and audit in parts: killed anywhere they resume, and all parts cost one pass."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pytest
from tests.support.airports import airports
from tests.support.builders import item
from tests.support.deadlines import wait_until
from tests.support.world import MARGIN, MakeWorld, World

from dynamirror.cache import slot_scan
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.dynamodb.rate import Rate
from dynamirror.dynamodb.scan import Scan, Segment
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError
from dynamirror.recovery import comparison, verify
from dynamirror.recovery.audit import AuditTurn, audit, begin_turn, save_turn
from dynamirror.recovery.comparison import (
    CachePart,
    Comparison,
    Part,
    PartProgress,
    Share,
    TablePart,
)
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.recovery.rebuild_state import LostError
from dynamirror.recovery.sweep import TotalSwept
from dynamirror.recovery.verification_state import VerificationState
from dynamirror.views.encoding import JSON
from dynamirror.views.index import IndexSpec
from dynamirror.views.keyspace import rebuild_key
from dynamirror.views.view import ViewSpec


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make many batches of a small cache, and report every difference by its key."""
    monkeypatch.setattr(slot_scan, "_KEYS_AT_ONCE", 20)
    monkeypatch.setattr(slot_scan, "_SCAN_COUNT", 10)
    monkeypatch.setattr(slot_scan, "_SCANS_AT_ONCE", 1)
    monkeypatch.setattr(comparison, "_SAMPLE", 1_000)


class Interrupted(Cache):
    """A cache that is lost before or after the given exchange with it."""

    left = 0
    exchanges = 0

    def execute(self, commands: Iterable[Command]) -> list[Any]:
        self.exchanges += 1
        self.left -= 1
        if self.left == 1:
            super().execute(commands)
        if self.left in (0, 1):
            raise CacheError("lost")
        return super().execute(commands)


@pytest.fixture
def interrupted(valkey: EmbeddedValkey) -> Iterator[Interrupted]:
    """A cache to lose."""
    cache = Interrupted(valkey.settings())
    yield cache
    cache.close()


def orphans(world: World, count: int) -> set[str]:
    """Write entries without items."""
    keys = {f"{world.table}:gone {number}" for number in range(count)}
    for key in keys:
        world.cache.call(key, b"SET", key, b"left over")
    return keys


def test_a_sweep_that_is_killed_between_any_two_commands_goes_on_there(
    make_world: MakeWorld, interrupted: Interrupted
) -> None:
    world = make_world()
    world.puts(airports(60))
    orphans(world, 40)
    steps = world.rebuild()
    run = world.begun(steps)
    steps.load(run, 0)
    killed = Rebuild(
        *(interrupted, world.views, world.client),
        fence_ttl=93_600,
        stream_arn=world.arn,
        margin=MARGIN,
    )
    ranges = killed.sweep_ranges(run, 3)
    assert len(ranges) == 3
    kills = deaths = 0
    while not (swept := killed.swept(run)).done:
        for slots in ranges:
            # Each is killed at its first exchange, then at its second, and so on.
            interrupted.left = 1 + kills // 3 % 24
            kills += 1
            try:
                killed.sweep(run, slots)
            except CacheError:
                deaths += 1
            interrupted.left = 0
        assert kills < 500
    # No range is swept in three exchanges, so that the first twelve calls died in any case.
    assert deaths >= 12
    # What was deleted before a checkpoint was kept is not counted.
    assert (swept.entries, swept.deleted) <= (100, 40)
    steps.finish(run)
    assert world.compare().differences == 0


def test_a_sweep_ends_in_time_and_goes_on(make_world: MakeWorld) -> None:
    world = make_world()
    world.puts(airports(60))
    orphans(world, 40)
    steps = world.rebuild()
    run = world.begun(steps)
    steps.load(run, 0)
    calls = 1
    while not (swept := steps.sweep(run, in_time=lambda: False)).done:
        total = TotalSwept(
            entries=swept.entries,
            doubtful=swept.doubtful,
            deleted=swept.deleted,
            written=swept.written,
            parts=1,
        )
        assert steps.swept(run) == total
        calls += 1
    assert calls > 5
    assert (swept.entries, swept.doubtful, swept.deleted) == (100, 40, 40)
    assert steps.sweep(run) == swept


def test_ranges_that_another_process_decided_are_kept(make_world: MakeWorld) -> None:
    world = make_world()
    steps = world.rebuild()
    run = world.begun(steps)
    steps.load(run, 0)
    ranges = steps.sweep_ranges(run, 4)
    assert steps.sweep_ranges(run, 2) == ranges
    with pytest.raises(LostError, match="ranges of the sweep"):
        steps.sweep(run)
    for slots in ranges[:-1]:
        steps.sweep(run, slots)
    with pytest.raises(LostError, match="not swept"):
        steps.finish(run)
    steps.sweep(run, ranges[-1])
    steps.finish(run)


def parts_of(cache: Cache, segments: int, slot_ranges: int) -> list[Part]:
    """Return the parts of a whole verification, those of the table first."""
    table: list[Part] = [TablePart(index, segments) for index in range(segments)]
    return table + [CachePart(slots) for slots in slot_scan.ranges(cache, slot_ranges)]


def damaged(world: World) -> dict[str, set[str]]:
    """Damage entries of all kinds, and return their keys."""
    keys = sorted(f"{world.table}:{one['id']['S']}" for one in world.items())
    for key in keys[:4]:
        world.cache.call(key, b"SET", key, b"damaged")
    for key in keys[4:9]:
        world.cache.call(key, b"DEL", key)
    return {
        "different": set(keys[:4]),
        "missing": set(keys[4:9]),
        "left_over": orphans(world, 12),
    }


def found(result: Comparison) -> dict[str, set[str]]:
    return {kind: set(keys) for kind, keys in result.sample.items() if keys}


@pytest.mark.parametrize("repair", [False, True], ids=["verify", "repair"])
def test_a_verification_that_is_killed_anywhere_finds_every_difference(
    make_world: MakeWorld,
    interrupted: Interrupted,
    monkeypatch: pytest.MonkeyPatch,
    *,
    repair: bool,
) -> None:
    monkeypatch.setattr(verify, "_SETTLE_EVERY_SECONDS", 0.0)
    world = make_world()
    world.puts(airports(40))
    world.rebuilt()
    # Only a later row replaces a row, and the last one was read up to now.
    reader = world.verification().reader
    as_of = reader.as_of().as_of
    wait_until(lambda: reader.as_of().as_of > as_of)
    planted = damaged(world)
    state = VerificationState(world.cache, world.table, "one")
    parts = parts_of(world.cache, 3, 5)
    assert len(parts) == 8
    scan = Scan(world.client, world.table, margin=MARGIN, limit=3)
    work = world.verification(settle=0, repair=repair, scan=scan)
    killed = world.verification(settle=0, repair=repair, scan=scan, cache=interrupted)
    with pytest.raises(LostError):
        state.total(len(parts))
    deaths = 0
    for number, part in enumerate(parts):
        for attempt in range(200):
            before = state.progress(number)
            interrupted.left = 3 + attempt * 5 % 13
            try:
                killed.run_part(part, before, save=lambda now, n=number: state.save(n, now))  # type: ignore[misc]
            except CacheError:
                deaths += 1
            interrupted.left = 0
            if state.progress(number).done:
                break
    assert deaths > 5
    total = state.total(len(parts))
    if repair:
        # A repair whose checkpoint was not kept is not found again.
        assert total.repaired == total.differences
        assert all(keys <= planted[kind] for kind, keys in found(total).items())
        assert world.compare().differences == 0
    else:
        assert found(total) == planted
        assert (total.items, total.entries) == (40, 47)
        assert total.differences == 21
    assert work.run(Share()).differences == (0 if repair else 21)


def test_a_part_that_is_short_of_time_keeps_only_what_is_settled(make_world: MakeWorld) -> None:
    world = make_world()
    world.puts(airports(80))
    world.rebuilt()
    planted = damaged(world)
    work = world.verification(settle=0)
    total, calls = Comparison(), 0
    for part in parts_of(world.cache, 2, 2):
        progress = PartProgress()
        while not progress.done:
            progress = work.run_part(part, progress, in_time=lambda: False)
            stored = msgspec.json.encode(progress)
            progress = msgspec.json.decode(stored, type=PartProgress)
            calls += 1
        total.add(progress.comparison)
    assert calls > 8
    assert found(total) == planted


class Counting:
    """A client that counts what is read."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.read: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def scan(self, **options: Any) -> Any:
        """Count items."""
        answer = self._client.scan(**options)
        self.read["scanned"] += len(answer["Items"])
        return answer

    def batch_get_item(self, **options: Any) -> Any:
        """Count keys."""
        for asked in options["RequestItems"].values():
            self.read["asked", asked["ConsistentRead"]] += len(asked["Keys"])  # type: ignore[index]
        return self._client.batch_get_item(**options)


def commands(cache: Cache) -> int:
    """Return how many commands the cache has carried out."""
    (report,) = cache.broadcast(b"INFO", b"commandstats")
    lines = (line for line in report.decode().splitlines() if line.startswith("cmdstat_"))
    own = ("cmdstat_cluster|nodes", "cmdstat_cluster|slots", "cmdstat_info")
    return sum(
        int(line.partition("calls=")[2].partition(",")[0])
        for line in lines
        if not line.startswith(own)
    )


def test_verify_costs_the_same_in_64_parts_as_in_one(make_world: MakeWorld) -> None:
    world = make_world()
    world.puts(airports(300))
    world.rebuilt()
    orphans(world, 5)
    costs = []
    for parts in (1, 64):
        client: Any = Counting(world.client)
        work = world.verification(
            settle=0,
            scan=Scan(client, world.table, margin=MARGIN),
            reader=SnapshotReader(client, world.table, margin=MARGIN),
        )
        before, total = commands(world.cache), Comparison()
        for part in parts_of(world.cache, parts, parts):
            total.add(work.run_part(part).comparison)
        costs.append((commands(world.cache) - before, client.read))
        assert (total.items, total.entries, total.orphaned) == (300, 305, 5)
    assert costs[0][1] == costs[1][1]
    # Each item once, each entry once at half the price, and doubts consistently.
    assert costs[0][1]["scanned"] == 300
    assert costs[0][1]["asked", False] == 305
    assert costs[0][1]["asked", True] == 5
    assert costs[1][0] == pytest.approx(costs[0][0], rel=0.02)


def test_nothing_is_found_in_parts_during_heavy_writes(make_world: MakeWorld) -> None:
    world = make_world()
    world.puts(airports(100))
    world.rebuilt()
    delivery = world.follow()
    with world.written_to(world.simulated(3, ids=200), pause=0.001) as written:
        work = world.verification(settle=5)
        while written[0] < 500:
            for part in parts_of(world.cache, 3, 4):
                result = work.run_part(part).comparison
                assert (result.differences, result.in_flight) == (0, 0), result
    world.caught_up(delivery)
    assert world.compare().differences == 0


def test_members_of_sorted_sets_are_compared_with_the_entries_of_their_slot(
    make_world: MakeWorld,
) -> None:
    keys = {"pk": "S", "sk": "S"}
    world = make_world(
        ViewSpec(name="plain", key="{table}:{{{pk}}}:{sk}", encoding=JSON, collection=True),
        ViewSpec(name="by-city", index=IndexSpec("city", "sk")),
        ViewSpec(name="board", key="{table}:b:{{{pk}}}:{sk}", score="n"),
        keys=keys,
    )
    world.puts(
        {"pk": {"S": f"p{n % 3}"}, "sk": {"S": f"{n}"}, "city": {"S": "Rome"}, "n": {"N": str(n)}}
        for n in range(30)
    )
    world.rebuilt()
    assert world.compare().differences == 0
    gone = {"pk": {"S": "p1"}, "sk": {"S": "gone"}, "city": {"S": "Rome"}, "n": {"N": "1"}}
    for view in world.views:
        assert view.members is not None
        index = view.members.index_key(gone)
        world.cache.call(index, b"ZADD", index, b"0", view.members.member(gone))
    total = Comparison()
    work = world.verification(settle=0, repair=True)
    for part in parts_of(world.cache, 2, 3):
        total.add(work.run_part(part).comparison)
    assert (total.orphaned, total.repaired, total.differences) == (3, 3, 3)
    assert (total.items, total.entries) == (30, 93)
    assert world.verify(settle=0).differences == 0


@pytest.mark.parametrize("turns", [1, 7])
def test_a_round_of_audits_visits_all_and_each_turn_resumes(
    make_world: MakeWorld, turns: int
) -> None:
    world = make_world()
    world.puts(airports(60))
    world.rebuilt()
    planted = damaged(world)
    round_of_audits(world, turns, planted)


def round_of_audits(world: World, turns: int, planted: dict[str, set[str]]) -> list[int]:
    work, total, entries = world.verification(settle=0), Comparison(), list[int]()
    for number in range(turns):
        turn, calls = AuditTurn(0, 0, 0), 0
        while not turn.done:
            turn = begin_turn(world.cache, world.table, turns)
            assert turn.part == number
            turn = audit(
                work,
                turn,
                in_time=lambda: False,
                save=lambda now: save_turn(world.cache, world.table, now),
            )
            calls += 1
        entries.append(turn.cache.comparison.entries)
        total.add(turn.comparison)
    assert found(total) == planted
    assert (total.items, total.entries) == (60, 67)
    assert begin_turn(world.cache, world.table, turns).part == 0
    return entries


def test_the_turns_of_a_single_server_share_one_scan(
    dynamodb: Any, single_valkey: EmbeddedValkey
) -> None:
    cache = Cache(single_valkey.settings())
    cache.broadcast(b"FLUSHALL")
    world = World(dynamodb, cache)
    with world.stack:
        world.puts(airports(60))
        world.rebuilt()
        entries = round_of_audits(world, 5, damaged(world))
        assert max(entries) < 40
    cache.close()


def test_a_part_that_always_fails_does_not_block_the_others(make_world: MakeWorld) -> None:
    world = make_world()
    parts = [begin_turn(world.cache, world.table, 4).part for _ in range(7)]
    assert parts == [0, 0, 0, 1, 1, 1, 2]


def test_the_first_page_of_a_scan_is_within_the_rate(world: World) -> None:
    world.puts(item(str(number), text="x" * 1_500) for number in range(40))
    waits: list[float] = []
    scan = Scan(world.client, world.table, rate=Rate(4, wait=waits.append))
    pages = scan.pages(Segment(0, 1))
    first = next(pages)
    assert not waits
    assert 0 < first.units <= 4
    assert sum(len(page.items) for page in [first, *pages]) == 40
    assert waits


def test_a_board_of_all_items_is_one_giant_slot_that_is_read_once(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_scan, "_MOST_IN_SLOT", 20)
    board = ViewSpec(key="{table}:{{board}}:{id}", score="n", index=IndexSpec())
    world = make_world(board)
    world.puts(item(str(number), n={"N": str(number)}) for number in range(70))
    world.rebuilt()
    client: Any = Counting(world.client)
    reader = SnapshotReader(client, world.table, margin=MARGIN)
    work = world.verification(settle=0, reader=reader)
    gone, left = f"{world.table}:{{board}}:3", f"{world.table}:{{board}}:gone"
    world.cache.call(gone, b"DEL", gone)
    world.cache.call(left, b"SET", left, b"left over")
    total, calls = Comparison(), 0
    for part in parts_of(world.cache, 2, 3):
        progress = PartProgress()
        while not progress.done:
            progress = work.run_part(part, progress, in_time=lambda: False)
            calls += 1
        total.add(progress.comparison)
    assert calls > 8
    assert found(total) == {"missing": {gone}, "left_over": {left}}
    # The member of the missing entry is still there.
    assert total.entries == client.read["asked", False] == 71


def test_a_sweep_that_an_older_version_recorded_counts(world: World) -> None:
    steps = world.rebuild()
    run = world.begun(steps)
    steps.load(run, 0)
    key = rebuild_key(world.table)
    stored = b'"2026-11-26T10:00:00+00:00"'
    world.cache.call(key, b"HSET", key, f"{run.id}:swept".encode(), stored)
    steps.finish(run)
    assert world.marker.is_complete
