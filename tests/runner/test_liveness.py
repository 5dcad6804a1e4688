"""`status` reports whether the mirror is live; `run --health` reports it to orchestrators."""

import json
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from subprocess import Popen
from threading import Event
from time import time
from typing import Any, cast
from unittest.mock import Mock

import msgspec
import pytest
from tests.support.deadlines import wait_until
from tests.support.heartbeats import seen_replicator
from tests.support.places import TableAndCache
from tests.support.processes import invoke, start
from tests.support.streams import Memory, Tree
from typer.testing import CliRunner

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_complete, record_gap
from dynamirror.cache.heartbeat import Heartbeat, why_not_live, write_heartbeat
from dynamirror.cache.lease import Lease, Leases
from dynamirror.cache.stored_record import encode_record
from dynamirror.cli.commands import app
from dynamirror.cli.status import lines
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import ConfigError, OptionError
from dynamirror.metrics.openmetrics import Endpoint
from dynamirror.operations.messages import DEFAULT_MAX_LAG, VerifyRequest
from dynamirror.operations.service import Operations
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.comparison import Comparison
from dynamirror.replication.replicator import build
from dynamirror.runner.delivery import Delivery
from dynamirror.runner.event_source_mapping import EventSourceMapping
from dynamirror.runner.follower import Follower
from dynamirror.runner.health_endpoint import HealthEndpoint
from dynamirror.runner.heartbeat_thread import HeartbeatThread
from dynamirror.settings import Settings
from dynamirror.views.keyspace import heartbeats_key, lease_key
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
        self.operations = Operations(Settings.from_env(self.env), server.aws, self.source.name)

    def status(self, max_lag: float = DEFAULT_MAX_LAG) -> dict[str, Any]:
        """Return what `status --json` prints, without a process for it."""
        return cast("dict[str, Any]", msgspec.to_builtins(self.operations.status(max_lag)))

    def is_healthy(self) -> bool:
        """Return whether `status` would exit with 0."""
        now = self.status()
        return bool(now["complete"] and now["live"])

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
) -> Iterator[Place]:
    """Return an empty table and its complete mirror, which nobody replicates."""
    place = Place(dynamodb, valkey, cache, tmp_path)
    yield place
    place.operations.cache.close()


def age(place: Place, name: str, seconds: float) -> None:
    """Make a heartbeat older."""
    key = heartbeats_key(place.source.name)
    stored = json.loads(place.cache.call(key, b"HGET", key.encode(), name.encode()))
    text = json.dumps(stored | {"at": stored["at"] - seconds}, separators=(",", ":"))
    place.cache.call(key, b"HSET", key.encode(), name.encode(), text.encode())


def is_silent(place: Place, name: str) -> bool:
    """Return whether a replicator is not live once it should have left its next heartbeats."""
    age(place, name, 20)
    return not place.is_healthy()


def test_a_replicator_that_was_killed_is_not_live_and_a_restarted_one_is(place: Place) -> None:
    with place.mirroring() as process:
        wait_until(place.is_healthy)
        done = invoke("status", "--json", env=place.env)
        idle = json.loads(done.stdout)
        assert (done.returncode, idle["complete"], idle["live"]) == (0, True, True), "but idle"
        who = idle["replicator"]["who"]
        assert who.endswith(f":{process.pid}")
        assert idle["replicator"]["behind"] < 10
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: is_silent(place, who))
        process.send_signal(signal.SIGCONT)
        wait_until(place.is_healthy)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    place.source.puts(range(50))
    wait_until(lambda: is_silent(place, who))
    done = invoke("status", env=place.env)
    assert done.returncode == 1
    first = done.stdout.splitlines()[0]
    assert "the mirror is complete, since 20" in first
    assert f"but not live: the replicator ({who}) was last seen " in first
    assert first.endswith(" s ago, so it has ended or hangs")
    dead = place.status()
    assert (dead["complete"], dead["live"]) == (True, False)
    assert dead["replicator"]["seen"] > dead["replicator"]["silence"]
    with place.mirroring():
        wait_until(place.is_healthy)
        wait_until(lambda: place.status()["replicator"]["sequence_number"])
        comparison = place.operations.perform(VerifyRequest())
        assert isinstance(comparison, Comparison)
        assert comparison.is_true


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("live", [True, False])
def test_status_exits_with_0_only_for_a_mirror_that_is_complete_and_live(
    place: Place,
    complete: bool,  # noqa: FBT001 - a case
    live: bool,  # noqa: FBT001 - a case
) -> None:
    if live:
        place.beat("run", behind=0, silence=10)
    if not complete:
        record_gap(
            place.cache, place.operations.views, stream=place.source.arn, at=2**33, reason="a gap"
        )
    done = invoke("status", env=place.env)
    assert done.returncode == int(not (complete and live))
    first, second = done.stdout.splitlines()[:2]
    assert ("the mirror is complete, since 20" in first) is complete
    assert ("the mirror is incomplete: a gap" in first) is not complete
    words = first if complete else second
    assert ("not live: " in words or "no: " in words) is not live


