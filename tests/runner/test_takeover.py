"""A process that stood by for long replicates the table as it is now."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.support.deadlines import wait_until
from tests.support.following import Following
from tests.support.streams import Source

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import read_marker, record_complete, record_gap
from dynamirror.cache.lease import Leases, read_lease
from dynamirror.dynamodb.client import describe_table
from dynamirror.dynamodb.scan import scan_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import ConfigError, SourceError
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.verify import compare
from dynamirror.replication.replicator import build
from dynamirror.runner.delivery import Delivery
from dynamirror.runner.event_source_mapping import EventSourceMapping
from dynamirror.runner.follower import Follower
from dynamirror.runner.leadership import Leadership
from dynamirror.views.keyspace import completeness_marker_key
from dynamirror.views.view import ViewSpec

TOKEN = "of the leader before"


class Standby:
    """A table with a complete mirror, and a process that stands by while another one leads."""

    def __init__(
        self, server: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, stack: ExitStack
    ) -> None:
        self.source, self.cache = Source(server), cache
        self.view = ViewSpec().bind(describe_table(self.source.client, self.source.name).schema)
        record_gap(cache, [self.view], stream=self.source.arn, at=1, reason="a test")
        record_complete(cache, [self.view], SnapshotVersion(1_790_000_000))
        self.leader = Leases(cache, self.source.name, "other:1", 60.0)
        self.leader.take(TOKEN)
        replicator = build(valkey.settings())
        stack.callback(replicator.cache.close)
        self.said: list[str] = []
        leases = Leases(replicator.cache, self.source.name, "here:2", 30.0)
        self.follower = Follower(
            *(server.aws, self.source.name, replicator, EventSourceMapping()),
            notify=self.said.append,
            margin=1,
            new_views=False,
            leadership=Leadership(leases, self.source.name, notify=self.said.append),
        )
        self.following = Following(self.follower)
        wait_until(lambda: self.follower.role == "other:1 leads")

    def take_over(self) -> None:
        """Have the leader end."""
        assert self.leader.release(TOKEN)

    def is_mirrored(self) -> bool:
        """Return whether the mirror is complete and has no difference."""
        rows = scan_table(self.source.client, self.source.name)
        is_complete = read_marker(self.cache, self.source.name).is_complete
        return is_complete and compare(rows, self.cache, [self.view]).differences == 0

    def switch(self, *, on: bool) -> None:
        """Switch the stream of the table on, a new one, or off."""
        stream: Any = {"StreamEnabled": on}
        if on:
            stream["StreamViewType"] = "NEW_AND_OLD_IMAGES"
        self.source.client.update_table(TableName=self.source.name, StreamSpecification=stream)


@pytest.fixture
def standby(dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache) -> Iterator[Standby]:
    """Return a process that stands by."""
    cache.broadcast(b"PING")
    with ExitStack() as stack:
        standby = Standby(dynamodb, valkey, cache, stack)
        yield standby
        standby.follower.stop()
        standby.following.stop()


def test_it_follows_the_stream_that_the_table_has_by_then(standby: Standby) -> None:
    standby.source.put("1")
    standby.source.client.delete_item(TableName=standby.source.name, Key={"id": {"S": "1"}})
    standby.switch(on=False)
    standby.switch(on=True)
    now = describe_table(standby.source.client, standby.source.name).stream_arn
    # The leader before follows it, and has rebuilt the mirror.
    record_gap(standby.cache, [standby.view], stream=now, at=2, reason="another stream")
    standby.take_over()
    standby.source.put("2")
    wait_until(standby.is_mirrored)
    assert standby.follower.stream_arn == now
    assert read_marker(standby.cache, standby.source.name).gap == 2, "it replayed no older stream"


def test_it_does_not_replace_views_in_which_the_mirror_was_written_since(standby: Standby) -> None:
    key = completeness_marker_key(standby.source.name)
    for field in (b"views", b"named"):
        standby.cache.call(key, b"HSET", key.encode(), field, b"0 users")
    standby.take_over()
    wait_until(lambda: standby.following.ended)
    assert isinstance(standby.following.error, ConfigError)
    assert "--new-views" in str(standby.following.error)
    assert read_lease(standby.cache, standby.source.name) is None, "another one may lead"


def test_it_ends_if_its_table_was_deleted(standby: Standby) -> None:
    standby.source.client.delete_table(TableName=standby.source.name)
    standby.take_over()
    wait_until(lambda: standby.following.ended)
    assert isinstance(standby.following.error, SourceError)
    assert read_lease(standby.cache, standby.source.name) is None


def test_it_ends_if_its_table_has_another_key(standby: Standby) -> None:
    client, name = standby.source.client, standby.source.name
    client.delete_table(TableName=name)
    create_table(client, name, {"pk": "S", "sk": "S"})
    standby.take_over()
    wait_until(lambda: standby.following.ended)
    assert "was created again, with another key" in str(standby.following.error)


def test_it_gives_way_if_it_cannot_read_the_stream(
    standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    standby.take_over()
    wait_until(lambda: standby.follower.leads and standby.follower.delivery)
    monkeypatch.setattr(Delivery, "unanswered", lambda _delivery: 61.0)
    wait_until(lambda: "leads no longer: no answer of AWS for 61 s" in standby.said[-1])

    def is_taken() -> bool:
        lease = standby.leader.take(TOKEN)
        return lease is not None and lease.token == TOKEN

    wait_until(is_taken)
    wait_until(lambda: standby.follower.role == "other:1 leads")


def test_it_waits_while_the_marker_cannot_be_read(standby: Standby) -> None:
    standby.cache.broadcast(b"ACL", b"SETUSER", b"default", b"-hgetall")
    try:
        standby.take_over()
        wait_until(lambda: standby.said.count("this process leads") > 1)
        assert not standby.following.ended
    finally:
        standby.cache.broadcast(b"ACL", b"SETUSER", b"default", b"+@all")
    standby.source.put("1")
    wait_until(standby.is_mirrored)
