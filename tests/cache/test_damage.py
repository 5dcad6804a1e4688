"""Damage to a stored record is logged once, and read safely."""

import logging
from collections.abc import Callable
from time import time

import pytest
from tests.support.builders import STREAM_ARN, view

from dynamirror.cache.checkpoints import Checkpoint, Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import (
    other_views,
    read_marker,
    record_complete,
    record_gap,
)
from dynamirror.cache.doubt import note_reported
from dynamirror.cache.heartbeat import Heartbeat, write_heartbeat
from dynamirror.cache.lease import Leases
from dynamirror.cache.quarantine import ParkedItem, QuarantineNote, park, read_quarantine
from dynamirror.cache.quarantine import overflow as read_overflow
from dynamirror.cache.stored_record import report_damage
from dynamirror.inspection.stored import store_tally
from dynamirror.inspection.tally import Tally
from dynamirror.records.stream_record import parse_stream_arn
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.audit import AuditTurn, save_turn
from dynamirror.replication.canary_probe import last
from dynamirror.views.keyspace import (
    canary_key,
    completeness_marker_key,
    overflow_key,
    quarantine_key,
)
from dynamirror.views.view import ViewSpec

EPOCH = parse_stream_arn(STREAM_ARN).epoch
HEARTBEAT = Heartbeat(who="me", behind=0.0, stream=STREAM_ARN, sequence_number="1", created=1.0)
GARBAGE = (
    b"",
    b"\xff\xfe",
    b"{",
    b"null",
    b"[1]",
    b'"text"',
    b'{"after":"\xff"}',
    b'{"other":' + b"[" * 100_000,
)


@pytest.fixture(autouse=True)
def fresh_log() -> None:
    """Forget what was logged before."""
    report_damage.cache_clear()


def damage(log: pytest.LogCaptureFixture) -> list[str]:
    """Return the names of the records that were logged as damaged."""
    records = [one for one in log.records if one.msg == "stored record damaged"]
    return [vars(one)["record"] for one in records]


@pytest.mark.parametrize("garbage", [*GARBAGE, b'{"after":"no number"}', b'{"since":-1}'])
def test_a_damaged_checkpoint_is_one_at_the_oldest_record_and_is_logged_once(
    cache: Cache, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(cache, STREAM_ARN)
    checkpoints.save("whole", Checkpoint("5"))
    cache.call(checkpoints.key, b"HSET", checkpoints.key, b"damaged", garbage)
    expected = {"whole": Checkpoint("5"), "damaged": Checkpoint(since=0.0)}
    assert [checkpoints.load() for _ in range(3)] == [expected] * 3
    assert damage(caplog) == [f"{checkpoints.key} damaged"]
    checkpoints.save("damaged", Checkpoint("6"))
    assert checkpoints.load()["damaged"] == Checkpoint("6")


def test_a_checkpoint_of_what_is_no_shard_is_ignored(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(cache, STREAM_ARN)
    cache.call(checkpoints.key, b"HSET", checkpoints.key, b"\xff", b"{}")
    assert checkpoints.load() == {}
    assert damage(caplog) == [checkpoints.key]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_damaged_note_leaves_its_item_in_quarantine_and_its_key_out_of_the_log(
    cache: Cache, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    if garbage.startswith((b'{"after"', b'{"other"')):
        garbage = garbage.replace(b"after", b"reason")
    key = quarantine_key("users")
    cache.call(key, b"HSET", key, b'{"id":{"S":"secret"}}', garbage)
    caplog.set_level(logging.DEBUG)
    for _ in range(3):
        (item,) = read_quarantine(cache, "users")
        assert item.note == QuarantineNote()
        assert item.key == {"id": {"S": "secret"}}
    assert damage(caplog) == [key]
    assert not any("secret" in str(vars(one)) for one in caplog.records)


@pytest.mark.parametrize("garbage", GARBAGE[1:])
def test_a_damaged_canary_is_none(
    cache: Cache, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    key = canary_key("users")
    cache.call(key, b"SET", key, garbage)
    assert [last(cache, "users") for _ in range(3)] == [None] * 3
    assert damage(caplog) == [key]


@pytest.mark.parametrize("field", ["gap", "complete", "born", "\udcff"])
@pytest.mark.parametrize("garbage", [b"", b"x", b"\xff", b"1.5.2"])
def test_a_damaged_marker_is_whole_again_after_a_gap_and_a_rebuild(
    cache: Cache, field: str, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    views = (view(),)
    record_gap(cache, views, stream=STREAM_ARN, at=5, reason="a test")
    assert record_complete(cache, views, SnapshotVersion(6)) is None
    key = completeness_marker_key("users")
    cache.call(key, b"HSET", key, field.encode(errors="surrogateescape"), garbage)
    marker = read_marker(cache, "users")
    assert marker == read_marker(cache, "users")
    assert marker.is_complete == (field not in ("gap", "complete"))
    assert len(damage(caplog)) == (field in ("gap", "complete", "born"))
    record_gap(cache, views, stream=STREAM_ARN, at=7, reason="another")
    assert record_complete(cache, views, SnapshotVersion(8)) is None
    assert read_marker(cache, "users").is_complete


@pytest.mark.parametrize("field", ["gap", "complete"])
def test_a_damaged_marker_guards_its_views_all_the_same(cache: Cache, field: str) -> None:
    record_gap(cache, (view(),), stream=STREAM_ARN, at=5, reason="a test")
    key = completeness_marker_key("users")
    cache.call(key, b"HSET", key, field, b"x")
    marker = read_marker(cache, "users")
    assert other_views(marker, (view(),)) is None
    assert other_views(marker, (view(ViewSpec(key="other:{id}")),)) is not None


STATES: dict[str, Callable[[Cache], object]] = {
    "mirror": lambda cache: record_gap(cache, (view(),), stream=STREAM_ARN, at=5, reason="a test"),
    f"positions:{EPOCH}": lambda cache: Checkpoints(cache, STREAM_ARN).save("a", Checkpoint("1")),
    "lease": lambda cache: Leases(cache, "users", "me", 6).take("token"),
    "heartbeats": lambda cache: write_heartbeat(cache, "users", "me", HEARTBEAT, first=True),
    "evictions": lambda cache: note_reported(cache, "users"),
    "audit": lambda cache: save_turn(cache, "users", AuditTurn(0, 1, 0)),
    "inspection": lambda cache: store_tally(cache, "users", "me", Tally(at=time())),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("words", [(b"SET", b"theirs"), (b"SADD", b"x"), (b"HSET", b"x", b"1")])
def test_state_of_another_type_is_replaced_and_stops_nothing(
    cache: Cache, state: str, words: tuple[bytes, ...]
) -> None:
    key = f"dynamirror:{{users}}:{state}"
    cache.call("other", words[0], key, *words[1:])  # as if another application wrote it
    STATES[state](cache)


@pytest.mark.parametrize("overflow", [b"", b"theirs"])
@pytest.mark.parametrize("words", [(b"SET", b"theirs"), (b"SADD", b"x")])
def test_a_quarantine_of_another_type_blocks_no_shard(
    cache: Cache, words: tuple[bytes, ...], overflow: bytes
) -> None:
    key = quarantine_key("users")
    cache.call(key, words[0], key, *words[1:])
    if overflow:
        cache.call(key, b"SET", overflow_key("users"), overflow)
    items = [ParkedItem("users", {"id": {"S": name}}, "1", "a test") for name in "ab"]
    assert park(cache, items, at="now", limit=1) == []
    assert [item.name for item in read_quarantine(cache, "users")] == ['{"id":{"S":"a"}}']
    assert read_overflow(cache, "users") == 1
