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
from dynamirror.reader.calls import OnMiss, Parts, Response, check_on_miss, response, source_of
from dynamirror.reader.getting import Answer, missed
from dynamirror.reader.guarded_cache import DOWN, GuardedCache, ReadCounts
from dynamirror.reader.metadata import metadata
from dynamirror.reader.steps import Steps, run
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
        source = source_of(settings, schema, view=view, views=views, on_miss=on_miss)
        self.parts = Parts(settings, source, failures, pause)
        self.ask_table = partial(table_requests.ask, client)
        self._cache = cache or Cache(settings)
        self._shares = cache is not None
        self._source = source
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
    ) -> Response:
        """Read one item: `{"Item": ...}`, without `Item` if there is none.

        Args:
            Key: its primary key.
            ConsistentRead: read the table.
            min_time: seconds since 1970 of a write to this item that must be visible: if it is not
                within `wait`, the table is read. Streams date to the second (docs/reading.md).
            wait: seconds.
            age: whether to return the seconds since the item shown was written.

        Raises:
            ClientError: DynamoDB refused, or would refuse, the request.
            BotoCoreError: boto3 would not send it, or the table had to be read and cannot be.
            TypeError: DynamoDB has no such values.
            ValueError: a text is not valid Unicode.
            SourceError: DynamoDB's answer was damaged.
        """
        source = self._source
        if ConsistentRead or age or min_time is not None:
            steps = calls.get_item(
                source,
                Key=Key,
                ConsistentRead=ConsistentRead,
                min_time=min_time,
                wait=wait,
                age=age,
            )
            return self._run(steps)
        # The same as `calls.get_item`, without steps: a hit is to cost little more than a GET.
        place = source.place(Key, "GetItem")
        if place is None:  # the view is for other items
            return response(Answer(None, "cache"))
        seen = source.check.seen
        reply = self._guarded.ask(place.reading)
        item = None if reply is DOWN else source.entry(reply)
        if item is None:
            return response(self._run(missed(source, place, reply, seen)))
        source.counter.add(hits=1)
        return {"Item": item, "ResponseMetadata": metadata("cache")}

    def batch_get_item(
        self,
        *,
        RequestItems: Mapping[str, Mapping[str, Any]],
        min_time: float | None = None,
        wait: float = 0.0,
        age: bool = False,
    ) -> Response:
        """Read any number of items of the table; they come in the order of their keys.

        Args:
            RequestItems: `{table: {"Keys": [...]}}`, with `"ConsistentRead": True` if wanted.
            min_time: as in `get_item`; of a write to each.
            wait: seconds.
            age: whether to return the seconds since the oldest item shown was written.

        Raises:
            ValueError: another table is named, or what a reader does not know.
            ClientError: as `get_item`, as are the others.
        """
        steps = calls.batch_get_item(
            self._source, RequestItems=RequestItems, min_time=min_time, wait=wait, age=age
        )
        return self._run(steps)

    def query(
        self,
        *,
        KeyConditionExpression: object,
        ScanIndexForward: bool = True,
        Limit: int | None = None,
        ExclusiveStartKey: Mapping[str, Any] | None = None,
        ConsistentRead: bool = False,
        age: bool = False,
    ) -> Response:
        """Read the items of one partition in the order of their sort keys.

        While the mirror is complete, the cache's index lists the items; else the table does.

        Args:
            KeyConditionExpression: as in `Key("pk").eq("a") & Key("sk").between(1, 5)`.
            ScanIndexForward: whether in ascending order.
            Limit: how many at the most; default a page of 1 MB.
            ExclusiveStartKey: the LastEvaluatedKey of the page before.
            ConsistentRead: ask the table.
            age: whether to return the seconds since the oldest item shown was written.

        Raises:
            ConfigError: the view keeps no index.
            TypeError: the condition is none of boto3's objects.
            ClientError: as `get_item`, as are the others.
        """
        steps = calls.query(
            self._source,
            KeyConditionExpression=KeyConditionExpression,
            ScanIndexForward=ScanIndexForward,
            Limit=Limit,
            ExclusiveStartKey=ExclusiveStartKey,
            ConsistentRead=ConsistentRead,
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