def test_a_mirror_without_heartbeats_is_complete_but_not_known_to_be_live(place: Place) -> None:
    now = place.status()
    assert (now["complete"], now["live"], now["replicator"]) == (True, False, None)
    assert now["not_live"].startswith("no replicator has been seen: ")


@pytest.mark.parametrize("damaged", [b"", b"{}", b"\xff", b'{"at":"x"}', b'{"at":-1}'])
def test_a_damaged_heartbeat_is_none(place: Place, damaged: bytes) -> None:
    key = heartbeats_key(place.source.name)
    place.cache.call(key, b"HSET", key.encode(), b"who", damaged)
    assert seen_replicator(place.cache, place.source.name) is None


def test_an_old_heartbeat_of_a_cache_that_was_restored_is_not_taken_for_life(place: Place) -> None:
    place.beat("run", behind=0, silence=10)
    place.beat("function", behind=0, silence=None)
    age(place, "run", 300)
    age(place, "function", 300)
    now = place.status()
    assert not now["live"]
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
    now = place.status()
    assert "it has ended, or the table is idle; a canary makes the difference" in now["not_live"]
    assert place.status(max_lag=1000)["live"]


def test_a_replicator_that_is_too_far_behind_is_not_live(place: Place) -> None:
    place.beat("run", behind=150, silence=10)
    now = place.status()
    assert now["not_live"].startswith("the replicator (run) is up to ")
    assert place.status(max_lag=1000)["live"]
    assert invoke("status", env=place.env).returncode == 1
    assert invoke("status", "--max-lag", "1000", env=place.env).returncode == 0


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


def test_status_names_the_leader_and_looks_at_its_heartbeat(place: Place) -> None:
    cache, table = place.cache, place.source.name
    assert place.status()["leader"] is None
    for who, behind in (("dead:1", 90.0), ("here:2", 1.0)):
        heartbeat = Heartbeat(who=who, behind=behind, stream=place.source.arn, silence=10.0)
        write_heartbeat(cache, table, who, heartbeat, first=True)
    assert place.status()["replicator"]["who"] == "dead:1", "the one that is furthest behind"
    leases = Leases(cache, table, "here:2", 30.0)
    leases.take("token")
    state = place.operations.status(DEFAULT_MAX_LAG)
    assert state.leader is not None
    assert state.leader.who == "here:2"
    assert state.replicator is not None
    assert (state.replicator.who, state.replicator.behind < 60) == ("here:2", True)
    assert any(line.startswith("  leader      here:2, since 20") for line in lines(state))
    leases.release("token")
    assert place.status()["leader"] is None


def test_who_replicates_beside_the_leader_is_warned_and_status_names_it(place: Place) -> None:
    key, now = lease_key(place.source.name), time()
    lease = Lease("token", since=now - 20, at=now, who="here:2", seconds=60.0)
    place.cache.call(key, b"SET", key.encode(), encode_record(lease))
    place.beat("here:2", behind=0, silence=10)
    place.beat("before:1", behind=0, silence=10)
    age(place, "before:1", 15)
    assert not any("--ha" in warning for warning in place.status()["warnings"])
    place.beat("beside", behind=0, silence=None)
    assert "beside the leader, beside does the same work without --ha" in place.status()["warnings"]
    with place.mirroring() as process:
        assert process.stdout
        line = next(line for line in process.stdout if "--ha" in line)
        assert line.startswith("here:2 leads by --ha, and this process does the same work beside")


