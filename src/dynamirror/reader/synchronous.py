"""`Reader`: DynamoDB's reads, answered by the cache where it can and by the table where it must."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.client import Aws, describe_schema
from dynamirror.errors import ConfigError
from dynamirror.reader import calls
from dynamirror.reader import table as table_requests
from dynamirror.reader.calls import Response, check_on_miss, parts_of
from dynamirror.reader.getting import missed
from dynamirror.reader.guarded_cache import DOWN, GuardedCache, ReadCounts
from dynamirror.reader.metadata import metadata
from dynamirror.reader.mirrors import OnMiss
from dynamirror.reader.steps import Steps, run
from dynamirror.reader.table_items import item_response
from dynamirror.settings import Settings
from dynamirror.views.view import Schema, ViewSpec

if TYPE_CHECKING:
    import boto3
    from types_boto3_dynamodb import DynamoDBClient

_T = TypeVar("_T")


class Reader:
    """Reads one view of a table as boto3's resource does, but from its mirror.

    Safe for use by several threads at once. `ResponseMetadata["dynamirror"]` of an answer has
    its `source`, cache or table (or mixed), and its `age` where that was asked for.

    Args:
        settings: where the cache is.
        table: the table's name.
        view: name of the view; needed if the table has several.
        views: all views of the cache, as the mirror has them; default those of `settings.config`.
        client: boto3's DynamoDB client, which readers may share; default one is made.
        session: boto3's session, to make the client from.
        aws: how to reach DynamoDB where no client is given; default that of the environment.
        cache: connections to the cache that readers share, and that are not closed with this one.
        schema: the table's keys and their types; default DynamoDB is asked, once.
        on_miss: what an entry that the cache has not means: read the `table`, or the item is
            `absent`, which is believed only while the mirror is complete.
        failures: of a node of the cache, in a row, after which it is left alone.
        pause: seconds for which it is; then one caller tries again.

    Raises:
        ConfigError: there is no such view, its entries cannot be found by primary key, or
            arguments do not go together.
        SourceError: the table cannot be described.
    """

    def __init__(
        self,
        settings: Settings,
        table: str,
        *,
        view: str | None = None,
        views: Sequence[ViewSpec] | None = None,
        client: "DynamoDBClient | None" = None,
        session: "boto3.Session | None" = None,
        aws: Aws | None = None,
        cache: Cache | None = None,
        schema: Schema | None = None,
        on_miss: OnMiss = "table",
        failures: int = 3,
        pause: float = 5.0,
    ) -> None:
        check_on_miss(on_miss)
        client = _client(client, session, aws)
        if schema is None or not schema.types:
            schema, _ = describe_schema(client, table)
        self.parts = parts_of(
            settings,
            schema,
            view=view,
            views=views,
            on_miss=on_miss,
            failures=failures,
            pause=pause,
        )
        self.ask_table = partial(table_requests.ask, client)
        self._source = self.parts.source
        self._cache = cache or Cache(settings)
        self._shares = cache is not None
        self._guarded = GuardedCache(self._cache, failures=failures, pause=pause)

    @classmethod
    def from_env(cls, table: str | None = None, **options: Any) -> Self:
        """Make a reader of the cache and the views that environment variables name.

        docs/settings.md lists the variables. An endpoint on this machine needs neither
        credentials nor a region.

        Args:
            table: the table's name; default DYNAMODB_TABLE.
            options: further arguments of `Reader`, such as `view`.

        Raises:
            ConfigError: a variable is missing or wrong, or as `Reader`.
            SourceError: the table cannot be described.
        """
        name = table_of_env(table)
        return cls(Settings.from_env(os.environ), name, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the cache, unless they are shared."""
        if not self._shares:
            self._cache.close()

    @property
    def counts(self) -> ReadCounts:
        """Return the number of hits, misses and fallbacks so far."""
        return self._source.counter.counts

    def _run(self, steps: Steps[_T]) -> _T:
        return run(steps, self._guarded, self.ask_table)

    def get_item(
        self,
        *,
        Key: Mapping[str, Any],
        ConsistentRead: bool = False,
        min_time: float | None = None,
        wait: float = 0.0,
        age: bool = False,
        ProjectionExpression: str | None = None,
        ExpressionAttributeNames: Mapping[str, str] | None = None,
        AttributesToGet: Sequence[str] | None = None,
        ReturnConsumedCapacity: str | None = None,
    ) -> Response:
        """Read one item: `{"Item": ...}`, without `Item` if there is none.

        Args:
            Key: its primary key.
            ConsistentRead: read the table.
            min_time: seconds since 1970 of a write to this item that must be visible: if it is not
                within `wait`, the table is read. Streams date to the second (docs/reading.md).
            wait: seconds.
            age: whether to return the seconds since the item shown was written.
            ProjectionExpression: the parts of the item to return.
            ExpressionAttributeNames: names in the expression.
            AttributesToGet: the older form of a projection.
            ReturnConsumedCapacity: whether to return what DynamoDB would have charged.

        Raises:
            ClientError: DynamoDB refused, or would refuse, the request.
            BotoCoreError: boto3 would not send it, or the table had to be read and cannot be.
            ConfigError: the view cannot answer such a request.
            TypeError: DynamoDB has no such values.
            ValueError: a text is not valid Unicode.
            SourceError: DynamoDB's answer was damaged.
        """
        if (
            ConsistentRead
            or age
            or min_time is not None
            or ProjectionExpression is not None
            or ExpressionAttributeNames is not None
            or AttributesToGet is not None
            or ReturnConsumedCapacity is not None
        ):
            steps = calls.get_item(
                self.parts,
                Key=Key,
                ConsistentRead=ConsistentRead,
                min_time=min_time,
                wait=wait,
                age=age,
                ProjectionExpression=ProjectionExpression,
                ExpressionAttributeNames=ExpressionAttributeNames,
                AttributesToGet=AttributesToGet,
                ReturnConsumedCapacity=ReturnConsumedCapacity,
            )
            return self._run(steps)
        # The same as `calls.get_item`, without steps: a hit is to cost little more than a GET.
        source = self._source
        place = source.place(Key, "GetItem")
        if place is None:  # the view is for other items
            return {"ResponseMetadata": metadata("cache")}
        seen = source.check.seen
        reply = self._guarded.ask(place.reading)
        item = None if reply is DOWN else source.entry(reply)
        if item is None:
            return item_response(self._run(missed(source, place, reply, seen)))
        source.counter.add(hits=1)
        return {"Item": item, "ResponseMetadata": metadata("cache")}

    def batch_get_item(
        self,
        *,
        RequestItems: Mapping[str, Mapping[str, Any]],
        ReturnConsumedCapacity: str | None = None,
        min_time: float | None = None,
        wait: float = 0.0,
        age: bool = False,
    ) -> Response:
        """Read any number of items; those of the reader's table come in the order of their keys.

        Items of other tables are read from these.

        Args:
            RequestItems: `{table: {"Keys": [...]}}`, with `"ConsistentRead": True` or a projection
                if wanted.
            ReturnConsumedCapacity: whether to return what DynamoDB would have charged.
            min_time: as in `get_item`; of a write to each item of the reader's table.
            wait: seconds.
            age: whether to return the seconds since the oldest item shown was written.

        Raises:
            ClientError: as `get_item`, as are the others.
        """
        steps = calls.batch_get_item(
            self.parts,
            RequestItems=RequestItems,
            ReturnConsumedCapacity=ReturnConsumedCapacity,
            min_time=min_time,
            wait=wait,
            age=age,
        )
        return self._run(steps)

    def query(
        self,
        *,
        KeyConditionExpression: object = None,
        FilterExpression: object = None,
        ProjectionExpression: str | None = None,
        ExpressionAttributeNames: Mapping[str, str] | None = None,
        ExpressionAttributeValues: Mapping[str, Any] | None = None,
        Select: str | None = None,
        ScanIndexForward: bool = True,
        Limit: int | None = None,
        ExclusiveStartKey: Mapping[str, Any] | None = None,
        IndexName: str | None = None,
        ConsistentRead: bool = False,
        ReturnConsumedCapacity: str | None = None,
        KeyConditions: Mapping[str, Any] | None = None,
        QueryFilter: Mapping[str, Any] | None = None,
        ConditionalOperator: str | None = None,
        AttributesToGet: Sequence[str] | None = None,
        age: bool = False,
    ) -> Response:
        """Read the items of one partition in the order of their sort keys.

        While the mirror is complete, the cache's index lists the items; else the table does.

        Args:
            KeyConditionExpression: text, or as in `Key("pk").eq("a") & Key("sk").between(1, 5)`.
            FilterExpression: text, or as in `Attr("n").gt(1)`; which items to return.
            ProjectionExpression: the parts of items to return.
            ExpressionAttributeNames: names in the expressions.
            ExpressionAttributeValues: values in them.
            Select: COUNT for the number of items alone.
            ScanIndexForward: whether in ascending order.
            Limit: how many at the most, before the filter; default a page of 1 MB.
            ExclusiveStartKey: the LastEvaluatedKey of the page before.
            IndexName: a view that is an index, or an index of the table, which then answers.
            ConsistentRead: ask the table.
            ReturnConsumedCapacity: whether to return what DynamoDB would have charged.
            KeyConditions: the older form of a key condition.
            QueryFilter: that of a filter.
            ConditionalOperator: that of its AND and OR.
            AttributesToGet: that of a projection.
            age: whether to return the seconds since the oldest item shown was written.

        Raises:
            ConfigError: the view keeps no index, or cannot answer such a query.
            TypeError: an expression is neither text nor one of boto3's objects.
            ClientError: as `get_item`, as are the others.
        """
        steps = calls.query(
            self.parts,
            KeyConditionExpression=KeyConditionExpression,
            FilterExpression=FilterExpression,
            ProjectionExpression=ProjectionExpression,
            ExpressionAttributeNames=ExpressionAttributeNames,
            ExpressionAttributeValues=ExpressionAttributeValues,
            Select=Select,
            ScanIndexForward=ScanIndexForward,
            Limit=Limit,
            ExclusiveStartKey=ExclusiveStartKey,
            IndexName=IndexName,
            ConsistentRead=ConsistentRead,
            ReturnConsumedCapacity=ReturnConsumedCapacity,
            KeyConditions=KeyConditions,
            QueryFilter=QueryFilter,
            ConditionalOperator=ConditionalOperator,
            AttributesToGet=AttributesToGet,
            age=age,
        )
        return self._run(steps)


