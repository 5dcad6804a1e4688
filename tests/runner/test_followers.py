"""One process follows several tables, and the trouble of one does not stop the others."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from random import Random
from typing import Any, cast
from uuid import uuid4

import pytest
from tests.support.deadlines import wait_until

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import read_marker
from dynamirror.dynamodb.client import describe_table
from dynamirror.dynamodb.scan import Rate, scan_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table, write_items
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import ConfigError, DynamirrorError, SourceError
from dynamirror.functions import simulator
from dynamirror.recovery.backfill import Backfill
from dynamirror.recovery.verify import compare
from dynamirror.replication.replicator import Replicator, build
from dynamirror.runner.event_source_mapping import DeliveryCounts, EventSourceMapping
from dynamirror.runner.follower import Follower
from dynamirror.runner.followers import Followers
from dynamirror.runner.healer import Healer
from dynamirror.views.view import ViewSpec

COUNT = 5
WRITES = 60


class Fleet:
    """Five tables, and one process's mirrors of them in one empty cache."""

    def __init__(self, server: EmbeddedDynamoDB, replicator: Replicator) -> None:
        self.aws = server.aws
        self.client = server.aws.dynamodb()
        self.replicator = replicator
        self.cache = replicator.cache
        self.tables = [f"t{number}-{uuid4().hex[:8]}" for number in range(COUNT)]
        self.sentences: list[tuple[str, str]] = []
        self.counts: dict[str, DeliveryCounts] = {}
        for table in self.tables:
            create_table(self.client, table, {"id": "S"})

    def follower(self, table: str, **options: Any) -> Follower:
        """Return the follower of a table."""
        return Follower(
            self.aws,
            table,
            self.replicator,
            EventSourceMapping(),
            notify=lambda sentence: self.sentences.append((table, sentence)),
            margin=1,
            **options,
        )

    def followers(self, make: Callable[[str], Follower] | None = None) -> Followers:
        """Return the followers of all tables."""
        return Followers(
            self.tables,
            make or self.follower,
            notify=lambda table, sentence: self.sentences.append((table, sentence)),
            retry_seconds=0.2,
        )

    @contextmanager
    def following(self, followers: Followers) -> Iterator[list[BaseException]]:
        """Follow in a thread, and stop at the end as Ctrl-C does; give the errors."""
        errors: list[BaseException] = []

        def run() -> None:
            try:
                followers.follow(self.counts.__setitem__, interval=0.1)
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield errors
        finally:
            followers._ended.set()
            thread.join(60)
            assert not thread.is_alive()

    def write(self, seed: int) -> None:
        """Write random changes to all tables at the same time."""

        def change(table: str, number: int) -> None:
            changes = simulator.operations(Random(seed + number), ids=20)
            for _ in range(WRITES):
                simulator.write(self.client, table, next(changes))

        threads = [
            threading.Thread(target=change, args=(table, number))
            for number, table in enumerate(self.tables)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def differences(self, table: str) -> int:
        """Return the number of differences of a table from the cache."""
        view = ViewSpec().bind(describe_table(self.client, table).schema)
        return compare(scan_table(self.client, table), self.cache, [view]).differences

    def is_mirrored(self, table: str) -> bool:
        """Return whether the mirror of a table is complete and has no difference."""
        return read_marker(self.cache, table).is_complete and self.differences(table) == 0

    def switch(self, table: str, *, on: bool) -> None:
        """Switch the stream of a table on, a new one, or off."""
        stream: Any = {"StreamEnabled": on}
        if on:
            stream["StreamViewType"] = "NEW_AND_OLD_IMAGES"
        self.client.update_table(TableName=table, StreamSpecification=stream)


@pytest.fixture
def fleet(dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache) -> Iterator[Fleet]:
    """Return five tables, and an empty cache."""
    cache.broadcast(b"PING")
    replicator = build(valkey.settings())
    with closing(replicator.cache):
        yield Fleet(dynamodb, replicator)


def test_five_tables_are_mirrored_by_one_process_and_one_killed_stream_disturbs_no_other(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    followers = fleet.followers()
    killed, *others = fleet.tables
    with fleet.following(followers) as errors:
        fleet.write(1)
        wait_until(lambda: all(map(fleet.is_mirrored, fleet.tables)))
        wait_until(lambda: followers.why_not_ready(120) is None)
        assert followers.why_not_live() is None
        assert all(fleet.counts[table].records for table in fleet.tables)
        fleet.switch(killed, on=False)
        delivery = getattr(followers.follower(killed), "delivery", None)
        assert delivery is not None
        delivery._wake.set()  # it looks for new shards at once
        wait_until(lambda: followers.follower(killed) is None)
        fleet.write(2)
        wait_until(lambda: all(map(fleet.is_mirrored, others)))
        reason = f"table {killed}: not followed: the stream of table {killed} is off; "
        assert (followers.why_not_ready(120) or "").startswith(reason)
        assert followers.why_not_live() is None
        assert all(followers.follower(table) for table in others)
        (record,) = (record for record in caplog.records if record.msg == "table not followed")
        assert vars(record)["table"] == killed
        fleet.switch(killed, on=True)
        wait_until(lambda: (killed, "it is followed again") in fleet.sentences)
        wait_until(lambda: all(map(fleet.is_mirrored, fleet.tables)))
        assert not errors
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("table t")]


def test_a_table_that_is_missing_at_the_start_is_tried_again(fleet: Fleet) -> None:
    del fleet.tables[2:]
    missing = f"late-{uuid4().hex[:8]}"
    fleet.tables.append(missing)
    followers = fleet.followers()
    with fleet.following(followers) as errors:
        assert (followers.why_not_ready(0) or "").count("; ") >= 2
        create_table(fleet.client, missing, {"id": "S"})
        write_items(fleet.client, missing, [{"id": {"S": "1"}}])
        wait_until(lambda: fleet.is_mirrored(missing))
        assert not errors


def test_a_table_that_is_recreated_with_another_key_is_mirrored_by_that(fleet: Fleet) -> None:
    del fleet.tables[2:]
    table = fleet.tables[0]
    followers = fleet.followers()
    with fleet.following(followers) as errors:
        wait_until(lambda: fleet.is_mirrored(table))
        delivery = getattr(followers.follower(table), "delivery", None)
        assert delivery is not None
        fleet.client.delete_table(TableName=table)
        delivery._wake.set()
        wait_until(lambda: followers.follower(table) is None)
        create_table(fleet.client, table, {"pk": "S", "sk": "S"})
        write_items(fleet.client, table, [{"pk": {"S": "p"}, "sk": {"S": "s"}}])
        wait_until(lambda: fleet.is_mirrored(table))
        assert list(fleet.cache.scan(f"{table}:*")) == [f"{table}:p:s".encode()]
        assert not errors


def test_a_fault_of_the_program_does_not_end_the_healing(fleet: Fleet) -> None:
    found: list[bool] = []

    class Faulty(Healer):
        def _check(self) -> None:
            found.append(True)
            if len(found) == 1:
                raise ZeroDivisionError

    healer = Faulty(
        cast("Any", fleet.follower(fleet.tables[0]))._rebuild, stream_arn=str, notify=print
    )
    healer.start()
    wait_until(lambda: len(found) > 1)
    healer.stop()


def test_a_process_ends_when_none_of_its_tables_can_be_followed(fleet: Fleet) -> None:
    del fleet.tables[2:]

    class Lost(Follower):
        def follow(self, *_arguments: Any, **_options: Any) -> None:
            raise SourceError("it is gone")

    followers = fleet.followers(
        lambda table: Lost(
            fleet.aws, table, fleet.replicator, EventSourceMapping(), notify=lambda _sentence: None
        )
    )
    with pytest.raises(SourceError, match="it is gone"):
        followers.follow(lambda _table, _counts: None, interval=1)


def test_tables_of_which_none_can_be_followed_are_refused_at_once(fleet: Fleet) -> None:
    for table in fleet.tables:
        fleet.switch(table, on=False)
    with pytest.raises(ConfigError, match=f"^the stream of table {fleet.tables[0]} is off"):
        fleet.followers()


def test_a_fault_of_the_program_at_one_table_does_not_stop_the_others(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    del fleet.tables[2:]
    broken, sound = fleet.tables

    class Broken(Follower):
        def follow(self, *_arguments: Any, **_options: Any) -> None:
            raise ZeroDivisionError

    def make(table: str) -> Follower:
        if table != broken:
            return fleet.follower(table)
        if any(record.msg == "table not followed" for record in caplog.records):
            raise DynamirrorError("broken")
        return Broken(
            fleet.aws, table, fleet.replicator, EventSourceMapping(), notify=lambda _sentence: None
        )

    with fleet.following(fleet.followers(make)) as errors:
        fleet.client.put_item(TableName=sound, Item={"id": {"S": "1"}})
        wait_until(lambda: fleet.is_mirrored(sound))
        assert not errors
    assert any(record.exc_info for record in caplog.records)


def test_the_rebuilds_of_several_tables_share_one_limit() -> None:
    limit, waits, stop = Rate(10.0, clock=lambda: 0.0), list[float](), threading.Event()
    stop.set()  # so that nobody really waits
    rebuilds = [Backfill(cast("Any", None), rate=limit, stop=stop) for _ in range(2)]
    for rebuild in rebuilds:
        rebuild._rate.begin(5)
    limit.waiting_by(waits.append).begin(15)
    assert waits == [1.0]  # until the 10 units before are paid for
    Rate(None).waiting_by(waits.append).begin(5)
    assert waits == [1.0]
