"""Answers of the cache compared with DynamoDB's own, and the counters of both."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.support.attaching import Attached, source_of
from tests.support.deadlines import wait_until
from tests.support.mirrored import MakeMirrored, Mirrored

from dynamirror.attachment import shadow
from dynamirror.records.version import SnapshotVersion

KEY = {"id": {"S": "1"}}


@pytest.fixture
def world(make: MakeMirrored, monkeypatch: pytest.MonkeyPatch) -> Mirrored:
    """One mirrored item, and comparisons that look again soon."""
    monkeypatch.setattr(shadow, "_PAUSES", (0.01, 0.02))
    world = make()
    world.put({"id": "1", "words": {"a", "b", "c"}, "secret": "x"})
    world.mirror({"id": "1"}, version=SnapshotVersion(100))
    world.is_complete()
    return world


def test_answers_that_agree_are_counted_and_come_from_dynamodb(
    world: Mirrored, client: Any, attached: Attached
) -> None:
    registry = CollectorRegistry()
    attachment = attached(client, world, shadow=1.0, registry=registry)
    assert source_of(client.get_item(TableName=world.name, Key=KEY)) == "table"
    keys = {world.name: {"Keys": [KEY]}}
    assert client.batch_get_item(RequestItems=keys)["Responses"][world.name]
    counts = attachment.counts
    assert counts["GetItem"].reasons == {"shadow": 1}
    assert (counts["GetItem"].agreed, counts["BatchGetItem"].agreed) == (1, 1)
    text = generate_latest(registry).decode()
    agreed = 'dynamirror_attached_shadow_reads_total{operation="GetItem",result="agreed"} 1.0'
    assert agreed in text
    labels = '{operation="GetItem",reason="shadow",source="table"}'
    assert f"dynamirror_attached_reads_total{labels} 1.0" in text


def test_a_difference_is_counted_and_logged_without_data(
    world: Mirrored, client: Any, attached: Attached, caplog: pytest.LogCaptureFixture
) -> None:
    world.put({"id": "1", "secret": "other"})
    attachment = attached(client, world, shadow=1.0)
    assert client.get_item(TableName=world.name, Key=KEY)["Item"]["secret"] == {"S": "other"}
    wait_until(lambda: attachment.counts["GetItem"].differed == 1)
    wait_until(lambda: bool(caplog.records))
    (record,) = (one for one in caplog.records if one.name == "dynamirror")
    fields = vars(record)
    assert (fields["table"], fields["operation"]) == (world.name, "GetItem")
    assert len(fields["key_hash"]) == 16
    assert "other" not in str(fields)


def test_a_cache_that_was_only_late_agrees(
    world: Mirrored, client: Any, attached: Attached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow, "_PAUSES", (0.3, 5.0))
    world.put({"id": "1", "secret": "other"})
    attachment = attached(client, world, shadow=1.0)
    client.get_item(TableName=world.name, Key=KEY)
    world.mirror({"id": "1"}, version=SnapshotVersion(101))
    wait_until(lambda: attachment.counts["GetItem"].agreed == 1)
    assert attachment.counts["GetItem"].differed == 0


def test_an_entry_newer_than_dynamodbs_answer_decides_nothing(
    world: Mirrored, client: Any, attached: Attached
) -> None:
    world.mirror({"id": "1"})
    world.put({"id": "1", "secret": "before"})  # as an eventually consistent read may show it
    attachment = attached(client, world, shadow=1.0)
    client.get_item(TableName=world.name, Key=KEY)
    wait_until(lambda: attachment.counts["GetItem"].undecided == 1)


def test_a_share_is_compared(world: Mirrored, client: Any, attached: Attached) -> None:
    attachment = attached(client, world, shadow=0.5)
    attachment._handlers._chance = iter([0.4, 0.6, 0.9, 0.1]).__next__
    answers = [client.get_item(TableName=world.name, Key=KEY) for _ in range(4)]
    assert [source_of(one) for one in answers] == ["table", "cache", "cache", "table"]
