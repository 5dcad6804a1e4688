"""Whatever is lost, it is noticed, and a rebuild beside the writer makes the mirror whole again."""

from collections.abc import Mapping
from typing import Any

import pytest
from tests.support.builders import item
from tests.support.deadlines import wait_until
from tests.support.fault_proxy import Proxy
from tests.support.world import World

from dynamirror.cache.completeness_marker import NO_MARKER, record_complete
from dynamirror.cache.slot_scan import SlotRange
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.rebuild_state import LostError, RebuildState


def noticed(world: World) -> None:
    """Wait until the marker says that something is lacking."""
    wait_until(lambda: world.marker.gap is not None and not world.marker.is_complete)


def test_a_flush_in_mid_run_is_noticed_and_healed(world: World) -> None:
    world.puts(item(f"old{number}") for number in range(300))
    delivery = world.follow()
    with world.written_to(world.simulated(1)):
        world.rebuilt()
        assert world.marker.is_complete
        steps = world.rebuild(limit=100)
        late = world.begun(steps, restart=True)
        steps.load(late, 0, in_time=lambda: False)  # the first page, and then
        world.cache.broadcast(b"FLUSHALL")
        noticed(world)
        assert world.marker.reason == NO_MARKER
        assert world.marker.stream == world.arn
        for step in (lambda: steps.load(late, 0), lambda: steps.finish(late)):
            with pytest.raises(LostError):
                step()
        assert record_complete(world.cache, world.views, SnapshotVersion(late.as_of)) == "newer gap"
        assert not world.marker.is_complete
        (loaded,), _swept = world.rebuilt()
        assert loaded.items >= 300
        assert world.marker.is_complete
    world.caught_up(delivery)
    assert world.compare().differences == 0


def test_a_run_that_is_whole_does_not_count_if_the_cache_was_flushed_meanwhile(
    world: World,
) -> None:
    delivery = world.follow()
    with world.written_to(world.simulated(2)):
        steps = world.rebuild()
        run = world.begun(steps)
        loaded = steps.load(run, 0)
        swept = steps.sweep(run)
        world.cache.broadcast(b"FLUSHALL")
        # As if what is known of the run had come through, by a copy that is older.
        state = RebuildState(world.cache, world.table)
        state.begin(run)
        state.save_progress(run, 0, loaded)
        state.decide_sweep_ranges(run, [SlotRange()])
        state.save_range_progress(run, SlotRange(), swept)
        with pytest.raises(LostError, match=r"no marker|newer gap"):
            steps.finish(run)
        noticed(world)
        with pytest.raises(LostError, match="newer gap"):
            steps.finish(run)
        assert world.begun(steps).id != run.id
    delivery.stop()


class Trimmed:
    """Hands batches on, but for the records that the stream no longer has."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        left = [
            record
            for record in event["Records"]
            if not record["dynamodb"]["Keys"]["id"]["S"].startswith("lost")
        ]
        return self._world.replicator({"Records": left}, context)


def test_records_trimmed_before_they_were_read_are_made_good(world: World, proxy: Proxy) -> None:
    world.puts([item("lost 1", name="old"), item("lost 2", name="old")])
    world.rebuilt()
    delivery = world.follow(proxy.aws, Trimmed(world))
    # Puts only: what a writer deletes, the sweep may delete first.
    with world.written_to(world.counted(3, map(str, range(1, 101)))):
        world.put("lost 1", name="new")
        world.delete("lost 2")
        world.put("lost 3", name="new")
        assert world.marker.is_complete
        code = {"code": "TrimmedDataAccessException"}
        proxy.inject(
            {"service": "dynamodbstreams", "operation": "GetRecords", "times": 1, "error": code}
        )
        noticed(world)
        assert delivery.counts.gaps == 1
        _loaded, swept = world.rebuilt()
        assert swept.deleted == 1
        assert world.marker.is_complete
    world.caught_up(delivery)
    assert world.compare().differences == 0


def test_a_stream_that_is_switched_off_and_on_is_noticed_and_what_it_did_not_tell_is_made_good(
    world: World,
) -> None:
    world.puts([item("old", name="old"), item("gone", name="old")])
    world.rebuilt()
    before, delivery = world.arn, world.follow()
    with world.written_to(world.simulated(4)) as written:
        assert world.marker.is_complete
        world.switch(on=False)
        number = written[0]
        world.put("old", name="new")
        world.delete("gone")
        wait_until(lambda: written[0] > number + 20)
        world.switch(on=True)
        delivery.stop()
        delivery = world.follow_the_new_stream()
        noticed(world)
        assert world.marker.stream == world.arn != before
        assert world.marker.reason == "the table has another stream than before"
        world.rebuilt()
        assert world.marker.is_complete
    world.caught_up(delivery)
    assert world.compare().differences == 0


def test_another_view_makes_the_mirror_incomplete_until_it_is_rebuilt(
    world: World,
) -> None:
    world.put("old", name="old")
    world.rebuilt()
    world.change_views(key="other:{id}")
    delivery = world.follow()
    with world.written_to(world.simulated(5)):
        noticed(world)
        assert world.marker.reason == "the views have changed"
        world.rebuilt()
        assert world.marker.is_complete
    world.caught_up(delivery)
    assert world.compare().differences == 0
