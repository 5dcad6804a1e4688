"""`status` reports whether the mirror is live; `run --health` reports it to orchestrators."""

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from tests.support.deadlines import wait_until
from tests.support.places import TableAndCache
from tests.support.processes import run, start

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_complete, record_gap
from dynamirror.cache.heartbeat import Heartbeat, seen_replicator, why_not_live, write_heartbeat
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.keyspace import heartbeats_key
from dynamirror.views.view import Schema, ViewSpec


class Place(TableAndCache):
    """A table, its complete mirror, and a command line whose environment names both."""

    def __init__(
        self, server: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, folder: Path
    ) -> None:
        super().__init__(server, valkey, cache, folder)
        views = [ViewSpec().bind(Schema(self.source.name, ("id",), ("S",)))]
        record_gap(cache, views, stream=self.source.arn, at=1, reason="a test")
        record_complete(cache, views, SnapshotVersion(1_790_000_000))

    def status(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Return the exit status of `status`, and its answer."""
        done = run("status", "--json", *arguments, env=self.env)
        return done.returncode, json.loads(done.stdout)

    def is_healthy(self) -> bool:
        """Return whether `status` exits with 0."""
        return self.status()[0] == 0

    @contextmanager
    def mirroring(self, *arguments: str) -> Iterator[Popen[str]]:
        """Run the mirror until the end, in a process of its own."""
        process = start("run", *arguments, env=self.env)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def beat(self, who: str, *, behind: float, silence: float | None, name: str = "") -> None:
        """Write a heartbeat."""
        heartbeat = Heartbeat(who, behind, self.source.arn, "7", 1_790_000_000.0, silence)
        write_heartbeat(self.cache, self.source.name, name or who, heartbeat, first=False)


@pytest.fixture
def place(
    dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, tmp_path: Path
) -> Place:
    """Return an empty table and its complete mirror, which nobody replicates."""
    return Place(dynamodb, valkey, cache, tmp_path)


def test_a_replicator_that_was_killed_is_not_live_and_a_restarted_one_is(place: Place) -> None:
    with place.mirroring() as process:
        wait_until(place.is_healthy)
        status, idle = place.status()
        assert (status, idle["complete"], idle["live"]) == (0, True, True), "idle, but alive"
        assert idle["replicator"]["who"].endswith(f":{process.pid}")
        assert idle["replicator"]["behind"] < 10
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    place.source.puts(range(50))
    wait_until(lambda: not place.is_healthy())
    done = run("status", env=place.env)
    assert done.returncode == 1
    first = done.stdout.splitlines()[0]
    assert "the mirror is complete, since 20" in first
    assert f"but not live: the replicator ({idle['replicator']['who']}) was last seen " in first
    assert first.endswith(" s ago, so it has ended or hangs")
    status, dead = place.status()
    assert (status, dead["complete"], dead["live"]) == (1, True, False)
    assert dead["replicator"]["seen"] > dead["replicator"]["silence"]
    with place.mirroring():
        wait_until(place.is_healthy)
        wait_until(lambda: place.status()[1]["replicator"]["sequence_number"])
        assert run("verify", env=place.env).returncode == 0


def test_a_process_without_progress_is_not_live(place: Place) -> None:
    with place.mirroring() as process:
        wait_until(place.is_healthy)
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: not place.is_healthy())
        process.send_signal(signal.SIGCONT)
        wait_until(place.is_healthy)


def test_a_mirror_without_heartbeats_is_complete_but_not_known_to_be_live(place: Place) -> None:
    status, now = place.status()
    assert (status, now["complete"], now["live"], now["replicator"]) == (1, True, False, None)
    assert now["not_live"].startswith("no replicator has been seen: ")


@pytest.mark.parametrize("damaged", [b"", b"{}", b"\xff", b'{"at":"x"}', b'{"at":-1}'])
def test_a_damaged_heartbeat_is_none(place: Place, damaged: bytes) -> None:
    key = heartbeats_key(place.source.name)
    place.cache.call(key, b"HSET", key.encode(), b"who", damaged)
    assert seen_replicator(place.cache, place.source.name) is None


def age(place: Place, name: str, seconds: float) -> None:
    """Make a heartbeat older."""
    key = heartbeats_key(place.source.name)
    stored = json.loads(place.cache.call(key, b"HGET", key.encode(), name.encode()))
    text = json.dumps(stored | {"at": stored["at"] - seconds}, separators=(",", ":"))
    place.cache.call(key, b"HSET", key.encode(), name.encode(), text.encode())


def test_an_old_heartbeat_of_a_cache_that_was_restored_is_not_taken_for_life(place: Place) -> None:
    place.beat("run", behind=0, silence=10)
    place.beat("function", behind=0, silence=None)
    age(place, "run", 300)
    age(place, "function", 300)
    status, now = place.status()
    assert (status, now["live"]) == (1, False)
    assert now["replicator"]["seen"] == pytest.approx(300, abs=60)


def test_a_heartbeat_of_before_the_clock_went_back_is_not_taken_for_life(place: Place) -> None:
    """A failover may lead to a node whose clock is late."""
    place.beat("dead", behind=0, silence=10)
    age(place, "dead", -3600)
    assert seen_replicator(place.cache, place.source.name) is None
    place.beat("new", behind=0, silence=10)
    seen = seen_replicator(place.cache, place.source.name)
    assert seen is not None
    assert seen.who == "new"


def test_a_silent_function_is_live_for_as_long_as_max_lag_allows(place: Place) -> None:
    place.beat("function", behind=1, silence=None)
    assert place.is_healthy()
    age(place, "function", 300)
    status, now = place.status()
    assert status == 1
    assert "it has ended, or the table is idle; a canary makes the difference" in now["not_live"]
    assert place.status("--max-lag", "1000")[0] == 0


def test_a_replicator_that_is_too_far_behind_is_not_live(place: Place) -> None:
    place.beat("run", behind=150, silence=10)
    status, now = place.status()
    assert status == 1
    assert now["not_live"].startswith("the replicator (run) is up to ")
    assert place.status("--max-lag", "1000")[0] == 0


def test_of_two_replicators_side_by_side_the_one_further_behind_counts(place: Place) -> None:
    place.beat("a", behind=500, silence=None)
    place.beat("b", behind=0, silence=None)
    seen = seen_replicator(place.cache, place.source.name)
    assert seen is not None
    assert (seen.who, seen.behind > 499) == ("a", True)
    age(place, "a", 60)
    seen = seen_replicator(place.cache, place.source.name)
    assert seen is not None
    assert (seen.who, why_not_live(seen, 120)) == ("b", None)


def test_the_first_heartbeat_of_a_process_forgets_those_of_an_hour_ago(place: Place) -> None:
    place.beat("old", behind=0, silence=10)
    age(place, "old", 4000)
    place.beat("lately", behind=0, silence=10)
    age(place, "lately", 3000)
    heartbeat = Heartbeat("new", 0.0, place.source.arn)
    write_heartbeat(place.cache, place.source.name, "new", heartbeat, first=True)
    key = heartbeats_key(place.source.name)
    assert set(place.cache.call(key, b"HKEYS", key.encode())) == {b"lately", b"new"}


@pytest.fixture
def confine(place: Place) -> Iterator[Callable[[str], None]]:
    """Change the rights of the cache's user; all are restored at the end."""

    def set_user(rule: str) -> None:
        place.cache.broadcast(b"ACL", b"SETUSER", b"default", rule)

    yield set_user
    set_user("+@all")


def test_a_user_who_may_not_read_the_clock_leaves_a_heartbeat_all_the_same(
    place: Place, confine: Callable[[str], None]
) -> None:
    """Access strings of the version before do not grant `time`."""
    confine("-time")
    place.beat("run", behind=0, silence=10)
    assert place.is_healthy()


def asked(url: str) -> tuple[int, str]:
    """Return the status of an HTTP answer, and its text."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own http URL
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_an_orchestrator_sees_whether_the_process_is_live_and_the_mirror_ready(
    place: Place,
) -> None:
    with place.mirroring("--health", "0", "--no-auto-rebuild") as process:
        assert process.stdout
        line = next(line for line in process.stdout if line.startswith("health at "))
        url = line.split()[-1]
        assert url.startswith("http://127.0.0.1:")
        wait_until(lambda: asked(f"{url}/readyz") == (200, "ready\n"))
        assert asked(f"{url}/livez") == (200, "live\n")
        assert asked(url)[0] == 404
        place.cache.broadcast(b"FLUSHALL")
        wait_until(lambda: asked(f"{url}/readyz")[0] == 503)
        assert "the mirror is incomplete: " in asked(f"{url}/readyz")[1]
        assert asked(f"{url}/livez")[0] == 200
