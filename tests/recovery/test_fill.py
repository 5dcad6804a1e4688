"""A rebuild begins as fast as a new serverless cache takes, and only where there is room."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import view
from tests.support.deadlines import wait_until
from tests.support.scans import keys_in
from tests.support.world import World

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.scan import Rate
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import ConfigError
from dynamirror.functions import environment
from dynamirror.recovery import rebuild
from dynamirror.recovery.fill_rate import DOUBLING_SECONDS, FillRate, ecpus
from dynamirror.recovery.room import BYTES_PER_ENTRY, room
from dynamirror.runner.healer import Healer
from dynamirror.settings import Settings
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.view import View

FIRST = 30_000.0
PAGE = 2_500 * 3.0


def used_until(end: float, *, workers: int, page_seconds: float, since: float = 0.0) -> float:
    """The units that workers use until some time after the rebuild began."""
    rate, now, units = FillRate(FIRST, workers), since, 0.0
    while now < end:
        now, units = now + page_seconds, units + PAGE
        now += rate.wait(units, begun=0.0, since=since, now=now)
    return units * workers


def taken_until(end: float) -> float:
    """What a cache takes that doubles its rate step by step, each as late as it may."""
    units, rate, now = 0.0, FIRST, 0.0
    while now < end:
        step = min(DOUBLING_SECONDS, end - now)
        units, rate, now = units + rate * step, rate * 2, now + DOUBLING_SECONDS
    return units


@pytest.mark.parametrize("workers", [1, 8, 40])
def test_eight_fast_workers_begin_at_the_rate_of_a_new_cache_and_double_it(workers: int) -> None:
    slow = used_until(10, workers=workers, page_seconds=0.05)
    assert slow == pytest.approx(FIRST * 10, rel=0.1, abs=PAGE * workers)
    for minutes in (3, 6, 9):
        used = used_until(minutes * 60, workers=workers, page_seconds=0.05)
        smooth = FIRST * 60 * 3 / 0.6931 * (2 ** (minutes / 3) - 1)
        assert used <= smooth + PAGE * workers * 1.5


def test_a_worker_that_begins_later_may_write_faster_at_once() -> None:
    late = used_until(370, workers=8, page_seconds=0.05, since=360)
    assert late == pytest.approx(FIRST * 4 * 10, rel=0.1)


@given(
    units=st.floats(0, 1e12),
    since=st.floats(0, 1e7),
    begun=st.floats(-1e7, 1e7),
    workers=st.integers(1, 1000),
)
def test_a_pause_is_a_finite_time(units: float, since: float, begun: float, workers: int) -> None:
    seconds = FillRate(FIRST, workers).wait(units, begun=begun, since=since, now=since)
    assert 0 <= seconds < 1e8
    assert FillRate(None, workers).wait(units, begun=begun, since=since, now=since) == 0


def test_large_items_count_by_their_size() -> None:
    assert ecpus(10, 1, consistent=True) == 34
    assert ecpus(10, 1, consistent=False) == 38


def test_a_serverless_endpoint_is_filled_slowly_at_first_unless_it_was_scaled_before() -> None:
    host = "users-abc.serverless.use1.cache.amazonaws.com"
    assert Settings(host=host).first_ecpus == 30_000
    assert Settings(host=host, ecpus=100_000).first_ecpus == 100_000
    assert Settings(host=host, ecpus=0).first_ecpus is None
    assert Settings(host="127.0.0.1").first_ecpus is None


def test_tables_that_may_be_rebuilt_together_share_what_a_new_cache_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = "users-abc.serverless.use1.cache.amazonaws.com"
    assert Settings(host=host).shared_by(5).first_ecpus == 6_000
    assert Settings(host=host, ecpus=0).shared_by(5).first_ecpus is None
    variables = {"ELASTICACHE_HOST": host, "DYNAMODB_TABLE": "a-1", "DYNAMODB_TABLES": "a-1,b-2"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    environment.operations.cache_clear()
    assert environment.operations("b-2").cache.first_ecpus == 15_000
    environment.operations.cache_clear()


def test_a_rebuild_keeps_to_the_rate(
    dynamodb: EmbeddedDynamoDB,
    valkey: EmbeddedValkey,
    cache: Cache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Cache(valkey.settings(ecpus=100))
    world = World(dynamodb, slow, items=[{"id": {"S": str(n)}} for n in range(60)])
    pauses: list[float] = []

    class Pauses(Rate):
        """A rate that notes its pauses."""

        def pause(self, seconds: float) -> None:
            pauses.append(seconds)

    with world.stack:
        steps = world.rebuild(limit=20)
        run = world.begun(steps)
        rate = Pauses(None)
        # Time that the reading itself takes would count, and on a busy machine be enough.
        begun = datetime.fromisoformat(run.begun).timestamp()
        monkeypatch.setattr("dynamirror.recovery.rebuild.time", lambda: begun)
        progress = steps.load(run, 0, rate=rate, workers=2)
        assert progress.applied == 60
        # 20 writes are more than 60 units, of 50 a second for each of two workers.
        assert pauses[0] > 0.2
        assert pauses[1] > pauses[0]
    slow.close()
    assert cache


def views(text: str = "[[view]]") -> list[View]:
    return [spec.bind(view().schema) for spec in parse_views(text, "mirror.toml")]


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("[[view]]", 1_000_000 + 1000 * BYTES_PER_ENTRY),
        ('[[view]]\nkey = "a:{id}"\n[[view]]\nkey = "b:{id}"', 2_000_000 + 2000 * BYTES_PER_ENTRY),
        ('[[view]]\ninclude = ["name"]', 1000 * BYTES_PER_ENTRY),
        ('[[view]]\nexclude = ["name"]', 1000 * BYTES_PER_ENTRY),
        ('[[view]]\nwhen = { status = "paid" }', 0),
    ],
)
def test_a_mirror_needs_at_least_what_its_views_write(text: str, needed: int) -> None:
    description = {"TableSizeBytes": 1_000_000, "ItemCount": 1000}
    assert room(views(text), description, 10).needed == needed


@pytest.mark.parametrize(
    ("limit", "is_short", "warns"),
    [(None, False, False), (0, False, False), (1_000, True, True), (1_500, False, True)],
)
def test_a_limit_that_is_near_warns_and_one_that_is_passed_refuses(
    limit: int | None, *, is_short: bool, warns: bool
) -> None:
    found = room(views(), {"TableSizeBytes": 1_000, "ItemCount": 1}, limit)
    assert (found.is_short, found.sentence is not None) == (is_short, warns)
    if found.sentence:
        assert "needs at least 1,240 bytes in the cache" in found.sentence


def test_a_rebuild_for_which_there_is_no_room_does_not_begin(
    dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache
) -> None:
    """Neither `dynamirror run` nor the state machine tries in vain; `status` shows why."""
    small = Cache(valkey.settings(max_bytes=1_000))
    world = World(dynamodb, small, items=[{"id": {"S": str(n)}} for n in range(20)])
    with world.stack:
        with pytest.raises(ConfigError, match=r"needs at least .* limit is 1,000 bytes"):
            world.rebuilt()
        reports: list[str] = []
        healer = Healer(world.rebuild(), stream_arn=lambda: world.arn, notify=reports.append)
        healer.start()
        wait_until(lambda: len(reports) > 1)
        healer.stop()
        assert "cannot be rebuilt: table" in reports[1]
        assert not world.marker.is_complete
        assert list(keys_in(cache, f"{world.table}:*")) == []
    small.close()


def test_the_memory_of_the_nodes_is_the_limit_where_none_is_set(
    dynamodb: EmbeddedDynamoDB, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(dynamodb, cache, items=[{"id": {"S": "1"}}])
    description = {"TableSizeBytes": 1_000_000_000, "ItemCount": 1}
    described = (world.schema, description)
    monkeypatch.setattr(rebuild, "describe_schema", lambda _client, _table: described)
    cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"900000000")
    try:
        with world.stack, pytest.raises(ConfigError, match=r"the cache's limit is 0.9 GB"):
            world.rebuilt()
    finally:
        cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")
