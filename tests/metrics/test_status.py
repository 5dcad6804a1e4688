"""`status` tells where a mirror stands, once or for as long as somebody looks on."""

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.deadlines import wait_until
from tests.support.processes import COMMAND, environment, interruptible, invoke, linux_only, start
from tests.support.streams import Source

from dynamirror.cache.checkpoints import Checkpoint, Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_complete, record_gap
from dynamirror.cache.heartbeat import Heartbeat, write_heartbeat
from dynamirror.cache.slot_scan import SlotRange
from dynamirror.cli.status import lines
from dynamirror.dynamodb.client import describe_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.inspection.judgement import ViolationKind
from dynamirror.inspection.stored import store_tally
from dynamirror.inspection.tally import Tally, ViewTally, Violation, Within
from dynamirror.operations.messages import Status
from dynamirror.operations.service import Operations
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.audit import AuditResult, save_audit
from dynamirror.recovery.comparison import Comparison
from dynamirror.recovery.rebuild_state import Progress, RebuildState, Run
from dynamirror.recovery.sweep import SweepProgress
from dynamirror.views.keyspace import audit_key, canary_key

AT = 1_790_000_000


class Place:
    """A table, a cache that says it is its mirror, and what commands are told of both."""

    def __init__(
        self, server: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, folder: Path
    ) -> None:
        self.source, self.cache = Source(server), cache
        self.table = self.source.name
        self.operations = Operations(valkey.settings(), server.aws, self.table)
        self.env = environment(
            folder,
            AWS_ENDPOINT_URL=server.endpoint_url,
            DYNAMODB_TABLE=self.table,
            **valkey.settings().to_env(),
        )

    def be_complete(self) -> None:
        """Note that nothing is lacking."""
        views = self.operations.views
        stream = describe_table(self.source.client, self.table).stream_arn
        record_gap(self.cache, views, stream=stream, at=1, reason="a test")
        record_complete(self.cache, views, SnapshotVersion(AT))
        heartbeat = Heartbeat("replicator", 0.0, stream)
        write_heartbeat(self.cache, self.table, "replicator", heartbeat, first=True)

    def set(self, key: str, *words: Any) -> None:
        """Carry out a command."""
        self.cache.call(key, words[0], key.encode(), *words[1:])


@pytest.fixture
def place(dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, tmp_path: Path) -> Any:
    """An empty table and an empty cache."""
    made = Place(dynamodb, valkey, cache, tmp_path)
    yield made
    made.operations.cache.close()


