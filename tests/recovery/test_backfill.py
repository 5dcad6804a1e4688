"""A backfill during writes ends with a cache that holds what the table holds."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import boto3
import pytest
from botocore.config import Config
from tests.support.airports import airports
from tests.support.builders import item
from tests.support.deadlines import wait_until
from tests.support.fault_proxy import Proxy
from tests.support.world import MakeWorld, World

from dynamirror.cache.quarantine import read_quarantine
from dynamirror.errors import SourceError
from dynamirror.recovery.backfill import Backfill, BackfillProgress
from dynamirror.recovery.rebuild_state import Progress, Run
from dynamirror.views.encoding import HASH, attribute
from dynamirror.views.keyspace import completeness_marker_key
from dynamirror.views.view import ViewSpec


def test_a_table_of_several_pages_is_backfilled_during_writes(make_world: MakeWorld) -> None:
    # Three pages, since one holds 1 MB.
    items = [airport | {"note": {"S": "x" * 1000}} for airport in airports(3000)]
    world = make_world(items=items)
    world.cache.call(
        completeness_marker_key(world.table), b"DEL", completeness_marker_key(world.table).encode()
    )
    delivery = world.follow()
    with world.written_to(world.simulated(1)) as written:
        loaded, swept = world.rebuilt()
        assert world.marker.is_complete
        before = written[0]
        wait_until(lambda: written[0] > before)
    world.caught_up(delivery)
    assert loaded[0].items >= len(items)
    assert loaded[0].quarantined == 0
    assert swept.entries >= len(items)
    result = world.compare()
    assert (result.differences, result.entries) == (0, result.items)


def test_segments_are_backfilled_at_once(make_world: MakeWorld) -> None:
    items = airports(2000)
    world = make_world()
    world.puts(items)
    delivery = world.follow()
    with world.written_to(world.simulated(2)):
        loaded, _swept = world.rebuilt(segments=7, limit=100)
    world.caught_up(delivery)
    assert all(part.done for part in loaded)
    assert sum(part.items for part in loaded) >= len(items)
    assert world.compare().differences == 0


VIEWS = (
    ViewSpec("by city", key="city:{city}:{id}"),
    ViewSpec("hash", key="hash:{id}", encoding=HASH),
    ViewSpec("name", key="name:{id}", encoding=attribute("name")),
)


def test_all_views_are_whole_again_after_a_gap(make_world: MakeWorld) -> None:
    """One whose key can change, one of hashes, and one that not every item is in."""
    world = make_world(*VIEWS)
    delivery = world.follow()
    for number in range(60):
        world.put(f"x{number}", city=f"c{number % 3}", name="before", note="1")
    world.caught_up(delivery)
    delivery.stop()
    world.switch(on=False)
    for number in range(60):  # of which no stream tells
        match number % 6:
            case 0:
                world.delete(f"x{number}")
            case 1:
                world.put(f"x{number}", city="elsewhere", name="moved")
            case 2:
                world.put(f"x{number}", name="nowhere")
            case 3:
                world.put(f"x{number}", city=f"c{number % 3}", other="no name")
            case 4:
                world.put(f"new{number}", city="c0", name="new")
    world.switch(on=True)
    delivery = world.follow_the_new_stream()
    with world.written_to(world.counted(3, ["1", "2", "3"], city="c0", name="hot")):
        wait_until(lambda: not world.marker.is_complete)
        loaded, swept = world.rebuilt(limit=7)
        assert world.marker.is_complete
        assert loaded[0].quarantined == 0
        assert swept.deleted == 50  # what a view does not show any more, a row has deleted
    world.caught_up(delivery)
    result = world.compare()
    assert result.differences == 0
    assert result.entries == 63 + 53 + 53


def test_the_rows_of_an_attribute_view_are_read_in_part_only(make_world: MakeWorld) -> None:
    world = make_world(ViewSpec(key="{table}:{id}", encoding=attribute("name")))
    world.puts(item(str(number), name="n" * 5, other="o" * 5) for number in range(5))
    loaded, _swept = world.rebuilt()
    assert (loaded[0].items, loaded[0].applied) == (5, 5)
    assert world.compare().differences == 0


KEYS = {
    "number": {"id": "N"},
    "binary": {"id": "B"},
    "text and number": {"pk": "S", "sk": "N"},
    "binary and text": {"pk": "B", "sk": "S"},
}


HOSTILE: dict[str, list[Any]] = {
    "S": ["a:b", "{x}%", "100%:é"],
    "N": ["-1.5", "1E+100", "12345678901234567890123456789012345678"],
    "B": [b"\0", b"\xff\xfe", b"\xfb\xff{}::"],
}


def test_any_primary_key_is_backfilled_resumed_and_verified(make_world: MakeWorld) -> None:
    worlds = {name: (make_world(keys=keys), hostile(keys)) for name, keys in KEYS.items()}
    for name, (world, items) in worlds.items():
        world.puts(items)
        steps = world.rebuild(limit=1)
        run = world.begun(steps)
        while not steps.load(run, 0, in_time=lambda: False).done:
            pass  # each call begins where the one before left off
        for gone in (items[0], items[-1]):  # of which no stream tells
            world.client.delete_item(TableName=world.table, Key=gone)
        assert steps.sweep(run).doubtful == 0, name  # a row of this run stands behind each
        steps.finish(run)
        result = world.verify(settle=0)
        assert (result.entries, result.orphaned) == (len(items), 2), name
        assert result.differences == 2, name


def hostile(keys: Mapping[str, str]) -> list[dict[str, Any]]:
    """Items of all combinations of awkward key values."""
    values = [[{tag: one} for one in HOSTILE[tag]] for tag in keys.values()]
    return [dict(zip(keys, each, strict=True)) for each in product(*values)]


def test_a_row_that_cannot_be_an_entry_is_quarantined_and_counted(make_world: MakeWorld) -> None:
    spec = ViewSpec(key="c:{city}:{id}")
    poison = {"id": {"S": "poison"}, "city": {"SS": ["a", "b"]}}
    world = make_world(spec)
    world.puts([item("1", city="x"), poison, item("2", city="y")])
    (loaded,), _swept = world.rebuilt()
    assert (loaded.items, loaded.applied, loaded.quarantined) == (3, 2, 1)
    assert [one.key for one in read_quarantine(world.cache, world.table)] == [
        {"id": {"S": "poison"}}
    ]
    result = world.compare()
    assert (result.differences, result.unmappable) == (0, 1)
    assert world.marker.is_complete


THROTTLED = {"service": "dynamodb", "error": {"code": "ProvisionedThroughputExceededException"}}


def test_throttled_scans_are_retried(world: World, proxy: Proxy) -> None:
    world.puts(airports(300))
    proxy.inject(THROTTLED | {"operation": "Scan", "times": 2})
    steps = world.rebuild(client=proxy.aws.dynamodb(), limit=100)
    run = world.begun(steps)
    progress = steps.load(run, 0)
    assert proxy.fired()
    assert (progress.done, progress.items) == (True, 300)
    steps.sweep(run)
    steps.finish(run)
    assert world.compare().differences == 0


def test_a_scan_that_stays_throttled_goes_on_later_at_its_page(world: World, proxy: Proxy) -> None:
    world.puts(airports(30))
    refused = boto3.client(
        "dynamodb",
        region_name="us-east-1",
        endpoint_url=proxy.aws.endpoint_url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}),
    )
    steps = world.rebuild(client=refused, limit=10)
    run = world.begun(steps)
    steps.load(run, 0, in_time=lambda: False)
    proxy.inject(THROTTLED | {"operation": "Scan", "times": 1})
    with pytest.raises(SourceError, match="ProvisionedThroughputExceededException"):
        steps.load(run, 0)
    assert steps.load(run, 0).items == 30


def test_an_empty_table_is_complete_at_once(world: World) -> None:
    loaded, swept = world.rebuilt()
    assert (loaded[0].items, swept.entries) == (0, 0)
    assert world.marker.is_complete


class Loaded:
    """A rebuild whose segments are loaded at once."""

    def load(self, _run: Run, _index: int, **options: Any) -> Progress:
        """Report one page."""
        progress = Progress(done=True, items=2)
        options["on_progress"](progress)
        return progress


def test_what_a_backfill_remembers_does_not_grow_with_its_segments() -> None:
    """There may be a million, and each page is reported."""
    under_way, seen = list[int](), list[Progress]()

    def note(state: BackfillProgress) -> None:
        under_way.append(len(backfill._parts))
        seen.append(state.progress)

    rebuild: Any = Loaded()
    backfill = Backfill(rebuild, on_progress=note)
    number = 3_000
    run = Run("a", 1, number, consistent=True, views="v", begun="2026-01-01T00:00:00+00:00")
    assert backfill._load(run)
    assert max(under_way) < 10
    assert [each.items for each in seen] == list(range(2, 2 * number + 1, 2))
    assert [each.done for each in seen] == [*[False] * (number - 1), True]
