"""How old an answer may be: `max_age`, `min_time`, and the writes of one's own client."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.attaching import Attached, source_of
from tests.support.mirrored import ARN, MakeMirrored, Mirrored

from dynamirror.attachment.own_writes import FORGET_SECONDS, MOST_ITEMS, OwnWrites, Write
from dynamirror.cache.heartbeat import Heartbeat, write_heartbeat
from dynamirror.records.version import ChangeVersion, SnapshotVersion
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.view import Schema, ViewSpec

KEY = {"id": {"S": "1"}}
SCHEMA = Schema("t", ("pk", "sk"), ("S", "S"))


def change(seconds: float) -> ChangeVersion:
    """Return the version of a change."""
    return ChangeVersion(sequence=int(seconds * 1000), created=int(seconds), epoch=1)


@pytest.fixture
def world(make: MakeMirrored) -> Mirrored:
    """One mirrored item."""
    world = make()
    world.put({"id": "1"})
    world.mirror({"id": "1"})
    world.is_complete()
    return world


def beat(world: Mirrored, behind: float) -> None:
    """Leave a heartbeat of a replicator."""
    heartbeat = Heartbeat(who="test", behind=behind, stream=ARN)
    write_heartbeat(world.cache, world.name, "test", heartbeat, first=True)


def test_a_mirror_that_is_too_far_behind_is_not_read(
    world: Mirrored, client: Any, attached: Attached
) -> None:
    request = {"TableName": world.name, "Key": KEY}
    with attached(client, world, max_age=30) as attachment:
        assert source_of(client.get_item(**request)) == "table"  # no replicator was ever seen
        assert attachment.counts["GetItem"].reasons == {"behind": 1}
    beat(world, 5)
    with attached(client, world, max_age=30):
        assert source_of(client.get_item(**request)) == "cache"
    beat(world, 60)
    with attached(client, world, max_age=30):
        assert source_of(client.get_item(**request)) == "table"


def test_min_time_asks_for_a_write_that_the_entry_must_have(
    world: Mirrored, client: Any, attached: Attached
) -> None:
    request = {"TableName": world.name, "Key": KEY}
    times = [time.time() - 60, time.time() + 60]
    with attached(client, world, min_time=times[0]):
        assert source_of(client.get_item(**request)) == "cache"
    with attached(client, world, min_time=lambda: times[1]) as attachment:
        assert source_of(client.get_item(**request)) == "table"
        assert attachment.counts["GetItem"].reasons == {"too-new": 1}


@pytest.mark.parametrize("way", ["put", "update", "delete", "batch", "transaction", "statement"])
def test_a_read_after_ones_own_write_shows_it(
    world: Mirrored, client: Any, attached: Attached, way: str
) -> None:
    attached(client, world, min_time="own-writes")
    request = {"TableName": world.name, "Key": KEY}
    assert source_of(client.get_item(**request)) == "cache"
    item = {**KEY, "v": {"S": "new"}}
    put = {"TableName": world.name, "Item": item}
    match way:
        case "put":
            client.put_item(**put)
        case "update":
            client.update_item(
                **request,
                UpdateExpression="SET v = :v",
                ExpressionAttributeValues={":v": {"S": "new"}},
            )
        case "delete":
            item = {}
            client.delete_item(**request)
        case "batch":
            client.batch_write_item(RequestItems={world.name: [{"PutRequest": {"Item": item}}]})
        case "transaction":
            client.transact_write_items(TransactItems=[{"Put": put}])
        case "statement":
            client.execute_statement(
                Statement=f"UPDATE \"{world.name}\" SET v='new' WHERE id='1'"  # noqa: S608
            )
    answer = client.get_item(**request)
    assert (source_of(answer), answer.get("Item", {})) == ("table", item)
    if way in ("put", "update"):
        world.mirror({"id": "1"}, version=SnapshotVersion(int(time.time()) + 5))
        answer = client.get_item(**request)
        assert (source_of(answer), answer["Item"]) == ("cache", item)


def test_a_query_after_ones_own_write_shows_it(
    make: MakeMirrored, client: Any, attached: Attached
) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON, collection=True), keys={"pk": "S", "sk": "S"})
    world.put({"pk": "p", "sk": "1"})
    world.mirror({"pk": "p", "sk": "1"})
    world.is_complete()
    attachment = attached(client, world, min_time="own-writes")
    request = {
        "TableName": world.name,
        "KeyConditionExpression": "pk = :p",
        "ExpressionAttributeValues": {":p": {"S": "p"}},
    }
    assert source_of(client.query(**request)) == "cache"
    client.put_item(TableName=world.name, Item={"pk": {"S": "p"}, "sk": {"S": "2"}})
    answer = client.query(**request)
    assert (source_of(answer), answer["Count"]) == ("table", 2)
    world.mirror({"pk": "p", "sk": "2"}, version=SnapshotVersion(int(time.time()) + 5))
    for _ in range(2):
        answer = client.query(**request)
        assert (source_of(answer), answer["Count"]) == ("cache", 2)
    assert attachment.counts["Query"].reasons == {"too-new": 1}


def test_a_statement_that_only_reads_is_no_write(
    world: Mirrored, client: Any, attached: Attached
) -> None:
    attached(client, world, min_time="own-writes")
    client.execute_statement(Statement=f'SELECT * FROM "{world.name}"')  # noqa: S608
    assert source_of(client.get_item(TableName=world.name, Key=KEY)) == "cache"


def test_a_write_that_was_refused_is_not_waited_for(
    world: Mirrored, client: Any, attached: Attached
) -> None:
    attached(client, world, min_time="own-writes")
    with pytest.raises(client.exceptions.ConditionalCheckFailedException):
        client.put_item(
            TableName=world.name, Item=KEY, ConditionExpression="attribute_not_exists(id)"
        )
    assert source_of(client.get_item(TableName=world.name, Key=KEY)) == "cache"


def items(*sort_keys: str) -> Iterator[Write]:
    """Yield items of one partition."""
    return (Write(SCHEMA, {"pk": {"S": "p"}, "sk": {"S": one}}) for one in sort_keys)


def test_of_two_writes_within_a_second_the_first_is_not_enough() -> None:
    writes = OwnWrites(clock=lambda: 100.0)
    key = {"pk": {"S": "p"}, "sk": {"S": "1"}}
    for expected in (50, 51):
        names = writes.begin(items("1"))
        minimum = writes.min_time("t", key)
        assert minimum is not None
        assert minimum > 10**9  # while it is under way, nothing is new enough
        writes.end(names, 50)
        assert writes.min_time("t", key) == expected
    assert writes.min_time("t", {**key, "sk": {"S": "2"}}) is None


def test_a_partition_is_readable_when_its_collection_has_all_writes() -> None:
    now = [100.0]
    writes = OwnWrites(clock=lambda: now[0])
    view = ViewSpec(encoding=DYNAMODB_JSON, collection=True).bind(SCHEMA)
    partition = {"pk": {"S": "p"}}
    writes.end(writes.begin(items("1", "2")), 50)

    def settled(*seconds: int) -> bool:
        steps = writes.settle("t", partition, view)
        assert len(list(next(steps))) == len(seconds)
        with pytest.raises(StopIteration) as stop:
            steps.send([str(change(second)).encode() for second in seconds])
        return bool(stop.value.value)

    assert not settled(50, 49)
    assert writes.min_time("t", partition) is not None
    assert settled(51)
    assert writes.min_time("t", partition) is None
    writes.end(writes.begin(items("1")), 60)
    now[0] += FORGET_SECONDS + 1
    assert writes.min_time("t", partition) is None


def test_when_too_many_writes_are_remembered_their_tables_are_not_read() -> None:
    now = [100.0]
    writes = OwnWrites(clock=lambda: now[0])
    other = {"pk": {"S": "other"}, "sk": {"S": "1"}}
    writes.end(writes.begin(items(*map(str, range(MOST_ITEMS)))), 50)
    assert writes.min_time("t", other) is None
    writes.end(writes.begin(items("more")), 50)
    assert writes.min_time("t", other) is not None
    assert writes.min_time("u", other) is None
    now[0] += FORGET_SECONDS + 1
    assert writes.min_time("t", other) is None