@pytest.fixture
def evicting(cache: Cache) -> Iterator[Callable[[str], None]]:
    """Set the eviction policy; it is as it was at the end."""

    def set_(policy: str) -> None:
        cache.broadcast(b"CONFIG", b"SET", b"maxmemory-policy", policy)

    yield set_
    set_("noeviction")


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_policy_that_evicts_entries_is_a_warning_that_says_what_to_do(
    place: Place, evicting: Callable[[str], None], policy: str
) -> None:
    place.be_complete()
    evicting(policy)
    now = place.operations.status()
    assert now.complete
    assert now.eviction == policy
    (warning,) = now.warnings
    assert policy in warning
    assert "set maxmemory-policy to noeviction" in warning
    assert f"  warning     {warning}" in lines(now)
    done = invoke("status", "--json", env=place.env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["warnings"] == [warning]


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru", "volatile-ttl"])
def test_a_policy_that_spares_entries_is_no_warning(
    place: Place, evicting: Callable[[str], None], policy: str
) -> None:
    evicting(policy)
    now = place.operations.status()
    assert (now.eviction, now.warnings) == (policy, [])
    assert f"  eviction    {policy}" in lines(now)


def test_a_policy_that_may_not_be_read_is_unknown(place: Place, cache: Cache) -> None:
    cache.broadcast(b"ACL", b"SETUSER", b"default", b"-info")
    try:
        now = place.operations.status()
    finally:
        cache.broadcast(b"ACL", b"SETUSER", b"default", b"+info")
    assert (now.eviction, now.warnings) == (None, [])
    assert "  eviction    unknown" in lines(now)


def test_it_tells_positions_canary_and_audit_where_there_are_any(place: Place) -> None:
    bare = place.operations.status()
    assert (bare.positions, bare.canary, bare.lag, bare.audited) == ({}, None, None, None)
    said = "\n".join(lines(bare))
    assert "incomplete" in said
    assert not any(word in said for word in ("shard", "canary", "audit", "lag"))

    place.be_complete()
    positions = {"s1": Checkpoint("7", finished=True), "s2": Checkpoint("9", created=AT - 100)}
    for shard, position in positions.items():
        Checkpoints(place.cache, place.source.arn).save(shard, position)
    beat = f'{{"id":"dynamirror:canary","dynamirror":{{"at":{AT}500,"nonce":"x"}}}}'
    place.set(canary_key(place.table), b"SET", beat)
    audited = AuditResult(
        "2026-01-01T00:00:00+00:00", 1, 3, Comparison(items=4, missing=2, repaired=1)
    )
    place.set(audit_key(place.table), b"HSET", b"last", msgspec.json.encode(audited))
    now = place.operations.status()
    assert now.positions == positions
    assert now.canary == AT + 0.5
    assert now.lag == pytest.approx(now.at - AT - 0.5)
    assert now.audited == audited
    newer = Checkpoint("10", created=AT + 90)
    Checkpoints(place.cache, place.source.arn).save("s2", newer)
    nearer = place.operations.status()
    assert nearer.lag == pytest.approx(nearer.at - AT - 90), "the newest that came through"
    said = "\n".join(lines(now))
    assert "s1: read to its end" in said
    assert "s2: read up to 9, written 2026-09-21 " in said
    assert "canary      written 2026-09-21 " in said
    assert "part 2 of 3, 2026-01-01T00:00:00+00:00: 4 items, 2 differences, 1 repaired" in said
    # It travels from the operator Lambda, also from one that knows less.
    assert msgspec.json.decode(msgspec.json.encode(now), type=Status) == now
    older = json.loads(msgspec.json.encode(now))
    for name in ("at", "canary", "lag", "positions", "audited", "live", "not_live", "replicator"):
        del older[name]
    read = msgspec.convert(older, Status)
    assert read.positions == {}
    assert read.live is False
    assert read.not_live == "the operator is of a version that does not look for the replicator"


def test_the_load_and_the_sweep_of_a_rebuild_are_shown_in_parts(place: Place) -> None:
    state = RebuildState(place.cache, place.table)
    run = Run("r", AT, 4, consistent=False, views="", begun="2026-01-01T00:00:00+00:00")
    state.begin(run)
    for segment, is_loaded in enumerate((True, False, True)):
        state.save_progress(run, segment, Progress(done=is_loaded, items=500, applied=400))
    said = list(lines(place.operations.status()))
    begun = "  rebuild     begun 2026-01-01T00:00:00+00:00"
    loading = f"{begun}, not finished: 2 of 4 parts, 1,500 items read, 1,200 entries applied"
    assert loading in said
    assert not any(line.startswith("  sweep") for line in said), "the load is not done"

    for segment in range(4):
        state.save_progress(run, segment, Progress(done=True, items=500))
    undecided = "  sweep       not finished: 0 entries seen, 0 orphaned and deleted"
    assert undecided in lines(place.operations.status())
    ranges = (SlotRange(0, 99), SlotRange(100, 199), SlotRange(200, 16_383))
    state.decide_sweep_ranges(run, ranges)
    state.save_range_progress(run, ranges[0], SweepProgress(done=True, entries=700, deleted=3))
    state.save_range_progress(run, ranges[1], SweepProgress(entries=50, deleted=1))
    now = place.operations.status()
    sweeping = "not finished: 1 of 3 parts, 750 entries seen, 4 orphaned and deleted"
    assert f"  sweep       {sweeping}" in lines(now)
    assert now.swept is not None
    assert (now.swept.parts_done, now.swept.parts, now.swept.done) == (1, 3, False)

    for slots in ranges:
        state.save_range_progress(run, slots, SweepProgress(done=True))
    state.record_finished(run)
    now = place.operations.status()
    swept = "  sweep       finished: 3 of 3 parts, 0 entries seen, 0 orphaned and deleted"
    assert swept in lines(now)
    assert any(line.startswith(f"{begun}, finished 20") for line in lines(now))
    assert msgspec.json.decode(msgspec.json.encode(now), type=Status) == now
    older = json.loads(msgspec.json.encode(now))
    for total in (older["progress"], older["swept"]):
        del total["parts"], total["parts_done"]
    assert "  sweep       finished: 0 entries seen, 0 orphaned and deleted" in lines(
        msgspec.convert(older, Status)
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(90.0, "a round takes 90 s"), (86_400.0, "a round takes 24 h"), (None, None)],
)
def test_the_length_of_an_audit_round_is_shown_where_it_is_known(
    place: Place, seconds: float | None, words: str | None
) -> None:
    at = "2026-01-01T00:00:00+00:00"
    save_audit(place.cache, place.table, AuditResult(at, 1, 3, None, seconds))
    takes = f", {words}" if words else ""
    why = "not compared, because the mirror was incomplete"
    assert f"  audit       part 2 of 3, {at}{takes}: {why}" in lines(place.operations.status())


