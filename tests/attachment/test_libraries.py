"""Libraries that applications read DynamoDB with, attached without a change to their calls."""

from types import SimpleNamespace
from typing import Any

import pytest
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.parameters import DynamoDBProvider
from botocore.stub import Stubber
from pynamodb.attributes import BinaryAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.connection import Connection
from pynamodb.models import Model
from tests.support.attaching import Attached, source_of
from tests.support.mirrored import MakeMirrored, Mirrored

from dynamirror.emulators.dynamodb import REGION, EmbeddedDynamoDB
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.view import ViewSpec

SORTED = ViewSpec(encoding=DYNAMODB_JSON, collection=True)


@pytest.fixture
def world(make: MakeMirrored) -> Mirrored:
    """A table of four items, all of them mirrored."""
    world = make(SORTED, keys={"pk": "S", "sk": "S"})
    keys = [{"pk": "a", "sk": f"{number}"} for number in range(4)]
    world.put(*({**key, "value": f"v{key['sk']}", "n": 7, "b": b"\xff"} for key in keys))
    world.mirror(*keys)
    world.is_complete()
    return world


def model_of(world: Mirrored, dynamodb: EmbeddedDynamoDB) -> Any:
    """Make a model of the table."""

    class Row(Model):
        class Meta:
            table_name = world.name
            region = REGION
            host = dynamodb.endpoint_url
            aws_access_key_id = "local"
            aws_secret_access_key = "local"

        pk = UnicodeAttribute(hash_key=True)
        sk = UnicodeAttribute(range_key=True)
        value = UnicodeAttribute(null=True)
        n = NumberAttribute(null=True)
        b = BinaryAttribute(null=True, legacy_encoding=False)

    return Row


def test_a_model_of_pynamodb_reads_from_the_cache(
    world: Mirrored, dynamodb: EmbeddedDynamoDB, attached: Attached
) -> None:
    row = model_of(world, dynamodb)

    def reads() -> list[Any]:
        return [
            row.get("a", "1").attribute_values,
            row.get("a", "2", attributes_to_get=["n"]).attribute_values,
            sorted(one.sk for one in row.batch_get([("a", "0"), ("a", "3"), ("a", "4")])),
            [one.b for one in row.query("a", row.sk >= "1", row.n == 7, limit=2)],
            row.count("a"),
        ]

    own = reads()
    attachment = attached(row, world)
    assert reads() == own
    counts = attachment.counts
    assert counts["GetItem"].cache == 2
    assert counts["BatchGetItem"].partly == 1
    assert (counts["Query"].cache, counts["Query"].reasons) == (2, {})
    with pytest.raises(row.DoesNotExist):
        row.get("a", "none")
    row("a", "5").save()
    assert row.get("a", "5", consistent_read=True).sk == "5"
    assert attachment.faults == 0


def test_a_connection_of_pynamodb_reads_from_the_cache(
    world: Mirrored, dynamodb: EmbeddedDynamoDB, attached: Attached
) -> None:
    connection = Connection(region=REGION, host=dynamodb.endpoint_url)
    connection.session.set_credentials("local", "local")
    attachment = attached(connection, world)
    model_of(world, dynamodb)._get_connection()
    client: Any = connection.client
    answer = client.get_item(TableName=world.name, Key={"pk": {"S": "a"}, "sk": {"S": "1"}})
    assert source_of(answer) == "cache"
    assert attachment.counts["GetItem"].cache == 1


def test_parameters_of_powertools_come_from_the_cache(
    make: MakeMirrored, resource: Any, attached: Attached
) -> None:
    world = make(SORTED, keys={"id": "S", "sk": "S"})
    keys = [{"id": "app", "sk": name} for name in ("a", "b")]
    world.put(*({**key, "value": key["sk"].upper()} for key in keys))
    world.mirror(*keys)
    world.is_complete()
    provider: Any = DynamoDBProvider(table_name=world.name, boto3_client=resource)
    attachment = attached(provider.table, world)
    assert provider.get_multiple("app") == {"a": "A", "b": "B"}
    simple = make()
    simple.put({"id": "limit", "value": "10"})
    simple.mirror({"id": "limit"})
    simple.is_complete()
    one: Any = DynamoDBProvider(table_name=simple.name, boto3_client=resource)
    other = attached(one.table, simple)
    assert one.get("limit") == "10"
    assert (attachment.counts["Query"].cache, other.counts["GetItem"].cache) == (1, 1)


def test_idempotency_of_powertools_reads_the_table(
    make: MakeMirrored, client: Any, attached: Attached
) -> None:
    world = make()
    world.is_complete()
    attachment = attached(client, world)
    layer = DynamoDBPersistenceLayer(table_name=world.name, boto3_client=client)
    charged: list[str] = []

    context: Any = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
    once: Any = idempotent_function(
        data_keyword_argument="order",
        persistence_store=layer,
        config=IdempotencyConfig(lambda_context=context),
    )

    def pay(*, order: dict[str, str]) -> dict[str, str]:
        charged.append(order["id"])
        return {"id": order["id"]}

    charge = once(pay)
    assert [charge(order={"id": "1"}) for _ in range(3)] == [{"id": "1"}] * 3
    assert charged == ["1"]
    assert "cache" not in {name for name, one in attachment.counts.items() if one.cache}
    assert attachment.faults == 0


def test_paginators_and_waiters_of_boto3_work(
    world: Mirrored, client: Any, attached: Attached
) -> None:
    request = {
        "TableName": world.name,
        "KeyConditionExpression": "pk = :p",
        "ExpressionAttributeValues": {":p": {"S": "a"}},
        "PaginationConfig": {"PageSize": 3},
    }
    pages = client.get_paginator("query")
    own = [page["Items"] for page in pages.paginate(**request)]
    attachment = attached(client, world)
    answers = list(pages.paginate(**request))
    assert [page["Items"] for page in answers] == own
    assert {source_of(page) for page in answers} == {"cache"}
    client.get_waiter("table_exists").wait(TableName=world.name)
    assert attachment.counts.keys() == {"Query"}


def test_a_stubbed_answer_stays_one(world: Mirrored, client: Any, attached: Attached) -> None:
    attachment = attached(client, world)
    key = {"pk": {"S": "a"}, "sk": {"S": "1"}}
    with Stubber(client) as stubber:
        stubber.add_response("get_item", {"Item": {"pk": {"S": "stubbed"}}})
        assert client.get_item(TableName=world.name, Key=key)["Item"]["pk"] == {"S": "stubbed"}
    assert attachment.counts == {}
    assert source_of(client.get_item(TableName=world.name, Key=key)) == "cache"
