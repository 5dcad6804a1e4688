"""What can be attached, and whose calls are then answered."""

from typing import Any

import boto3
import botocore.session
import pytest
from tests.support.attaching import Attached, source_of
from tests.support.mirrored import MakeMirrored, Mirrored

from dynamirror import detach
from dynamirror.cache.completeness_marker import record_complete, record_gap
from dynamirror.emulators.dynamodb import REGION, EmbeddedDynamoDB
from dynamirror.records.version import SnapshotVersion

KEY = {"id": {"S": "1"}}


@pytest.fixture
def world(make: MakeMirrored) -> Mirrored:
    """One mirrored item."""
    world = make()
    world.put({"id": "1"})
    world.mirror({"id": "1"})
    world.is_complete()
    return world


@pytest.mark.parametrize("kind", ["boto3", "botocore"])
def test_clients_that_an_attached_session_makes_read_from_the_cache(
    world: Mirrored, dynamodb: EmbeddedDynamoDB, attached: Attached, kind: str
) -> None:
    url = dynamodb.endpoint_url
    session: Any
    if kind == "boto3":
        session = boto3.Session("local", "local", region_name=REGION)
        make = session.client
    else:
        session = botocore.session.get_session()
        session.set_credentials("local", "local")
        make = session.create_client
    before = make("dynamodb", region_name=REGION, endpoint_url=url)
    attachment = attached(session, world)
    client = make("dynamodb", region_name=REGION, endpoint_url=url)
    request = {"TableName": world.name, "Key": KEY}
    assert source_of(client.get_item(**request)) == "cache"
    assert source_of(before.get_item(**request)) == "table"
    assert attachment.counts["GetItem"].cache == 1
    # Attached by itself, too, the client is answered once.
    own = attached(client, world)
    assert source_of(client.get_item(**request)) == "cache"
    assert attachment.counts["GetItem"].cache + own.counts.get("GetItem", (0,))[0] == 2
    assert detach(client)
    assert detach(session)
    assert source_of(client.get_item(**request)) == "table"


def test_a_table_of_another_account_or_region_is_not_mistaken_for_the_mirrors(
    world: Mirrored, client: Any, attached: Attached, caplog: pytest.LogCaptureFixture
) -> None:
    arn = "arn:aws:dynamodb:eu-west-1:000000000000:table/t/stream/2027-01-01T00:00:00.000"
    record_gap(world.cache, world.views, stream=arn, at=10, reason="new")
    record_complete(world.cache, world.views, SnapshotVersion(11))
    attachment = attached(client, world)
    for _ in range(2):
        assert source_of(client.get_item(TableName=world.name, Key=KEY)) == "table"
    assert attachment.counts["GetItem"].reasons == {"unknown-table": 2}
    messages = [one.message for one in caplog.records if one.name == "dynamirror"]
    assert messages == ["attached table is not read from the cache"]


def test_a_table_may_be_named_by_its_arn(world: Mirrored, client: Any, attached: Attached) -> None:
    attached(client, world)
    arn = client.describe_table(TableName=world.name)["Table"]["TableArn"]
    assert source_of(client.get_item(TableName=world.name, Key=KEY)) == "cache"
    assert source_of(client.get_item(TableName=arn, Key=KEY)) == "cache"
    other = arn.replace(":000000000000:", ":000000000001:")
    client.meta.events.register("before-send.dynamodb.GetItem", _refuse)
    try:
        with pytest.raises(ConnectionRefusedError):
            client.get_item(TableName=other, Key=KEY)
    finally:
        client.meta.events.unregister("before-send.dynamodb.GetItem", _refuse)


def test_a_table_resource_may_be_named_by_its_arn(
    world: Mirrored, resource: Any, attached: Attached
) -> None:
    table = resource.Table(resource.Table(world.name).table_arn)
    attached(table, world)
    assert source_of(table.get_item(Key={"id": "1"})) == "cache"
    assert detach(table)


def _refuse(**_rest: Any) -> None:
    raise ConnectionRefusedError


def test_schemas_spare_the_right_to_describe_the_table(
    world: Mirrored, client: Any, attached: Attached
) -> None:
    attached(client, world, schemas=[world.schema])
    client.meta.events.register("before-send.dynamodb.DescribeTable", _refuse)
    try:
        assert source_of(client.get_item(TableName=world.name, Key=KEY)) == "cache"
    finally:
        client.meta.events.unregister("before-send.dynamodb.DescribeTable", _refuse)


def test_a_table_that_cannot_be_described_is_read_as_before(
    world: Mirrored, client: Any, attached: Attached, caplog: pytest.LogCaptureFixture
) -> None:
    described: list[Any] = []

    def refuse(**_rest: Any) -> None:
        described.append(1)
        raise ConnectionRefusedError

    attachment = attached(client, world)
    client.meta.events.register("before-send.dynamodb.DescribeTable", refuse)
    try:
        for _ in range(3):
            assert source_of(client.get_item(TableName=world.name, Key=KEY)) == "table"
    finally:
        client.meta.events.unregister("before-send.dynamodb.DescribeTable", refuse)
    assert len(described) == 1
    assert attachment.faults == 0
    assert "ConnectionRefusedError" in str(vars(caplog.records[-1])["reason"])