def asked(url: str) -> tuple[int, str]:
    """Return the status of an HTTP answer, and its text."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own http URL
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
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


def test_an_orchestrator_restarts_a_process_that_hangs(
    place: Place, dynamodb: EmbeddedDynamoDB
) -> None:
    hangs, may_go_on, clock = Event(), Event(), [50.0]

    def function(_event: object, _context: object) -> None:
        hangs.set()
        may_go_on.wait(30)

    replicator = build(Settings.from_env(place.env))
    follower = Follower(
        dynamodb.aws, place.source.name, replicator, EventSourceMapping(), notify=print
    )
    source = place.source
    source.put("1")
    delivery = Delivery(source.reader(), function, Memory(), clock=lambda: clock[0])
    endpoint = HealthEndpoint(
        "127.0.0.1",
        0,
        why_not_live=follower.why_not_live,
        why_not_ready=partial(follower.why_not_ready, 120),
    )
    with endpoint:
        assert asked(f"{endpoint.url}/livez") == (200, "live\n"), "before it begins"
        follower.delivery = delivery
        delivery.start()
        try:
            assert hangs.wait(30)
            assert asked(f"{endpoint.url}/livez") == (200, "live\n")
            clock[0] += 200
            assert asked(f"{endpoint.url}/livez") == (
                503,
                "no progress for 3 min: a thread hangs\n",
            )
        finally:
            may_go_on.set()
            delivery.stop()
            replicator.cache.close()


def test_health_and_metrics_need_an_address_each(place: Place) -> None:
    arguments = ("run", "--health", "9100", "--metrics", "127.0.0.1:9100")
    done = CliRunner().invoke(app, arguments, env=place.env)
    assert isinstance(done.exception, OptionError)
    assert str(done.exception) == "--health: 9100 is the address of --metrics; give another"


def no_reason() -> None:
    """Return no reason against being live or ready."""


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".y", "192.0.2.1"])
@pytest.mark.parametrize(
    ("option", "serve"),
    [
        ("--health", partial(HealthEndpoint, why_not_live=no_reason, why_not_ready=no_reason)),
        ("--metrics", lambda host, port: Endpoint(port, host=host)),
    ],
)
def test_an_address_that_is_none_of_ours_is_refused_in_one_sentence(
    host: str, option: str, serve: Callable[[str, int], object]
) -> None:
    sentence = f"^{option}: {re.escape(host)}:1 is not available \\(.+\\); give another address$"
    with pytest.raises(ConfigError, match=sentence):
        serve(host, 1)


def test_a_process_that_could_not_list_the_shards_leaves_no_heartbeat(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not know how much is unread, and must not vouch for it."""
    tree = Tree({"s": None}, {}, endless=["s"])
    tree.may_list.clear()
    delivery = Delivery(tree.reader(), lambda _event, _context: None, Memory(), poll_seconds=0.01)
    lags: list[float | None] = []
    lag = delivery.lag

    def noted() -> float | None:
        lags.append(lag())
        return lags[-1]

    monkeypatch.setattr(delivery, "lag", noted)
    delivery.start()
    heart = HeartbeatThread(place.cache, place.source.name, tree.arn, delivery, interval=0.01)
    try:
        with heart:
            wait_until(lambda: len(lags) > 2)
            assert seen_replicator(place.cache, place.source.name) is None
            tree.may_list.set()
            wait_until(lambda: seen_replicator(place.cache, place.source.name) is not None)
    finally:
        tree.may_list.set()
        delivery.stop()


def test_a_term_that_ends_while_it_is_asked_for_is_no_error() -> None:
    class Ending(Follower):
        @property
        def delivery(self) -> Delivery | None:  # type: ignore[override]
            return next(self.found)

        def __init__(self) -> None:
            self.found = iter([cast("Delivery", Mock(stalled=lambda: 0.0)), None])
            self._leadership = None

    assert Ending().why_not_live() is None
