"""Which rebuild is begun, resumed, finished or refused; and how the marker is kept."""

from collections.abc import Callable
from math import ceil
from time import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.builders import SCHEMA, STREAM_ARN, item, view
from tests.support.deadlines import wait_until
from tests.support.world import World

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import (
    OLDER_STREAM,
    CompletenessMarker,
    read_marker,
    record_complete,
    record_gap,
)
from dynamirror.dynamodb.scan import Rate
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.rebuild_state import LostError, RebuildState
from dynamirror.replication.gap_detector import GapDetector
from dynamirror.views.keyspace import completeness_marker_key, rebuild_key
from dynamirror.views.view import ViewSpec, fingerprint

VIEWS = (view(),)
_HOUR = 3600
NEWER = STREAM_ARN.replace("2026-01-02", "2026-01-03")


def forget(world: World) -> None:
    for key in (completeness_marker_key(world.table), rebuild_key(world.table)):
        world.cache.call(key, b"DEL", key.encode())


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-4, 3))
def test_no_run_begins_whose_horizon_is_not_later_than_the_gap(world: World, offset: int) -> None:
    forget(world)
    gap = int(time()) + offset
    record_gap(world.cache, world.views, stream=world.arn, at=gap, reason="a test")
    steps = world.rebuild()
    now = steps._scan(consistent=True).as_of().as_of
    step = steps.begin(segments=1)
    if step.run is None:
        assert 0 < step.wait <= gap + 1 - now
        assert now <= gap
        assert steps.run() is None
    else:
        assert step.wait == 0
        assert step.run.as_of > gap


def test_without_a_marker_no_run_begins_before_a_gap_is_noted_and_past(world: World) -> None:
    forget(world)
    steps = world.rebuild()
    assert steps.begin(segments=1).run is None
    gap = world.marker.gap
    assert gap is not None
    assert world.marker.stream == world.arn
    run = world.begun(steps)
    assert run.as_of > gap
    assert world.marker.gap == gap  # noted once


def test_an_unfinished_run_is_resumed_by_whoever_comes(world: World) -> None:
    run = world.begun(world.rebuild(), segments=3)
    assert world.rebuild().begin(segments=7).run == run
    assert world.rebuild().begin(segments=7, consistent=False).run == run


def test_a_finished_run_is_not_resumed(world: World) -> None:
    steps = world.rebuild()
    run = world.begun(steps)
    steps.load(run, 0)
    with pytest.raises(LostError, match="were not swept"):
        steps.finish(run)
    steps.sweep(run)
    steps.finish(run)
    finished = steps.run()
    assert finished is not None
    assert finished.finished
    assert world.begun(steps).id != run.id


def test_a_run_is_not_resumed_if_asked_for_a_new_one(world: World) -> None:
    steps = world.rebuild()
    run = world.begun(steps)
    assert world.begun(steps, restart=True).id != run.id


def test_a_run_is_not_resumed_if_the_views_have_changed(world: World) -> None:
    run = world.begun(world.rebuild())
    world.change_views(key="other:{id}")
    assert world.begun(world.rebuild()).id != run.id
    assert world.marker.views == fingerprint(world.views)


@pytest.mark.parametrize("after", [0, 1])
def test_a_run_is_not_resumed_if_a_gap_came_later(world: World, after: int) -> None:
    steps = world.rebuild()
    run = world.begun(steps)
    gap = run.as_of + after
    record_gap(world.cache, world.views, stream=world.arn, at=gap, reason="a test")
    steps.load(run, 0)
    steps.sweep(run)
    with pytest.raises(LostError, match="newer gap"):
        steps.finish(run)
    resumed = world.begun(steps)
    assert resumed.id != run.id
    assert resumed.as_of > gap


def test_a_run_is_resumed_if_the_gap_was_before_it(world: World) -> None:
    steps = world.rebuild()
    run = world.begun(steps)
    record_gap(world.cache, world.views, stream=world.arn, at=run.as_of - 1, reason="a test")
    assert steps.begin(segments=1).run == run
    steps.load(run, 0)
    steps.sweep(run)
    steps.finish(run)
    assert world.marker.is_complete


