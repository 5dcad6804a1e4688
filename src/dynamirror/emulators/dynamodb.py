"""DynamoDB and its streams on this machine, emulated by MiniStack."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.ministack import start_ministack
from dynamirror.emulators.process import HOST, EmbeddedServer
from dynamirror.extras import check_installed

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

REGION = "us-east-1"


class EmbeddedDynamoDB(EmbeddedServer):
    """An emulator of DynamoDB, ready for use.

    Raises:
        MissingExtraError: the emulator is not installed.
        DynamirrorError: it did not start.
    """

    def __init__(self) -> None:
        check_installed("DynamoDB on this machine", "ministack", "local")
        self._process = start_ministack("dynamodb,dynamodbstreams")
        self.aws = Aws(
            region=REGION,
            endpoint_url=f"http://{HOST}:{self._process.port}",
            credentials=("local", "local"),
        ).shared()

    @property
    def endpoint_url(self) -> str:
        """The URL of the emulator."""
        assert self.aws.endpoint_url is not None
        return self.aws.endpoint_url


def create_table(
    client: "DynamoDBClient",
    name: str,
    keys: Mapping[str, str],
    *,
    view_type: str | None = "NEW_AND_OLD_IMAGES",
) -> None:
    """Create a table with a stream, and wait until it is ready.

    Args:
        client: boto3's dynamodb client.
        name: the table's name.
        keys: types (S, N or B) by key attribute, partition key first.
        view_type: the view type of the stream; None for no stream.
    """
    stream: Any = {"StreamEnabled": view_type is not None}
    if view_type:
        stream["StreamViewType"] = view_type
    try:
        client.create_table(
            TableName=name,
            KeySchema=[
                {"AttributeName": key, "KeyType": "RANGE" if number else "HASH"}
                for number, key in enumerate(keys)
            ],
            AttributeDefinitions=[
                {"AttributeName": key, "AttributeType": tag}  # type: ignore[typeddict-item]
                for key, tag in keys.items()
            ],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification=stream,
        )
    except client.exceptions.ResourceInUseException as error:
        # On a busy machine, boto3 may repeat a request that the emulator carries out already.
        if not error.response["ResponseMetadata"]["RetryAttempts"]:
            raise
    client.get_waiter("table_exists").wait(
        TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )


def write_items(client: "DynamoDBClient", table: str, items: Iterable[Mapping[str, Any]]) -> None:
    """Put many items, 25 at a time."""
    batch: list[Any] = []
    for item in items:
        batch.append({"PutRequest": {"Item": item}})
        if len(batch) == _BATCH:
            _write_batch(client, table, batch)
            batch = []
    if batch:
        _write_batch(client, table, batch)


_BATCH = 25  # the limit of BatchWriteItem


def _write_batch(client: "DynamoDBClient", table: str, batch: list[Any]) -> None:
    while batch:
        answer = client.batch_write_item(RequestItems={table: batch})
        batch = list(answer.get("UnprocessedItems", {}).get(table, []))
