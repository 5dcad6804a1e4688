"""What is asked of DynamoDB, with which client, and what the metadata of an answer tell."""

import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.dynamodb.conditions import Key
from botocore.exceptions import ClientError
from tests.support.mirrored import MakeMirrored, Mirrored, source_of

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.dynamodb import REGION, EmbeddedDynamoDB
from dynamirror.errors import ConfigError, SourceError
from dynamirror.reader import Reader, written_at
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.view import ViewSpec

SECURITY = Path(__file__).parents[2] / "docs/security.md"
SPEC = ViewSpec(encoding=DYNAMODB_JSON, collection=True)
KEYS = {"pk": "S", "sk": "N"}
WHOLE = Key("pk").eq("p")
# What an application may be without: https://docs.aws.amazon.com/service-authorization/
DENIED = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DescribeTable")


@pytest.fixture
def client(dynamodb: EmbeddedDynamoDB) -> Any:
    """A client that nobody else has."""
    return Aws(REGION, dynamodb.endpoint_url, ("local", "local")).dynamodb()


@pytest.fixture
def calls(client: Any) -> list[str]:
    """The operations that it has been used for."""
    names: list[str] = []
    client.meta.events.register("before-call.dynamodb", lambda model, **_: names.append(model.name))
    return names


@pytest.fixture
def world(make: MakeMirrored) -> Mirrored:
    """A table of two items, of which the cache has one."""
    world = make(SPEC, keys=KEYS)
    world.put(*({"pk": "p", "sk": number} for number in range(2)))
    world.mirror({"pk": "p", "sk": 0})
    return world


def read_all(world: Mirrored, reader: Reader, *, consistent: bool = False) -> list[Any]:
    """The answers of every call to what the cache has and has not."""
    keys = [{"pk": "p", "sk": number} for number in range(3)]
    request = {world.name: {"Keys": keys, "ConsistentRead": consistent}}
    return [
        *(reader.get_item(Key=key, ConsistentRead=consistent) for key in keys),
        reader.batch_get_item(RequestItems=request),
        reader.query(KeyConditionExpression=WHOLE, ConsistentRead=consistent),
    ]


@pytest.mark.parametrize("consistent", [False, True])
def test_a_read_asks_dynamodb_once_and_never_what_the_table_is(
    world: Mirrored, client: Any, calls: list[str], *, consistent: bool
) -> None:
    reader = world.reader(client=client, aws=None)
    assert calls == []
    read_all(world, reader, consistent=consistent)
    gets = ["GetItem"] * (3 if consistent else 2)  # the cache has one
    assert calls == [*gets, "BatchGetItem", "Query"]


def test_a_reader_that_is_given_no_schema_asks_once(
    world: Mirrored, client: Any, calls: list[str]
) -> None:
    reader = world.reader(client=client, aws=None, schema=None)
    for _ in range(3):
        read_all(world, reader)
    assert calls.count("DescribeTable") == 1
    assert calls[0] == "DescribeTable"


def test_a_reader_with_a_schema_needs_no_right_to_describe_the_table(
    world: Mirrored, client: Any
) -> None:
    def deny(**_: Any) -> None:
        raise DENIED

    client.meta.events.register("before-call.dynamodb.DescribeTable", deny)
    reader = world.reader(client=client, aws=None)
    *_, absent, batch, page = read_all(world, reader)
    assert "Item" not in absent
    assert len(batch["Responses"][world.name]) == len(page["Items"]) == 2
    with pytest.raises(SourceError, match="AccessDenied"):
        world.reader(client=client, aws=None, schema=None)


def test_the_policy_for_applications_grants_what_a_reader_calls_and_nothing_else(
    world: Mirrored, client: Any, calls: list[str]
) -> None:
    (block,) = [
        json.loads(text)
        for text in re.findall(r"```json\n(.*?)```", SECURITY.read_text("utf-8"), re.DOTALL)
        if "dynamodb:GetItem" in text
    ]
    table, indexes, describe, connect = block["Statement"]
    assert block["Version"] == "2012-10-17"
    assert {one["Effect"] for one in block["Statement"]} == {"Allow"}
    read_all(world, world.reader(client=client, aws=None))
    assert set(table["Action"]) == {f"dynamodb:{name}" for name in calls}
    calls.clear()
    world.reader(client=client, aws=None, schema=None)
    assert [describe["Action"]] == [f"dynamodb:{name}" for name in calls]
    assert table["Resource"] == describe["Resource"]
    assert re.fullmatch(r"arn:aws:dynamodb:\w+:\w+:table/\w+", table["Resource"])
    assert (indexes["Action"], indexes["Resource"]) == (
        "dynamodb:Query",
        f"{table['Resource']}/index/*",
    )
    assert connect["Action"] == "elasticache:Connect"
    assert [arn.split(":")[5] for arn in connect["Resource"]] == ["serverlesscache", "user"]


