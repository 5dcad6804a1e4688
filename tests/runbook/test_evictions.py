"""A full cache evicts fences first, and an old change comes back: it is noticed, and healed."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from time import time
from typing import Any

import pytest
from tests.support.alarm_watch import Watch
from tests.support.deadlines import wait_until
from tests.support.scans import keys_in

from dynamirror.cache import doubt
from dynamirror.cache.client import Cache
from dynamirror.cache.doubt import noted_evictions
from dynamirror.errors import CacheError
from dynamirror.functions import auditor, environment, worker
from dynamirror.handler import handler
from dynamirror.operations.executions import may_rebuild
from dynamirror.operations.messages import Status
from dynamirror.recovery.audit import AuditResult, save_audit
from dynamirror.views.keyspace import fence_key


@pytest.fixture
def full(watch: Watch) -> Iterator[Cache]:
    """The cache, which evicts what expires once it is full."""
    cache = watch.world.cache
    cache.broadcast(b"CONFIG", b"SET", b"maxmemory-policy", b"volatile-lru")
    yield cache
    make_room(cache)
    cache.broadcast(b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction")
    cache.broadcast(b"CONFIG", b"RESETSTAT")  # the next test's mirror is not doubtful


def make_room(cache: Cache) -> None:
    cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")
    for key in list(keys_in(cache, "other:*")):
        cache.call(key.decode(), b"UNLINK", key)


def fill(cache: Cache, fence: str) -> None:
    """Let another application write until the fence is evicted."""
    (report,) = cache.broadcast(b"INFO")
    used = int(report.decode().partition("used_memory:")[2].split()[0])
    cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"%d" % (used + 1_000_000))
    for number in range(2_000):
        key = f"other:{number}"
        with suppress(CacheError):  # once it can evict no more
            cache.call(key, b"SET", key, bytes(10_000))
        if cache.call(fence, b"GET", fence) is None:
            return
    raise AssertionError("the fence is still there")


def status() -> Status:
    return environment.operations().status()


def entry(watch: Watch) -> Any:
    key = f"{watch.world.table}:1"
    return json.loads(watch.world.cache.call(key, b"GET", key))["name"]


def replayed(watch: Watch, full: Cache) -> None:
    """Have the mirror complete, its fence evicted, and the first of two changes come again."""
    events: list[Any] = []

    def both(event: Any, context: Any) -> Any:
        events.append(event)
        return handler(event, context)

    delivery = watch.world.follow(function=both)
    watch.world.put("1", name="old")
    watch.world.caught_up(delivery)
    watch.world.put("1", name="new")
    watch.world.caught_up(delivery)
    delivery.stop()
    watch.world.rebuilt()
    assert status().doubtful is None
    fill(full, fence_key(f"{watch.world.table}:1"))
    first = {"Records": [events[0]["Records"][0]]}
    make_room(full)  # for what is no eviction
    assert watch.invoke(handler, first) == {"batchItemFailures": []}
    assert entry(watch) == "old", "nothing keeps it away"


def test_evictions_are_noticed_and_a_round_of_audits_heals_what_came_of_them(
    watch: Watch, full: Cache
) -> None:
    replayed(watch, full)
    found = status()
    assert found.doubtful is not None
    assert found.complete, "no rebuild begins by itself"
    assert "evicted keys, fences perhaps" in found.warnings[0]

    def healed() -> bool:
        watch.pass_minutes(1, lambda: watch.invoke(auditor.handler))
        return status().doubtful is None

    wait_until(healed)
    assert entry(watch) == "new"
    assert status().warnings == []
    assert noted_evictions(full, watch.world.table).counts


def test_evictions_are_noticed_and_a_rebuild_heals_what_came_of_them(
    watch: Watch, full: Cache
) -> None:
    replayed(watch, full)
    assert watch.invoke(worker.handler, {"step": "check"})["complete"]
    watch.world.rebuilt()
    assert entry(watch) == "new"
    assert status().doubtful is None


def evict(cache: Cache, fences: Sequence[str]) -> None:
    """Let another application write until most fences are evicted, and more come."""
    (report,) = cache.broadcast(b"INFO")
    used = int(report.decode().partition("used_memory:")[2].split()[0])
    cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"%d" % (used + 1_000_000))
    for number in range(2_000):
        with suppress(CacheError):
            cache.call("other", b"SET", f"other:{{other}}:{number}", bytes(10_000))
        if sum(cache.call(fence, b"EXISTS", fence) for fence in fences) < len(fences) / 10:
            return
    raise AssertionError("most fences are still there")


def test_fences_that_a_full_cache_evicts_under_load_are_noticed_and_a_rebuild_heals_all(
    watch: Watch, full: Cache
) -> None:
    """Readers see old values until then; writes go on all the time."""
    world, events, ids = watch.world, [], [str(number) for number in range(60)]

    def both(event: Any, context: Any) -> Any:
        events.append(event)
        return handler(event, context)

    delivery = world.follow(function=both)
    world.puts({"id": {"S": item_id}, "n": {"N": "0"}} for item_id in ids)
    world.caught_up(delivery)
    world.rebuilt()
    assert status().doubtful is None
    with world.written_to(world.counted(1, ids[:20])):
        # The first change of each of the others, which nobody writes any more, is repeated later.
        world.puts({"id": {"S": item_id}, "n": {"N": "-1"}} for item_id in ids[20:])
        world.caught_up(delivery)
        evict(full, [fence_key(f"{world.table}:{item_id}") for item_id in ids[20:]])
        first = [record for event in events for record in event["Records"]][: len(ids)]
        assert status().doubtful is not None, "it is seen while writes go on"
        make_room(full)
        assert watch.invoke(handler, {"Records": first}) == {"batchItemFailures": []}
        found = world.verify()
        assert found.different >= len(ids[20:]) * 0.8, "nothing kept the old changes away"
        world.rebuilt()
        assert status().doubtful is None
        assert world.verify().is_true
    world.caught_up(delivery)
    assert world.compare().is_true


def test_a_doubtful_mirror_without_an_auditor_is_rebuilt_by_the_watchdog(
    watch: Watch, full: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the cache evicts no more, and has room."""
    names = set()

    def starts() -> bool:
        answer = watch.invoke(worker.handler, {"step": "check"})
        if answer["start"]:
            names.add(answer["name"])
        return bool(answer["start"])

    watch.world.rebuilt()
    assert not starts()
    watch.invoke(worker.handler, {"step": "evicted"})
    assert not starts(), "the cache may go on to evict"
    monkeypatch.setattr(doubt, "_QUIET_SECONDS", -10)
    assert starts()
    (report,) = full.broadcast(b"INFO")
    used = int(report.decode().partition("used_memory:")[2].split()[0])
    full.broadcast(b"CONFIG", b"SET", b"maxmemory", b"%d" % (used * 1.05))
    assert not starts(), "a rebuild would evict still more"
    full.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")
    watch.invoke(auditor.handler)
    assert not starts(), "a round of audits repairs it, and costs no rebuild"
    save_audit(full, watch.world.table, AuditResult("2026-01-01T00:00:00+00:00", 0, 1, None))
    assert starts(), "the audits have ended"
    # Step Functions refuses a name that it had.
    assert len(names) <= 2, "one a day"
    assert all(may_rebuild(name, watch.world.table) for name in names)
    assert not any(may_rebuild(name, "other") for name in names)
    watch.world.rebuilt()
    assert not starts()


def test_evictions_that_cloudwatch_reports_are_noted(watch: Watch, full: Cache) -> None:
    """ElastiCache Serverless need not show them in INFO."""
    watch.world.rebuilt()
    assert status().doubtful is None
    assert watch.invoke(worker.handler, {"step": "evicted"}) == {}
    assert status().doubtful is not None
    watch.world.rebuilt()
    assert status().doubtful is None
    assert full


def test_a_verification_by_the_state_machine_ends_the_doubt(watch: Watch, full: Cache) -> None:
    """Only if it began later, and found nothing."""
    watch.world.rebuilt()
    watch.invoke(worker.handler, {"step": "evicted"})
    lane = {"index": 0, "lanes": 1, "segments": 2, "ranges": 1, "settle": 0}
    watch.invoke(worker.handler, {"step": "verify", "id": "v", **lane})
    total = {"step": "sum", "id": "v", "parts": 3}
    for seconds, is_doubtful in ((-5, True), (5, False)):
        began = datetime.fromtimestamp(time() + seconds, UTC).isoformat().replace("+00:00", "Z")
        assert watch.invoke(worker.handler, total | {"began": began})["missing"] == 0
        assert (status().doubtful is not None) == is_doubtful
    assert full
