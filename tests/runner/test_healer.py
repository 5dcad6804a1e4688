"""`run` repairs by itself what came of evicted fences, once the cache has room."""

import json
from collections.abc import Iterator
from threading import Event
from time import time
from typing import Any

import pytest
from tests.support.deadlines import wait_until
from tests.support.world import World

from dynamirror.cache import doubt
from dynamirror.cache.doubt import note_reported, noted_evictions
from dynamirror.errors import SourceError
from dynamirror.recovery.backfill import Backfill, BackfillProgress
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.recovery.rebuild_state import Progress
from dynamirror.runner import healer
from dynamirror.runner.healer import Healer


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def doubtful(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A complete mirror whose cache has evicted fences, and one entry that is older than its item.

    A healer looks all the time, and waits for no quiet.
    """
    for name in ("_CHECK_SECONDS", "_EVICTIONS_SECONDS"):
        monkeypatch.setattr(healer, name, 0.05)
    monkeypatch.setattr(doubt, "_QUIET_SECONDS", 0)
    world.put("1", name="new")
    world.rebuilt()
    key = f"{world.table}:1"
    world.cache.call(key, b"SET", key, b'{"id":"1","name":"old"}')
    note_reported(world.cache, world.table)
    yield world
    world.cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")


def begun(world: World, notes: list[str], *, auto_rebuild: bool = True) -> Healer:
    thread = Healer(
        world.rebuild(),
        stream_arn=lambda: world.arn,
        notify=notes.append,
        auto_rebuild=auto_rebuild,
        segments=1,
    )
    thread.start()
    world.stack.callback(thread.stop)
    return thread


def name(world: World) -> Any:
    key = f"{world.table}:1"
    return json.loads(world.cache.call(key, b"GET", key))["name"]


def is_doubtful(world: World) -> bool:
    return noted_evictions(world.cache, world.table).is_doubtful


def test_a_doubtful_mirror_is_rebuilt_once_the_cache_is_quiet(
    doubtful: World, notes: list[str]
) -> None:
    thread = begun(doubtful, notes)
    wait_until(lambda: not is_doubtful(doubtful))
    assert name(doubtful) == "new"
    wait_until(lambda: len(notes) == 3)
    assert "the mirror is doubtful" in notes[0]
    assert notes[1] == "the cache has room again, so the doubtful mirror is rebuilt"
    assert "the mirror is complete" in notes[2]
    note_reported(doubtful.cache, doubtful.table)
    wait_until(lambda: len(notes) > 3)
    assert "the mirror is doubtful" in notes[3]
    before = thread._looked
    wait_until(lambda: thread._looked > before + 0.5)
    assert is_doubtful(doubtful), "a rebuild that makes the cache evict is not repeated at once"


def test_it_is_not_rebuilt_while_the_cache_is_full(doubtful: World, notes: list[str]) -> None:
    (report,) = doubtful.cache.broadcast(b"INFO")
    used = int(report.decode().partition("used_memory:")[2].split()[0])
    doubtful.cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"%d" % (used * 1.05))
    thread = begun(doubtful, notes)
    wait_until(lambda: notes)
    before = thread._looked
    wait_until(lambda: thread._looked > before + 0.5)
    assert name(doubtful) == "old"
    assert len(notes) == 1
    doubtful.cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")
    wait_until(lambda: not is_doubtful(doubtful))
    assert name(doubtful) == "new"


def test_it_is_not_rebuilt_while_the_cache_goes_on_to_evict(
    doubtful: World, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubt, "_QUIET_SECONDS", 3600)
    thread = begun(doubtful, notes)
    wait_until(lambda: notes)
    before = thread._looked
    wait_until(lambda: thread._looked > before + 0.5)
    assert name(doubtful) == "old"
    assert len(notes) == 1
    assert noted_evictions(doubtful.cache, doubtful.table).at >= time() - 60


def test_it_is_only_notified_if_it_should_not_rebuild(doubtful: World, notes: list[str]) -> None:
    thread = begun(doubtful, notes, auto_rebuild=False)
    wait_until(lambda: notes)
    before = thread._looked
    wait_until(lambda: thread._looked > before + 0.5)
    assert name(doubtful) == "old"
    assert len(notes) == 1


def test_failed_checks_and_failed_rebuilds_are_counted_apart(
    doubtful: World, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_backfill: Backfill) -> None:
        raise SourceError("no table")

    monkeypatch.setattr(Backfill, "run", fail)
    thread = begun(doubtful, notes)
    wait_until(lambda: thread.rebuild_errors > 0)
    assert thread.check_errors == 0
    assert thread.rebuild_running() == 0
    monkeypatch.setattr(thread._detector, "check", fail)
    wait_until(lambda: thread.check_errors > 1)
    age = thread.check_age()
    assert age > 0
    before = thread.check_errors
    wait_until(lambda: thread.check_errors > before)
    assert thread.check_age() > age, "a check that fails is none"


def test_a_rebuild_under_way_counts_as_a_check(
    doubtful: World, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, end = Event(), Event()

    def wait(_backfill: Backfill) -> None:
        begin.set()
        end.wait(30)

    monkeypatch.setattr(Backfill, "run", wait)
    thread = begun(doubtful, notes)
    assert begin.wait(30)
    wait_until(lambda: thread.rebuild_running() > 0.1)
    assert thread.check_age() == 0
    end.set()
    wait_until(lambda: thread.rebuild_running() == 0)


def test_a_mirror_that_is_lost_during_its_rebuild_is_incomplete(
    doubtful: World, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebuild may take hours, in which nothing else looks at the marker of an idle table."""
    lost = Event()
    load = Rebuild.load

    def losing(rebuild: Rebuild, *arguments: Any, **options: Any) -> Any:
        if not lost.is_set():
            assert thread.complete
            doubtful.cache.broadcast(b"FLUSHALL")
            lost.set()
        return load(rebuild, *arguments, **options)

    monkeypatch.setattr(Rebuild, "load", losing)
    thread = begun(doubtful, notes)
    assert lost.wait(30)
    wait_until(lambda: thread.complete is False)
    assert thread.rebuild_running() > 0


def test_what_a_rebuild_quarantined_is_notified(
    doubtful: World, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = BackfillProgress("done", Progress(done=True, items=3, applied=1, quarantined=2))
    monkeypatch.setattr(Backfill, "run", lambda _backfill: done)
    begun(doubtful, notes)
    wait_until(lambda: any(note.endswith("entries deleted, 2 items quarantined") for note in notes))
