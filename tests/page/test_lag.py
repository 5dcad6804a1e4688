"""The page's condition follows the lag that the metrics report, and its figures heal."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic

import pytest
from tests.support.deadlines import wait_until
from tests.support.streams import Memory, Source

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_complete, record_gap
from dynamirror.cache.doubt import note_reported, note_written
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.page.entry_sample import EntrySample
from dynamirror.page.mirror_source import MirrorSource
from dynamirror.page.sampler import Sampler
from dynamirror.page.state import Condition
from dynamirror.records.version import SnapshotVersion
from dynamirror.replication.replicator import Replicator
from dynamirror.runner.delivery import Delivery
from dynamirror.views.batch_result import BatchResult, Report, Tally
from dynamirror.views.view import Schema, Views, ViewSpec


@contextmanager
def sampling(mirror: MirrorSource, interval: float = 0.1) -> Iterator[Sampler]:
    """Update the state of a page."""
    sampler = Sampler(mirror, interval=interval)
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.stop()


@pytest.fixture
def delivery(
    source: Source, cache: Cache, valkey: EmbeddedValkey, mirror: MirrorSource
) -> Iterator[Delivery]:
    """Replicate as `run` does: shards are listed every ten seconds."""
    views = Views.for_schema((ViewSpec(),), Schema(source.name, ("id",), ("S",)))
    replicator = Replicator(cache, views, fence_ttl=valkey.settings().fence_ttl)
    record_gap(cache, mirror.views, stream=source.arn, at=1, reason="a test")
    record_complete(cache, mirror.views, SnapshotVersion(2))
    delivery = Delivery(source.reader(), replicator, Memory())
    delivery.start()
    yield delivery
    delivery.stop()


def test_a_healthy_mirror_stays_in_sync_between_two_looks_at_the_shards(
    mirror: MirrorSource, source: Source, delivery: Delivery
) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.05):
            number += 1
            source.put(str(number % 10), name={"S": f"n{number}"})

    writer = threading.Thread(target=write)
    writer.start()
    conditions = set()
    try:
        shown = replace(mirror, delivery=lambda: delivery)
        with sampling(shown, interval=2.0) as sampler:  # as `run --page`
            wait_until(lambda: sampler.view().condition is Condition.IN_SYNC)
            end = monotonic() + 6  # the limit of 3 s, and a sample later
            while monotonic() < end:
                conditions.add(sampler.view().condition)
                stop.wait(0.05)
    finally:
        stop.set()
        writer.join()
    assert conditions == {Condition.IN_SYNC}


def test_failures_are_shown_as_going_on_only_while_they_go_on(
    mirror: MirrorSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynamirror.page.sampler._FAILING_SECONDS", 1.0)
    with sampling(mirror) as sampler:
        wait_until(lambda: sampler.view().number)
        assert not sampler.view().is_failing
        mirror.tally.failed += 8
        wait_until(lambda: sampler.view().is_failing)
        wait_until(lambda: not sampler.view().is_failing)
        assert sampler.view().tally.failed == 8


def test_quarantined_items_count_in_the_tally() -> None:
    tally = Tally()
    tally.add(BatchResult("users", 3, Report(applied=1), 2, 0, None, 0.0, 0.0))
    assert (tally.applied, tally.quarantined) == (1, 2)


def test_a_mirror_that_evictions_made_doubtful_is_not_called_in_sync(
    mirror: MirrorSource, cache: Cache, delivery: Delivery
) -> None:
    """`status` warns of it, too."""
    note_reported(cache, mirror.table)
    with sampling(replace(mirror, delivery=lambda: delivery)) as sampler:
        wait_until(lambda: sampler.view().condition is Condition.DOUBTFUL)
        assert "evicted keys" in sampler.view().detail
        note_written(cache, mirror.table, 2**32)
        wait_until(lambda: sampler.view().condition is Condition.IN_SYNC)


def test_an_item_that_is_not_in_the_view_is_not_called_missing(
    mirror: MirrorSource, source: Source
) -> None:
    (view,) = mirror.views
    view = ViewSpec(when={"kind": "user"}).bind(view.schema)
    sample = EntrySample(replace(mirror, views=[view]), refresh_seconds=-1.0)
    source.put("1", kind={"S": "user"})
    (row,) = sample.compare(None)
    assert row.table == "kind user"
    source.put("1", kind={"S": "order"})
    (row,) = sample.compare(None)
    assert (row.table, row.absent) == (None, "item is not in this view")
    source.client.delete_item(TableName=source.name, Key={"id": {"S": "1"}})
    (row,) = sample.compare(None)
    assert (row.table, row.absent) == (None, "no item")