def table_of_env(table: str | None) -> str:
    """Return a table's name, or that of the environment.

    Raises:
        ConfigError: there is none.
    """
    table = table or os.environ.get("DYNAMODB_TABLE")
    if not table:
        raise ConfigError("no table is named; pass its name or set DYNAMODB_TABLE")
    return table


def written_at(response: Mapping[str, Any]) -> float:
    """Return the time of boto3's response to a write, by DynamoDB's clock, as a `min_time`."""
    date = response["ResponseMetadata"]["HTTPHeaders"]["date"]
    return parsedate_to_datetime(date).timestamp()


def _client(
    client: "DynamoDBClient | None", session: "boto3.Session | None", aws: Aws | None
) -> "DynamoDBClient":
    """Return the client to read with."""
    if client is None:
        if session is not None:
            return replace(aws or Aws(), session=session).dynamodb()
        return (aws or Aws.from_env()).dynamodb()
    if aws is not None or session is not None:
        raise ConfigError("client: goes with neither session nor aws, which make another")
    probe, event = low_level_probe(client)
    client.meta.events.emit(**event)
    check_low_level(probe)
    return client


def low_level_probe(client: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a request for `check_low_level`, and the event that a client converts it by."""
    probe: dict[str, Any] = {"TableName": "t", "Key": {"id": "text"}}
    event = {
        "event_name": "before-parameter-build.dynamodb.GetItem",
        "params": probe,
        "model": client.meta.service_model.operation_model("GetItem"),
        "context": {},
    }
    return probe, event


def check_low_level(probe: Mapping[str, Any]) -> None:
    """Refuse the client of a resource, which converts values of Python, and would convert ours too.

    Raises:
        ConfigError: the client has converted the probe.
    """
    if probe["Key"] != {"id": "text"}:
        raise ConfigError(
            'client: must be made by boto3.client("dynamodb"), not be that of a resource'
        )
