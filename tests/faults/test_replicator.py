"""The replicator runs out of time, runs twice at once, or wakes long after it was given up."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.deadlines import wait_until
from tests.support.mirroring import FENCE_TTL, Mirror, Table, entries, number
from tests.support.wire import Wire

from dynamirror.cache.client import Cache
from dynamirror.cache.pipeline import CHUNK
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.replication.replicator import Replicator
from dynamirror.settings import Settings
from dynamirror.views.encoding import HASH
from dynamirror.views.view import Schema, Views, ViewSpec

OpenCache = Callable[[Settings], Cache]
IDS = [str(number) for number in range(3 * CHUNK)]
CITY = ViewSpec(key="city:{name}:{id}")
KEYS = {"json": "users:{id}", "hash": "users:{id}", "changing key": "city:{name}:{id}"}
SPECS = {"json": ViewSpec(), "hash": ViewSpec(encoding=HASH), "changing key": CITY}
VIEWS = pytest.mark.parametrize("name", SPECS)


class Invocation:
    """Lambda's context, and the clock: every look at it takes a millisecond."""

    def __init__(self, seconds: float) -> None:
        self.time = 0.0
        self._end = seconds

    def clock(self) -> float:
        """Monotonic seconds."""
        self.time += 0.001
        return self.time

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended."""
        return round((self._end - self.clock()) * 1000)


@VIEWS
def test_a_large_batch_is_done_in_as_many_invocations_as_it_takes(single: Cache, name: str) -> None:
    mirror, table = Mirror(single, SPECS[name]), Table()
    assert mirror.deliver(table.puts(IDS, name="old")) is None
    rest = [*table.puts(IDS[100:], name="new"), *map(table.delete, IDS[:100])]
    views = Views((SPECS[name],), lambda table, keys: Schema(table, tuple(keys)))
    invocations = 0
    while rest:
        invocations += 1
        invocation = Invocation(0.3)  # of which half is kept back
        lambda_ = Replicator(single, views, fence_ttl=FENCE_TTL, clock=invocation.clock)
        failures = lambda_({"Records": rest}, invocation)["batchItemFailures"]
        numbers = [number(one) for one in rest]
        done = numbers.index(failures[0]["itemIdentifier"]) if failures else len(rest)
        assert done > 0
        rest = rest[done:]
    assert invocations > 3
    assert entries(single) == table.shown(KEYS[name])


@VIEWS
def test_a_batch_delivered_twice_at_once_is_applied_once(
    valkey: EmbeddedValkey, cache: Cache, open_cache: OpenCache, name: str
) -> None:
    table, together = Table(), threading.Barrier(2, timeout=30)
    mirrors = [Mirror(open_cache(valkey.settings()), SPECS[name]) for _ in range(2)]
    batches = [table.puts(IDS, name=f"{batch}") for batch in range(4)]
    batches.append([*map(table.delete, IDS[::2]), *table.puts(IDS[1::2], name="last")])
    answers: list[str | None] = []

    def replicate(mirror: Mirror) -> None:
        for batch in batches:
            together.wait()
            answers.append(mirror.deliver(batch))

    threads = [threading.Thread(target=replicate, args=(mirror,)) for mirror in mirrors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [None] * 10
    for reports in zip(*(mirror.reports for mirror in mirrors), strict=True):
        # Every entry by one of them; to the other it was stale.
        assert sum(report.applied for report in reports) == sum(report.stale for report in reports)
    assert entries(cache) == table.shown(KEYS[name])


def calls(cache: Cache) -> int:
    """How many scripts the server has carried out."""
    (info,) = cache.broadcast(b"INFO", b"commandstats")
    for line in info.decode().splitlines():
        if line.startswith("cmdstat_evalsha:calls="):
            return int(line.removeprefix("cmdstat_evalsha:calls=").split(",")[0])
    return 0


@VIEWS
def test_what_a_zombie_writes_at_last_replaces_nothing_newer(
    single: Cache, over_wire: Cache, wire: Wire, name: str
) -> None:
    zombie, living, table = Mirror(over_wire, SPECS[name]), Mirror(single, SPECS[name]), Table()
    ids = IDS[:150]  # held back whole, as one request
    oldest = table.puts(ids, name="oldest")
    wait_until(lambda: zombie.deliver(oldest) is None)  # a busy machine may be too slow at first
    old: list[dict[str, Any]] = table.puts(ids[:130], name="old")
    old += [*map(table.delete, ids[130:140]), table.put("left to the zombie", name="old")]
    wire.to_server.held = True
    assert zombie.deliver(old) == number(old[0])
    assert zombie.reasons == {f"127.0.0.1:{wire.port}: no answer in time"}

    # Lambda delivers again, to another; changes, deletes and new items have followed by then.
    newer = old[:-1]
    newer += table.puts([*ids[:50], *ids[130:135]], name="new")
    newer += map(table.delete, ids[50:100])
    newer += [*table.puts(ids[75:100], name="oldest"), *table.puts(ids[:20], name="old")]
    assert living.deliver(newer) is None
    shown = table.shown(KEYS[name])
    late = {key: shown[key] for key in shown if shown[key]["id"] == "left to the zombie"}
    assert entries(single) == {key: shown[key] for key in shown.keys() - late.keys()}

    before = calls(single)
    sent = zombie.reports[-1].failed
    wire.to_server.held = False
    wait_until(lambda: calls(single) == before + len(sent))
    assert entries(single) == shown  # the zombie wrote what was newest, and nothing else
    assert len(late) == 1
    assert living.deliver(old) is None
    assert living.reports[-1].applied == 0
    assert entries(single) == shown