def test_metadata_are_dynamodbs_own_or_the_like_of_them(world: Mirrored) -> None:
    reader = world.reader(on_miss="absent")
    world.put({"pk": "p", "sk": 2})
    answers = read_all(world, reader)
    world.mirror(*({"pk": "p", "sk": number} for number in range(3)))
    world.is_complete()
    answers += [*read_all(world, reader), reader.get_item(Key={"pk": "p", "sk": 9})]
    assert {source_of(one) for one in answers} == {"cache", "table", "mixed"}
    for answer in answers:
        told = answer["ResponseMetadata"]
        assert (told["HTTPStatusCode"], told["RetryAttempts"]) == (200, 0)
        assert isinstance(told["RequestId"], str)
        assert written_at(answer) > 1_700_000_000
        assert told["HTTPHeaders"]["x-amzn-requestid"] == told["RequestId"]
        assert told["HTTPHeaders"]["content-type"] == "application/x-amz-json-1.0"
    assert len({one["ResponseMetadata"]["RequestId"] for one in answers}) == len(answers)


def test_what_an_answer_from_the_cache_has_boto3s_has_too(world: Mirrored) -> None:
    world.mirror(*({"pk": "p", "sk": number} for number in range(2)))
    world.is_complete()
    reader = world.reader()
    arguments: dict[str, Any] = {"KeyConditionExpression": WHOLE, "Limit": 1}
    pairs: list[tuple[Any, Any, Any]] = [
        (reader.get_item, world.table.get_item, {"Key": {"pk": "p", "sk": 1}}),
        (reader.query, world.table.query, arguments),
    ]
    for mine, own, given in pairs:
        answer, expected = mine(**given), own(**given)
        assert source_of(answer) == "cache"
        told, real = answer.pop("ResponseMetadata"), expected.pop("ResponseMetadata")
        assert answer == expected
        assert told.keys() == real.keys() | {"dynamirror"}


def test_readers_share_a_client_and_connections_to_the_cache(
    make: MakeMirrored, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    worlds = [make(SPEC, keys=KEYS) for _ in range(3)]
    for world in worlds:
        world.put({"pk": "p", "sk": 0})
        world.mirror({"pk": "p", "sk": 0})

    def session(*_: Any, **__: Any) -> None:
        pytest.fail("none is needed")

    monkeypatch.setattr(boto3, "Session", session)
    shared = Cache(worlds[0].settings)
    readers = [world.reader(client=client, aws=None, cache=shared) for world in worlds]
    key = {"pk": "p", "sk": 0}
    assert {source_of(reader.get_item(Key=key)) for reader in readers} == {"cache"}
    assert [len(idle) for idle in shared.cluster._idle.values()] == [1]
    readers[0].close()
    assert source_of(readers[1].get_item(Key=key)) == "cache"
    assert [len(idle) for idle in shared.cluster._idle.values()] == [1]
    shared.close()


def test_a_session_makes_the_client(world: Mirrored, dynamodb: EmbeddedDynamoDB) -> None:
    session: Any = boto3.Session("local", "local", region_name=REGION)
    made: list[str] = []
    session.events.register("creating-client-class.dynamodb", lambda **_: made.append("dynamodb"))
    where = Aws(endpoint_url=dynamodb.endpoint_url)
    readers = [world.reader(session=session, aws=where) for _ in range(2)]
    assert made == ["dynamodb"] * 2
    for reader in readers:
        assert source_of(reader.get_item(Key={"pk": "p", "sk": 1})) == "table"


def test_what_does_not_go_together_is_refused(world: Mirrored, dynamodb: EmbeddedDynamoDB) -> None:
    session: Any = boto3.Session("local", "local", region_name=REGION)
    resource = session.resource("dynamodb", endpoint_url=dynamodb.endpoint_url)
    with pytest.raises(ConfigError, match="not be that of a resource"):
        world.reader(client=resource.meta.client, aws=None)
    for other in ({"session": session}, {"aws": Aws()}):
        with pytest.raises(ConfigError, match="client: goes with neither"):
            world.reader(**{"client": world.client, "aws": None, **other})


def test_keys_that_dynamodb_leaves_for_later_are_asked_for_again(
    world: Mirrored, client: Any, calls: list[str]
) -> None:
    left: list[Any] = []

    def leave(parsed: dict[str, Any], **_: Any) -> None:
        if not left:
            left.append(1)
            items = parsed["Responses"][world.name]
            parsed["Responses"][world.name] = items[1:]
            key = {name: items[0][name] for name in ("pk", "sk")}
            parsed["UnprocessedKeys"] = {world.name: {"Keys": [key]}}

    client.meta.events.register("after-call.dynamodb.BatchGetItem", leave)
    reader = world.reader(client=client, aws=None)
    keys = [{"pk": "p", "sk": number} for number in range(2)]
    request = {world.name: {"Keys": keys, "ConsistentRead": True}}
    answer = reader.batch_get_item(RequestItems=request)
    assert answer["Responses"][world.name] == keys
    assert calls == ["BatchGetItem"] * 2


def test_a_batch_is_read_a_hundred_at_a_time(
    world: Mirrored, client: Any, calls: list[str]
) -> None:
    reader = world.reader(client=client, aws=None)
    keys = [{"pk": "p", "sk": number} for number in range(250)]
    answer = reader.batch_get_item(RequestItems={world.name: {"Keys": keys}})
    assert len(answer["Responses"][world.name]) == 2
    assert calls == ["BatchGetItem"] * 3
