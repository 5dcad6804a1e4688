"""Verify finds what is wrong, invents nothing while all is moving, and puts right what it finds."""

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.airports import airports
from tests.support.builders import item
from tests.support.world import FENCE_TTL, MakeWorld, World

from dynamirror.cache.completeness_marker import record_gap
from dynamirror.cache.writer import apply
from dynamirror.dynamodb.scan import MOST_SEGMENTS
from dynamirror.errors import ConfigError
from dynamirror.records.version import ChangeVersion
from dynamirror.recovery import comparison, difference_scan, follow_up
from dynamirror.recovery.comparison import Comparison, Share
from dynamirror.views.encoding import HASH
from dynamirror.views.entry import Put
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import ViewSpec

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def all_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report every difference by its key."""
    monkeypatch.setattr(comparison, "_SAMPLE", 1_000)


def filled(make_world: MakeWorld, number: int, *specs: ViewSpec) -> World:
    """Return a mirror of that many airports."""
    world = make_world(*specs)
    world.puts(airports(number))
    world.rebuilt()
    return world


def damage(world: World, seed: int, share: float) -> dict[str, set[str]]:
    """Change, delete and add entries, and return their keys by kind."""
    rng = random.Random(seed)
    ids = sorted(one["id"]["S"] for one in world.items() if not one["id"]["S"].isdigit())
    chosen = rng.sample(ids, max(3, round(len(ids) * share)))
    third = len(chosen) // 3
    done = {
        "different": {f"{world.table}:{one}" for one in chosen[:third]},
        "missing": {f"{world.table}:{one}" for one in chosen[third : 2 * third]},
        "left_over": {f"{world.table}:added {one}" for one in chosen[2 * third :]},
    }
    for key in sorted(done["different"] | done["left_over"]):
        world.cache.call(key, b"SET", key.encode(), b"damaged")
    for key in sorted(done["missing"]):
        world.cache.call(key, b"DEL", key.encode())
    return done


def found(result: Comparison) -> dict[str, set[str]]:
    return {kind: set(keys) for kind, keys in result.sample.items()}


@pytest.mark.usefixtures("all_keys")
@pytest.mark.parametrize("seed", [1])
def test_what_was_damaged_by_hand_is_found_and_nothing_else_and_put_right(
    make_world: MakeWorld, seed: int
) -> None:
    world = filled(make_world, 600)
    delivery = world.follow()
    with world.written_to(world.simulated(seed)):
        done = damage(world, seed, 0.01)
        result = world.verify(settle=2)
        assert found(result) == done, f"seed {seed}"
        assert result.differences == sum(map(len, done.values()))
        assert (result.in_flight, result.repaired, result.is_true) == (0, 0, False)
        assert result.items >= 600
        repaired = world.verify(settle=2, repair=True)
        assert found(repaired) == done
        assert repaired.repaired == repaired.differences == result.differences
        assert repaired.is_true
    world.caught_up(delivery)
    assert world.compare().differences == 0


def test_nothing_is_found_in_twenty_runs_during_heavy_writes(world: World) -> None:
    delivery = world.follow()
    with world.written_to(world.simulated(7, ids=300), pause=0.001) as written:
        runs = 0
        while runs < 20 or written[0] < 400:
            result = world.verify(settle=5)
            assert result.differences == 0, (runs, result)
            assert result.in_flight == 0
            runs += 1
    world.caught_up(delivery)
    assert world.compare().differences == 0


@pytest.mark.usefixtures("all_keys")
def test_a_damaged_cold_entry_is_found_during_heavy_writes(make_world: MakeWorld) -> None:
    world = filled(make_world, 100)
    delivery = world.follow()
    with world.written_to(world.simulated(8, ids=300), pause=0.001):
        done = damage(world, 8, 0.05)
        assert found(world.verify(settle=2)) == done
    delivery.stop()


class Clock:
    """Time that goes by only when somebody waits, and what happens meanwhile."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.meanwhile: list[Callable[[], object]] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds
        for each in self.meanwhile:
            each()


class Lagging:
    """An item that changes all the time, and an entry that is always a second behind it."""

    def __init__(self, world: World, clock: Clock, *, every: float) -> None:
        self._world = world
        self._clock = clock
        self._every = every
        self._number = 0
        self.change()
        clock.meanwhile.append(self.change)

    def change(self) -> None:
        number = int(self._clock.now / self._every)
        if number != self._number:
            self._number = number
            self._world.put("hot", number=str(number))
            behind = item("hot", number=str(number - 1))
            version = ChangeVersion(1, number, 0)
            entry = Put(self._world.views[0], f"{self._world.table}:hot", version, behind)
            assert apply(self._world.cache, [entry], fence_ttl=FENCE_TTL).applied == 1


def test_an_entry_that_is_always_a_little_behind_is_in_flight_however_often_one_looks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(difference_scan, "READ_AT_ONCE", 2)
    monkeypatch.setattr(follow_up, "READ_AT_ONCE", 2)
    clock = Clock()
    Lagging(world, clock, every=1.0)
    for number in range(40):  # many a verdict, and so many looks, shortly one after another
        world.put(f"cold {number}")
    result = world.verify(
        settle=15, clock=clock, wait=clock.wait, on_progress=lambda _result: clock.wait(0.3)
    )
    assert result.sample["in_flight"] == [f"{world.table}:hot"]
    assert (result.missing, result.different, result.in_flight) == (40, 0, 1)


def test_a_scan_of_hours_does_not_make_a_difference_of_what_was_in_flight(world: World) -> None:
    clock = Clock()
    hot = Lagging(world, clock, every=1.0)

    def an_hour_later(_result: Comparison) -> None:
        clock.now += 3600
        hot.change()

    result = world.verify(settle=15, clock=clock, wait=clock.wait, on_progress=an_hour_later)
    assert (result.differences, result.in_flight) == (0, 1)