def test_the_stored_counts_of_inspectors_are_shown_as_text_and_as_json(place: Place) -> None:
    assert place.operations.status().inspection is None
    violation = Violation(
        at=AT,
        table=place.table,
        view="default",
        item="0123456789abcdef",
        kind=ViolationKind.MISSING,
        expected="",
        seen="",
        age=61,
        sequence_number="4711",
    )
    now = time.time()
    for who, count in (("a", 40_000), ("b", 8_000)):
        counts = ViewTally(count, within={"1": Within(count, count), "60": Within()})
        tally = Tally(at=now, tables={place.table: {"default": counts}})
        if who == "b":
            tally.add_violation(violation)
        store_tally(place.cache, place.table, who, tally)
    status = place.operations.status()
    assert status.inspection is not None
    said = "\n".join(lines(status))
    assert "  inspection  at least 4.0 nines (95%), 48,001 checks, 1 failed\n" in said
    assert "\n              within 1 s 100% of 48,000, 60 s none yet\n" in said
    assert "\n              violation 14:13:20 UTC: missing, view default, item 0123456789" in said
    # It travels from the operator Lambda, and reads there as in every command.
    assert msgspec.json.decode(msgspec.json.encode(status), type=Status) == status
    done = invoke("status", "--json", env=place.env)
    shown = json.loads(done.stdout)["inspection"]
    assert shown == status.inspection.to_json()
    assert shown["violations"]["missing"] == 1
    assert shown["within"]["1"]["proven"] == "at least 4.2 nines (95%), 48,000 checks"


@pytest.mark.parametrize("broken", [b"no json", b"{}", b'{"dynamirror":3}', b'{"at":"soon"}'])
def test_what_cannot_be_read_is_left_out(place: Place, broken: bytes) -> None:
    place.set(canary_key(place.table), b"SET", broken)
    place.set(audit_key(place.table), b"HSET", b"last", broken)
    now = place.operations.status()
    assert (now.canary, now.audited) == (None, None)


def test_one_who_watches_sees_it_change_one_object_a_line(place: Place) -> None:
    process = start("status", "--watch", "--interval", "0.1", "--json", env=place.env)
    try:
        assert process.stdout
        assert json.loads(process.stdout.readline())["complete"] is False
        place.be_complete()
        while not (now := json.loads(process.stdout.readline()))["complete"]:
            assert now["table"] == place.table
        process.send_signal(signal.SIGINT)
        _out, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, errors) == (130, "")


@linux_only
def test_on_a_terminal_it_is_redrawn_in_place(place: Place) -> None:
    place.be_complete()
    ours, theirs = pty.openpty()
    seen = b""
    env = {**place.env, "TERM": "xterm", "COLUMNS": "200"}
    with interruptible():
        watch = subprocess.Popen(
            [*COMMAND, "status", "--watch", "--interval", "0.1"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
        )
    with watch as process:
        os.close(theirs)

        def drawn_twice() -> bool:
            nonlocal seen
            seen += os.read(ours, 10_000)
            return seen.count(b"the mirror is complete") >= 2

        try:
            wait_until(drawn_twice)
            process.send_signal(signal.SIGINT)
            assert process.stderr
            assert process.stderr.read() == b""
            assert process.wait(30) == 130
        finally:
            process.kill()
            os.close(ours)
    assert b"\x1b[1A" in seen, "it goes back up"


def test_elsewhere_it_goes_on_line_by_line_and_tells_what_is_out_of_reach(place: Place) -> None:
    process = start("status", "--watch", "--interval", "0.1", env=place.env)
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert "the mirror is incomplete" in line
        assert "\x1b" not in line
        place.cache.broadcast(b"ACL", b"SETUSER", b"default", b"-hgetall")
        assert next(line for line in process.stdout if "hgetall" in line)
        place.cache.broadcast(b"ACL", b"SETUSER", b"default", b"+@all")
        assert next(line for line in process.stdout if "the mirror is incomplete" in line)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    finally:
        place.cache.broadcast(b"ACL", b"SETUSER", b"default", b"+@all")
        process.kill()
        process.communicate()