def test_of_two_rebuilds_at_once_the_older_does_not_count(world: World) -> None:
    world.puts(item(str(number)) for number in range(6))
    steps = world.rebuild(limit=2)
    older = world.begun(steps)
    steps.load(older, 0, in_time=lambda: False)
    newer = world.begun(steps, restart=True)
    # What the older one saves late, because it was slow.
    late = RebuildState(world.cache, world.table).segment_progress(older, 0)
    RebuildState(world.cache, world.table).save_progress(older, 0, late)
    assert RebuildState(world.cache, world.table).progress(newer).items == 0
    with pytest.raises(LostError, match="another has begun"):
        steps.load(older, 0)
    with pytest.raises(LostError, match="another has begun"):
        steps.finish(older)
    assert steps.load(newer, 0).items == 6
    steps.sweep(newer)
    steps.finish(newer)


def test_a_rebuild_that_another_takes_over_in_mid_page_ends(world: World) -> None:
    world.puts(item(str(number)) for number in range(6))
    steps = world.rebuild(limit=2)
    older = world.begun(steps)
    with pytest.raises(LostError):
        steps.load(
            older, 0, on_progress=lambda _progress: world.begun(world.rebuild(), restart=True)
        )


def test_a_run_is_finished_only_when_all_segments_are_loaded(world: World) -> None:
    steps = world.rebuild()
    run = world.begun(steps, segments=3)
    for index in (0, 2):
        steps.load(run, index)
        with pytest.raises(LostError, match="not all segments are loaded"):
            steps.finish(run)
    assert not RebuildState(world.cache, world.table).progress(run).done
    assert not world.marker.is_complete
    steps.load(run, 1)
    assert RebuildState(world.cache, world.table).progress(run).done
    steps.sweep(run)
    steps.finish(run)
    assert world.marker.is_complete


def test_nothing_is_known_of_a_rebuild_that_never_was(world: World) -> None:
    assert RebuildState(world.cache, world.table).run() is None


def marked(cache: Cache) -> CompletenessMarker:
    return read_marker(cache, SCHEMA.table)


def test_without_a_marker_the_mirror_is_incomplete(cache: Cache) -> None:
    assert marked(cache) == CompletenessMarker()
    assert not marked(cache).is_complete
    assert record_complete(cache, VIEWS, SnapshotVersion(10**9)) == "no marker"
    assert marked(cache) == CompletenessMarker()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=12))
def test_the_mirror_is_complete_only_after_a_rebuild_later_than_every_gap(
    cache: Cache, events: list[tuple[bool, int]]
) -> None:
    key = completeness_marker_key(SCHEMA.table)
    cache.call(key, b"DEL", key.encode())
    gaps, horizons = [], []
    for is_gap, at in events:
        if is_gap:
            record_gap(cache, VIEWS, stream=STREAM_ARN, at=at, reason=f"gap {at}")
            gaps.append(at)
        else:
            counts = record_complete(cache, VIEWS, SnapshotVersion(at)) is None
            assert counts == (bool(gaps) and at > max(gaps))
            if counts:
                horizons.append(at)
        marker = marked(cache)
        assert marker.gap == max(gaps, default=None)
        assert marker.is_complete == (bool(gaps) and max(horizons, default=-1) > max(gaps))
        if gaps:
            assert marker.reason == f"gap {max(gaps)}"


def test_rows_of_other_views_do_not_complete_a_mirror(cache: Cache) -> None:
    record_gap(cache, VIEWS, stream=STREAM_ARN, at=1, reason="a test")
    others = (view(ViewSpec(key="other:{id}")),)
    assert record_complete(cache, others, SnapshotVersion(5)) == "other views"
    assert not marked(cache).is_complete


def test_a_marker_that_cannot_be_read_is_an_incomplete_one(cache: Cache) -> None:
    key = completeness_marker_key(SCHEMA.table)
    cache.call(key, b"HSET", key.encode(), b"gap", b"x", b"complete", b"9")
    assert not marked(cache).is_complete
    assert "cannot be read" in marked(cache).reason


