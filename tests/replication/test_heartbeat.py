"""The replicator function leaves a heartbeat after a batch, and rarely."""

import time

import pytest
from tests.support.builders import STREAM_ARN, Time, item, record
from tests.support.heartbeats import seen_replicator

from dynamirror.cache.client import Cache
from dynamirror.cache.heartbeat import SeenReplicator
from dynamirror.errors import CacheError
from dynamirror.handler import handler
from dynamirror.replication.batch_heartbeat import BatchHeartbeat
from dynamirror.replication.record_batch import RecordBatch
from dynamirror.views.keyspace import heartbeats_key


def seen(cache: Cache) -> SeenReplicator | None:
    """Return the replicator that was seen last."""
    return seen_replicator(cache, "users")


def test_the_function_leaves_its_name_and_the_newest_applied_record(
    lambda_env: dict[str, str], cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lambda_env
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "replicator-7")
    monkeypatch.setenv("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/26/[$LATEST]abc")
    assert seen(cache) is None
    created = int(time.time()) - 100
    batch = [record(number, item(), ApproximateCreationDateTime=created) for number in (1, 2)]
    handler({"Records": batch}, Time())
    replicator = seen(cache)
    assert replicator is not None
    assert (replicator.who, replicator.stream) == ("replicator-7", STREAM_ARN)
    assert replicator.sequence_number == f"{2:021d}"
    assert replicator.created == created
    assert replicator.silence is None
    assert 100 <= replicator.behind < 160
    key = heartbeats_key("users")
    assert cache.call(key, b"HKEYS", key.encode()) == [b"2026/11/26/[$LATEST]abc"]


def test_a_batch_that_was_not_applied_leaves_none(lambda_env: dict[str, str], cache: Cache) -> None:
    assert lambda_env
    cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"1")
    try:
        assert handler({"Records": [record(1, item())]}, Time())["batchItemFailures"]
    finally:
        cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")
    assert seen(cache) is None


def batch(number: int, created: float) -> RecordBatch:
    """Return a batch of one record."""
    return RecordBatch([record(number, item(), ApproximateCreationDateTime=created)])


def sequence(cache: Cache) -> int:
    """Return the newest sequence number of the heartbeat."""
    replicator = seen(cache)
    assert replicator is not None
    assert replicator.sequence_number is not None
    return int(replicator.sequence_number)


def test_it_is_left_every_five_seconds_at_the_most_and_once_it_has_caught_up(cache: Cache) -> None:
    clock = [0.0]
    heartbeat = BatchHeartbeat("f", "f", clock=lambda: clock[0], now=lambda: 1000.0)
    for number, at, created, written in (
        (1, 0.0, 100, 1),
        (2, 4.9, 200, 1),
        (3, 4.95, 999, 3),  # caught up: an idle table may follow
        (4, 5.0, 999, 3),
        (5, 9.9, 999, 3),
        (6, 10.0, 999, 6),
    ):
        clock[0] = at
        heartbeat.applied(cache, batch(number, created))
        assert sequence(cache) == written


def test_a_cache_that_refuses_the_heartbeat_fails_no_batch(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute_one(_command: object) -> None:
        raise CacheError("refused")

    monkeypatch.setattr(cache, "execute_one", execute_one)
    BatchHeartbeat("f", "f").applied(cache, batch(1, time.time()))


@pytest.mark.parametrize("created", ["soon", None, -1, 10**12])
def test_a_record_without_a_time_leaves_none(cache: Cache, created: object) -> None:
    broken = record(1, item())
    broken["dynamodb"]["ApproximateCreationDateTime"] = created
    BatchHeartbeat("f", "f").applied(cache, RecordBatch([broken]))
    BatchHeartbeat("f", "f").applied(cache, RecordBatch([]))
    assert seen(cache) is None
