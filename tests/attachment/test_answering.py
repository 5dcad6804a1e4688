"""An attached client's reads are answered by the cache, as DynamoDB would answer them."""

from typing import Any

import pytest
from tests.support.attaching import Attached, source_of
from tests.support.mirrored import MakeMirrored

from dynamirror import detach
from dynamirror.attachment.merging import merge
from dynamirror.errors import ConfigError
from dynamirror.reader.wire import PartialBatch
from dynamirror.views.view import ViewSpec

ITEM: dict[str, Any] = {
    "id": {"S": "1"},
    "bytes": {"B": b"\x00\xff"},
    "set": {"BS": [b"a", b"b"]},
    "deep": {"M": {"list": {"L": [{"B": b"x"}, {"N": "1.5"}, {"NULL": True}]}}},
    "words": {"SS": ["a", "b"]},
    "yes": {"BOOL": True},
}


def test_a_client_gets_from_the_cache_what_dynamodb_answers(
    make: MakeMirrored, client: Any, attached: Attached
) -> None:
    world = make()
    client.put_item(TableName=world.name, Item=ITEM)
    request = {"TableName": world.name, "Key": {"id": {"S": "1"}}}
    own = client.get_item(**request)
    world.mirror({"id": "1"})
    world.is_complete()
    attachment = attached(client, world)
    answer = client.get_item(**request)
    assert (source_of(own), source_of(answer)) == ("table", "cache")
    assert answer["Item"] == own["Item"] == ITEM
    metadata = answer["ResponseMetadata"]
    assert metadata["HTTPStatusCode"] == 200
    assert metadata["RetryAttempts"] == 0
    headers = metadata["HTTPHeaders"]
    assert headers["x-amzn-requestid"] == metadata["RequestId"]
    assert int(headers["content-length"]) > len(str(ITEM["id"]))
    assert own["ResponseMetadata"].keys() <= metadata.keys()
    assert attachment.counts["GetItem"].cache == 1
    assert detach(client)
    assert not detach(client)
    assert source_of(client.get_item(**request)) == "table"


def test_a_resource_gets_python_values_of_the_cache(
    make: MakeMirrored, resource: Any, attached: Attached
) -> None:
    world = make()
    table = resource.Table(world.name)
    world.put({"id": "1", "n": 7, "b": b"\xff"})
    world.mirror({"id": "1"})
    world.is_complete()
    own = table.get_item(Key={"id": "1"})
    attached(table, world)
    answer = table.get_item(Key={"id": "1"})
    assert source_of(answer) == "cache"
    assert answer["Item"] == own["Item"]
    assert type(answer["Item"]["b"]) is type(own["Item"]["b"])


def test_what_the_cache_cannot_answer_is_dynamodbs(
    make: MakeMirrored, client: Any, attached: Attached
) -> None:
    world, other = make(), make()
    world.put({"id": "1"})
    world.mirror({"id": "1"})
    world.is_complete()
    attachment = attached(client, world, tables=[world.name])
    key = {"id": {"S": "1"}}
    assert "Item" in client.get_item(TableName=world.name, Key=key, ConsistentRead=True)
    assert "Item" not in client.get_item(TableName=world.name, Key={"id": {"S": "2"}})
    assert "Item" not in client.get_item(TableName=other.name, Key=key)
    assert client.scan(TableName=world.name)["Count"] == 1
    transaction = {"TransactItems": [{"Get": {"TableName": world.name, "Key": key}}]}
    assert client.transact_get_items(**transaction)["Responses"] == [{"Item": key}]
    with pytest.raises(client.exceptions.ClientError, match="ValidationException"):
        client.get_item(TableName=world.name, Key={"other": {"S": "1"}})
    world.is_incomplete()
    assert "Item" in client.get_item(TableName=world.name, Key=key)
    counts = attachment.counts
    assert counts["GetItem"].reasons == {
        "consistent": 1,
        "missing": 1,
        "not-understood": 1,
        "incomplete": 1,
    }
    assert counts["TransactGetItems"].reasons == {"transaction": 1}
    assert counts["Scan"].table == 1
    assert attachment.faults == 0


def test_of_a_batch_dynamodb_is_asked_only_for_what_the_cache_lacks(
    make: MakeMirrored, resource: Any, attached: Attached
) -> None:
    world, other = make(), make()
    world.put({"id": "1", "b": b"1"}, {"id": "2", "b": b"2"})
    other.put({"id": "1"})
    world.mirror({"id": "1"})
    world.is_complete()
    request: Any = {
        "RequestItems": {
            world.name: {"Keys": [{"id": "1"}, {"id": "2"}, {"id": "3"}]},
            other.name: {"Keys": [{"id": "1"}]},
        }
    }
    own = resource.batch_get_item(**request)
    attachment = attached(resource, world)
    sent: list[bytes] = []
    events = resource.meta.client.meta.events

    def send(request: Any, **_rest: Any) -> None:
        sent.append(request.body)

    events.register("before-send.dynamodb.BatchGetItem", send)
    answer = resource.batch_get_item(**request)
    events.unregister("before-send.dynamodb.BatchGetItem", send)
    for name in (world.name, other.name):
        key = lambda item: item["id"]  # noqa: E731 - sorts below
        assert sorted(answer["Responses"][name], key=key) == sorted(own["Responses"][name], key=key)
    assert len(sent) == 1
    assert b'"2"' in sent[0]
    assert b'"1"' in sent[0]
    assert attachment.counts["BatchGetItem"].partly == 1


def test_the_capacity_of_both_parts_of_a_batch_is_added() -> None:
    def capacity(units: float) -> dict[str, Any]:
        return {"TableName": "t", "CapacityUnits": units, "Table": {"CapacityUnits": units}}

    answer = {"Responses": {"t": [{"id": {"S": "2"}}]}, "ConsumedCapacity": [capacity(1.5)]}
    merge(PartialBatch({"t": [{"id": {"S": "1"}}]}, {}, [], [capacity(0.5)]), answer)
    assert answer == {
        "Responses": {"t": [{"id": {"S": "1"}}, {"id": {"S": "2"}}]},
        "ConsumedCapacity": [capacity(2.0)],
    }


def test_attaching_again_is_one_attachment_or_an_error(
    make: MakeMirrored, resource: Any, attached: Attached
) -> None:
    world, other = make(), make()
    table = resource.Table(world.name)
    first = attached(table, world)
    assert attached(resource.Table(world.name), world) is first
    with pytest.raises(ConfigError, match="attached already"):
        attached(table, world, on_miss="absent")
    with pytest.raises(ConfigError, match="attached already"):
        attached(resource, world)
    second = attached(resource.Table(other.name), other)
    assert second is not first
    assert detach(table)
    assert not detach(table)
    assert detach(resource.Table(other.name))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"views": [ViewSpec()]}, "keep no types"),
        ({"view": "other"}, "view: must be one of default"),
        ({"on_miss": "what"}, "on_miss"),
        ({"shadow": 2}, "shadow"),
        ({"max_age": 0}, "max_age"),
        ({"min_time": "now"}, "min_time"),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    make: MakeMirrored, client: Any, attached: Attached, options: Any, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        attached(client, make(), **options)


def test_other_targets_are_refused(session: Any, make: MakeMirrored, attached: Attached) -> None:
    with pytest.raises(ConfigError, match="not one of s3"):
        attached(session.client("s3"), make())
    with pytest.raises(ConfigError, match="not str"):
        attached("orders", make())