def test_an_entry_that_came_to_rest_on_a_wrong_value_is_a_difference(world: World) -> None:
    clock = Clock()
    Lagging(world, clock, every=1.0)
    clock.meanwhile.append(lambda: clock.meanwhile.clear() if clock.now > 1020 else None)
    result = world.verify(settle=15, clock=clock, wait=clock.wait)
    assert (result.different, result.in_flight) == (1, 0)
    assert clock.now < 1000 + 4 * 15


@pytest.mark.usefixtures("all_keys")
def test_memory_is_bounded_by_settling_a_few_doubts_at_a_time(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_up, "_MOST_DOUBTS", 3)
    monkeypatch.setattr(difference_scan, "READ_AT_ONCE", 2)
    monkeypatch.setattr(follow_up, "READ_AT_ONCE", 2)
    clock, most = Clock(), [0]
    add = follow_up.FollowUp.add

    def counting(self: Any, doubt: Any) -> None:
        most[0] = max(most[0], len(self._doubts) + 1)
        add(self, doubt)

    monkeypatch.setattr(follow_up.FollowUp, "add", counting)
    world = filled(make_world, 60)
    done = damage(world, 5, 0.5)
    result = world.verify(settle=5, clock=clock, wait=clock.wait)
    assert found(result) == done
    assert most == [3]


def test_the_parts_together_find_every_damage(make_world: MakeWorld) -> None:
    world = filled(make_world, 200)
    done = damage(world, 6, 0.1)
    together: dict[str, set[str]] = {}
    items = entries = 0
    for index in range(5):
        result = world.verify(share=Share(5, (index,)), settle=0)
        items += result.items
        entries += result.entries
        for kind, keys in found(result).items():
            together.setdefault(kind, set()).update(keys)
    assert together == done
    assert items == 200
    assert entries == world.compare().entries


def test_all_parts_at_once_find_every_damage_once(make_world: MakeWorld) -> None:
    world = filled(make_world, 100)
    done = damage(world, 7, 0.1)
    result = world.verify(share=Share(4, (0, 1, 2, 3)), settle=0)
    assert found(result) == done
    assert result.differences == sum(map(len, done.values()))


def test_a_part_of_a_whole_mirror_has_no_differences(make_world: MakeWorld) -> None:
    world = filled(make_world, 200)
    for index in range(3):
        result = world.verify(share=Share(7, (index,)), settle=0)
        assert (result.differences, result.in_flight) == (0, 0)
        assert 0 < result.items < 200


@given(st.floats(min_value=5e-324, max_value=100), st.integers())
def test_a_sample_is_of_about_that_share(percent: float, seed: int) -> None:
    chosen = Share.sample(percent, random.Random(seed))
    assert 1 <= chosen.of <= MOST_SEGMENTS
    assert 1 <= len(chosen.chosen) <= chosen.of
    assert len(set(chosen.chosen)) == len(chosen.chosen)
    assert all(0 <= index < chosen.of for index in chosen.chosen)
    # One segment of a million is the least there is.
    percent_of_all = 100 * len(chosen.chosen) / chosen.of
    assert percent_of_all == pytest.approx(percent, rel=0.5, abs=1e-4)


@pytest.mark.parametrize("percent", [0.0, -1.0, 100.1, float("nan"), float("inf")])
def test_there_is_no_such_sample(percent: float) -> None:
    with pytest.raises(ConfigError, match="--sample"):
        Share.sample(percent, random.Random(0))


def test_a_foreign_key_that_fits_a_view_without_a_prefix_is_never_repaired_away(
    make_world: MakeWorld,
) -> None:
    world = filled(make_world, 5, ViewSpec(key="{id}"))
    world.cache.call("session", b"SET", b"session", b"of somebody else")
    result = world.verify(settle=0, repair=True)
    assert (result.orphaned, result.repaired) == (1, 0)
    assert world.cache.call("session", b"GET", b"session") == b"of somebody else"


def test_a_foreign_key_is_the_mirrors_if_the_cache_is(make_world: MakeWorld) -> None:
    world = filled(make_world, 5, ViewSpec(key="{id}", exclusive=True))
    world.cache.call("session", b"SET", b"session", b"a left-over entry")
    result = world.verify(settle=1, repair=True)
    assert (result.orphaned, result.repaired) == (1, 1)
    assert world.cache.call("session", b"EXISTS", b"session") == 0


def test_nothing_is_repaired_by_a_row_that_may_lack_what_the_stream_does_not_tell(
    make_world: MakeWorld,
) -> None:
    world = filled(make_world, 5)
    damage(world, 9, 0.2)
    as_of = world.rebuild()._scan(consistent=True).as_of().as_of
    record_gap(world.cache, world.views, stream=world.arn, at=as_of + 3600, reason="a test")
    clock = Clock()
    result = world.verify(settle=5, repair=True, clock=clock, wait=clock.wait)
    assert (result.differences, result.repaired, result.is_true) == (3, 0, False)
    assert world.compare().differences == 3


@pytest.mark.parametrize("encoding", [HASH], ids=["hash"])
def test_a_fence_that_cannot_be_read_does_not_hinder_repair(
    make_world: MakeWorld, encoding: Any
) -> None:
    world = filled(make_world, 3, ViewSpec(encoding=encoding))
    done = damage(world, 10, 0.1)
    for key in sorted(done["different"]):
        fence = fence_key(key).encode()
        world.cache.call(key, b"DEL", fence)
    result = world.verify(settle=1, repair=True)
    assert result.repaired == result.differences == 3
    assert world.compare().differences == 0