class Times:
    """Both clocks of a watch."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.25

    def __call__(self) -> float:
        return self.now


def watching(cache: Cache, *, views: Any = VIEWS) -> tuple[GapDetector, Times]:
    times = Times()
    return GapDetector(cache, views, clock=times, now=times), times


def complete(cache: Cache, at: float) -> None:
    record_gap(cache, VIEWS, stream=STREAM_ARN, at=1, reason="it is new")
    assert record_complete(cache, VIEWS, SnapshotVersion(int(at))) is None
    assert marked(cache).is_complete


def test_a_watch_leaves_a_whole_mirror_alone(cache: Cache) -> None:
    watch, times = watching(cache)
    complete(cache, times.now)
    before = marked(cache)
    watch.check(STREAM_ARN, times.now)
    assert marked(cache) == watch.marker == before


DIFFERENCES: dict[str, tuple[Callable[[GapDetector, Times], None], str]] = {
    "another stream": (lambda watch, _times: watch.check(NEWER), "the table has another stream"),
    "changes are late": (
        lambda watch, times: watch.check(STREAM_ARN, times.now - 23 * _HOUR - 1),
        "changes arrived 23 hours late",
    ),
}


@pytest.mark.parametrize(("happens", "reason"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_watch_notes_what_it_sees_up_to_now(
    cache: Cache, happens: Callable[[GapDetector, Times], None], reason: str
) -> None:
    watch, times = watching(cache)
    complete(cache, times.now - 60)
    happens(watch, times)
    marker = marked(cache)
    assert not marker.is_complete
    assert marker.reason.startswith(reason)
    # A moment is noted as the second after it, and our clock may be two seconds behind.
    assert marker.gap == 1_790_000_003
    assert watch.marker is not None
    assert watch.marker.gap == marker.gap


def test_a_watch_notes_other_views(cache: Cache) -> None:
    others = (view(ViewSpec(key="other:{id}")),)
    watch, times = watching(cache, views=others)
    complete(cache, times.now - 60)
    watch.check(STREAM_ARN, times.now)
    assert marked(cache).reason == "the views have changed"
    assert marked(cache).views == fingerprint(others)


def test_a_watch_looks_once_a_second(cache: Cache) -> None:
    watch, times = watching(cache)
    complete(cache, times.now - 60)
    watch.check(STREAM_ARN)
    cache.broadcast(b"FLUSHALL")
    times.now += 0.9
    watch.check(STREAM_ARN)
    assert marked(cache) == CompletenessMarker()
    times.now += 0.1
    watch.check(STREAM_ARN)
    assert marked(cache).gap is not None


def test_a_watch_looks_at_once_when_another_stream_comes(cache: Cache) -> None:
    watch, times = watching(cache)
    complete(cache, times.now - 60)
    watch.check(STREAM_ARN, times.now)
    watch.check(NEWER, times.now)
    assert not marked(cache).is_complete
    assert marked(cache).stream == NEWER


def test_what_comes_late_from_an_older_stream_is_no_other_stream(cache: Cache) -> None:
    watch, times = watching(cache)
    complete(cache, times.now - 60)
    watch.check(NEWER)
    before = marked(cache)
    times.now += 5
    watch.check(STREAM_ARN)
    assert marked(cache) == before


def test_a_batch_of_an_older_stream_is_a_gap_but_does_not_become_the_marker_s_stream(
    cache: Cache,
) -> None:
    watch, times = watching(cache)
    complete(cache, times.now - 60)
    watch.check(NEWER)
    times.now += 5
    watch.check(STREAM_ARN, times.now, began=times.now)
    marker = marked(cache)
    assert (marker.reason, marker.stream) == (OLDER_STREAM, NEWER)
    assert marker.gap == ceil(times.now) + 2
    # One that comes before that moment is covered by it; one that comes later is not.
    times.now += 1
    watch.check(STREAM_ARN, times.now, began=times.now)
    assert marked(cache) == marker
    times.now += 5
    watch.check(STREAM_ARN, times.now, began=times.now)
    assert marked(cache).gap == ceil(times.now) + 2


def test_a_gap_that_a_failover_lost_is_noted_again(cache: Cache) -> None:
    watch, times = watching(cache)
    complete(cache, times.now - 60)
    watch.check(STREAM_ARN, times.now)
    key = completeness_marker_key(SCHEMA.table).encode()
    before = cache.call(key.decode(), b"DUMP", key)
    watch.record_gap(STREAM_ARN, "a shard is gone")
    assert not marked(cache).is_complete
    for _ in range(2):
        cache.call(key.decode(), b"RESTORE", key, b"0", before, b"REPLACE")
        assert marked(cache).is_complete
        times.now += 2
        watch.check(STREAM_ARN, times.now)
        assert not marked(cache).is_complete
        assert marked(cache).reason.endswith("noted: a shard is gone")
        assert marked(cache).reason.count("noted") == 1


def test_a_gap_that_was_only_read_is_noted_again_too(cache: Cache) -> None:
    watch, times = watching(cache)
    complete(cache, times.now - 60)
    key = completeness_marker_key(SCHEMA.table).encode()
    before = cache.call(key.decode(), b"DUMP", key)
    record_gap(cache, VIEWS, stream=STREAM_ARN, at=int(times.now), reason="another saw it")
    watch.check(STREAM_ARN, times.now)
    cache.call(key.decode(), b"RESTORE", key, b"0", before, b"REPLACE")
    times.now += 1
    watch.check(STREAM_ARN, times.now)
    assert marked(cache).reason.endswith("noted: another saw it")


@pytest.mark.parametrize("gap", [b"", b"x", b"-"])
def test_a_gap_is_noted_over_one_that_cannot_be_read(cache: Cache, gap: bytes) -> None:
    key = completeness_marker_key(SCHEMA.table)
    cache.call(key, b"HSET", key.encode(), b"gap", gap)
    record_gap(cache, VIEWS, stream=STREAM_ARN, at=7, reason="a test")
    assert marked(cache).gap == 7


def test_late_changes_make_the_gap_later_once_a_minute(cache: Cache) -> None:
    watch, times = watching(cache)
    gaps = set()
    for _ in range(200):
        times.now += 1
        watch.check(STREAM_ARN, times.now - 24 * _HOUR)
        gaps.add(marked(cache).gap)
    assert len(gaps) == 4


class Waiting:
    """Time that goes by only when somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@given(
    st.floats(0.1, 1000),
    st.lists(st.tuples(st.floats(0, 500), st.floats(0, 10)), max_size=30),
)
def test_no_more_is_spent_than_the_rate_and_its_units_of_a_second(
    units: float, pages: list[tuple[float, float]]
) -> None:
    """Each read is paid for before it begins, by what it is expected to take."""
    time = Waiting()
    rate = Rate(units, clock=time.clock, wait=time.wait)
    spent = 0.0
    for expected, cost in pages:
        rate.begin(expected)
        least = min(expected, units)  # what takes longer than a second begins once all is paid
        assert spent + least <= units * (time.now - 100.0 + 1) * (1 + 1e-9) + 1e-6
        spent += cost
        rate.end(cost, expected)
        time.now += cost / 100


def test_without_a_rate_nobody_waits() -> None:
    time = Waiting()
    Rate(None, clock=time.clock, wait=time.wait).begin(10**9)
    assert time.now == 100.0


def test_a_scan_spends_what_dynamodb_says_it_consumed(world: World) -> None:
    world.puts(item(str(number), text="x" * 8000) for number in range(10))
    time = Waiting()
    steps = world.rebuild(limit=1)
    run = world.begun(steps)
    progress = steps.load(run, 0, rate=Rate(2, clock=time.clock, wait=time.wait))
    assert progress.units > 0
    last = progress.units / 10
    assert time.now - 100.0 >= (progress.units - last) / 2 - 1 - 1e-6


def test_whoever_takes_over_after_a_wait_sees_the_progress_of_all_segments(world: World) -> None:
    world.puts(item(str(number)) for number in range(30))
    steps = world.rebuild()
    run = world.begun(steps, segments=4)
    loaded = [steps.load(run, index) for index in range(4)]
    wait_until(lambda: RebuildState(world.cache, world.table).progress(run).done)
    progress = RebuildState(world.cache, world.table).progress(run)
    assert progress.items == sum(one.items for one in loaded) == 30
    assert [steps.load(run, index) for index in range(4)] == loaded  # again does nothing
