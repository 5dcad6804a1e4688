"""Whatever befalls the way to the table and its stream, nothing is lost and all is said plainly."""

from typing import Any

import pytest
from tests.support.deadlines import wait_until
from tests.support.fault_proxy import Proxy
from tests.support.following import Start
from tests.support.streams import Source

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import read_marker
from dynamirror.dynamodb.scan import scan_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.recovery.verify import compare
from dynamirror.views.view import Schema, ViewSpec

_STREAMS = {"service": "dynamodbstreams"}


@pytest.fixture
def source(dynamodb: EmbeddedDynamoDB) -> Source:
    """A table of its own."""
    return Source(dynamodb)


def mirrored(source: Source, cache: Cache) -> bool:
    """Whether the cache holds what the table holds."""
    view = ViewSpec().bind(Schema(source.name, ("id",), ("S",)))
    return compare(scan_table(source.client, source.name), cache, [view]).differences == 0


FAULTS: dict[str, dict[str, Any]] = {
    "throttled": {"error": {"code": "ProvisionedThroughputExceededException"}},
    "limited": {"error": {"code": "LimitExceededException"}},
    "faulty": {"error": {"code": "InternalServerError", "status": 500}},
    "expired": {"operation": "GetRecords", "error": {"code": "ExpiredIteratorException"}},
    "truncated": {"operation": "GetRecords", "response": {"truncate_frac": 0.5}},
    "aborted": {"operation": "GetRecords", "response": {"abort_frac": 0.3}},
    "reset": {"reset": True},
    "slow": {"latency": {"dist": "uniform", "min_ms": 20, "max_ms": 200}},
}


@pytest.mark.parametrize("rule", FAULTS.values(), ids=FAULTS)
def test_nothing_is_lost_while_the_stream_is(
    rule: dict[str, Any], source: Source, proxy: Proxy, cache: Cache, follow: Start
) -> None:
    following = follow(proxy.aws, source.name, batch_size=7)
    proxy.inject(_STREAMS | rule | {"probability": 0.5})
    for number in range(60):
        source.put(str(number % 20), n={"N": str(number)})
    wait_until(proxy.fired)
    proxy.inject()
    wait_until(lambda: mirrored(source, cache))
    assert not following.ended
    assert following.counts.gaps == 0


def test_records_that_were_trimmed_are_counted_and_what_is_left_goes_on(
    source: Source, proxy: Proxy, cache: Cache, follow: Start
) -> None:
    following = follow(proxy.aws, source.name)
    source.put("before")
    wait_until(lambda: mirrored(source, cache))
    trimmed = {"operation": "GetRecords", "times": 1}
    proxy.inject(_STREAMS | trimmed | {"error": {"code": "TrimmedDataAccessException"}})
    source.put("after")
    wait_until(lambda: following.counts.gaps == 1)
    wait_until(lambda: mirrored(source, cache))


def test_a_stream_that_is_switched_off_and_on_is_picked_up_and_told(
    source: Source, dynamodb: EmbeddedDynamoDB, cache: Cache, follow: Start
) -> None:
    told: list[str] = []
    following = follow(dynamodb.aws, source.name, told=told)
    source.put("1", n={"N": "1"})
    wait_until(lambda: mirrored(source, cache))
    _switch(source, on=False)
    _switch(source, on=True)
    source.put("1", n={"N": "2"})
    wait_until(lambda: mirrored(source, cache))
    assert not following.ended
    (sentence,) = [one for one in told if source.arn in one]
    assert "never recorded" in sentence
    # Whoever heals tells it, too, unless it is healing already for another reason.
    wait_until(lambda: read_marker(cache, source.name).stream not in ("", source.arn))


def test_what_was_never_filled_is_filled_and_what_was_trimmed_is_healed(
    source: Source, proxy: Proxy, cache: Cache, follow: Start
) -> None:
    # Older than the follower's beginning: the stream does not bring it.
    source.put("old")
    told: list[str] = []
    following = follow(proxy.aws, source.name, told=told, latest=True)
    wait_until(lambda: read_marker(cache, source.name).is_complete)
    assert mirrored(source, cache)
    before = read_marker(cache, source.name)
    trimmed = {"operation": "GetRecords", "times": 1}
    proxy.inject(_STREAMS | trimmed | {"error": {"code": "TrimmedDataAccessException"}})
    wait_until(lambda: following.counts.gaps == 1)
    wait_until(lambda: read_marker(cache, source.name).complete > before.complete)
    after = read_marker(cache, source.name)
    assert after.is_complete
    assert after.gap is not None
    assert before.gap is not None
    assert after.gap > before.gap
    assert mirrored(source, cache)
    assert any("are gone" in one for one in told)


def test_a_mirror_that_shall_not_heal_itself_only_tells(
    source: Source, dynamodb: EmbeddedDynamoDB, cache: Cache, follow: Start
) -> None:
    told: list[str] = []
    following = follow(dynamodb.aws, source.name, told=told, heal=False)
    source.put("1")
    wait_until(lambda: mirrored(source, cache))
    wait_until(lambda: told)
    assert "dynamirror backfill" in told[0]
    cache.broadcast(b"FLUSHALL")
    source.put("2")
    wait_until(lambda: read_marker(cache, source.name).gap is not None)
    assert not read_marker(cache, source.name).is_complete
    assert not following.ended


def test_a_stream_that_is_switched_off_ends_the_mirror_with_the_reason(
    source: Source, dynamodb: EmbeddedDynamoDB, cache: Cache, follow: Start
) -> None:
    following = follow(dynamodb.aws, source.name)
    source.put("1")
    wait_until(lambda: mirrored(source, cache))
    _switch(source, on=False)
    wait_until(lambda: following.ended)
    assert isinstance(following.error, ConfigError)
    assert f"the stream of table {source.name} is off" in str(following.error)


def test_a_deleted_table_ends_the_mirror_with_the_reason(
    source: Source, dynamodb: EmbeddedDynamoDB, cache: Cache, follow: Start
) -> None:
    following = follow(dynamodb.aws, source.name)
    source.put("1")
    wait_until(lambda: mirrored(source, cache))
    source.client.delete_table(TableName=source.name)
    wait_until(lambda: following.ended)
    assert isinstance(following.error, DynamirrorError)
    assert "\n" not in str(following.error)


def test_a_table_made_again_is_another_table_with_a_newer_stream(
    source: Source, dynamodb: EmbeddedDynamoDB, cache: Cache, follow: Start
) -> None:
    following = follow(dynamodb.aws, source.name)
    source.put("1", n={"N": "1"})
    wait_until(lambda: mirrored(source, cache))
    source.client.delete_table(TableName=source.name)
    create_table(source.client, source.name, {"id": "S"})
    wait_until(lambda: following.ended or following.follower.stream_arn != source.arn)
    again = following if not following.ended else follow(dynamodb.aws, source.name)
    source.put("1", n={"N": "2"})
    wait_until(lambda: mirrored(source, cache))
    assert not again.ended


def _switch(source: Source, *, on: bool) -> None:
    stream: Any = {"StreamEnabled": on}
    if on:
        stream["StreamViewType"] = "NEW_AND_OLD_IMAGES"
    source.client.update_table(TableName=source.name, StreamSpecification=stream)
