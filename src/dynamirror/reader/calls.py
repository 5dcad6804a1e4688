"""The calls of readers as steps, for `Reader` and `AsyncReader` alike."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dynamirror.errors import ConfigError
from dynamirror.reader.arguments import query_arguments
from dynamirror.reader.completeness_check import CompletenessCheck
from dynamirror.reader.getting import ReadOptions, missed
from dynamirror.reader.guarded_cache import DOWN
from dynamirror.reader.metadata import metadata
from dynamirror.reader.mirrors import ON_MISS, OnMiss, index_views, named_view
from dynamirror.reader.source import Source
from dynamirror.reader.steps import Steps
from dynamirror.reader.table_items import item_response, read_batch, read_item
from dynamirror.reader.table_query import read_other_index, read_query
from dynamirror.settings import Settings, load_views
from dynamirror.views.view import Schema, ViewSpec, bind_views, fingerprint

Response = dict[str, Any]


class Parts(NamedTuple):
    """What a reader is made of, beside its connections.

    Args:
        settings: where the cache is.
        source: the view that is read.
        indexes: the views that are read by the names of indexes.
        failures: of a node of the cache, in a row, after which it is left alone.
        pause: seconds for which it is.
    """

    settings: Settings
    source: Source
    indexes: Mapping[str, Source]
    failures: int
    pause: float


def check_on_miss(on_miss: object) -> None:
    """Refuse what is no way to answer a miss.

    Raises:
        ConfigError: it is neither `table` nor `absent`.
    """
    if on_miss not in ON_MISS:
        raise ConfigError(f"on_miss: must be 'table' or 'absent', not {on_miss!r}")


def parts_of(
    settings: Settings,
    schema: Schema,
    *,
    view: str | None,
    views: Sequence[ViewSpec] | None,
    on_miss: OnMiss,
    failures: int,
    pause: float,
) -> Parts:
    """Return the parts of a reader; the arguments are those of `Reader`.

    Raises:
        ConfigError: there is no such view, or its entries cannot be found by primary key.
    """
    specs = load_views(settings.config) if views is None else views
    bound = bind_views(specs, schema)
    indexes = index_views(bound)
    others = len(indexes) < len(bound)
    if others and view in indexes:
        raise ConfigError(f"view: {view} is an index view; read it by IndexName={view!r}")
    chosen = named_view(
        [one for one in bound if one.name not in indexes] if others else bound, view
    )
    check = CompletenessCheck(schema.table, fingerprint(bound))
    source = Source(chosen, check, absent=on_miss == "absent")
    by_name = {name: Source(one, check, counter=source.counter) for name, one in indexes.items()}
    return Parts(settings, source, by_name, failures, pause)


def get_item(
    parts: Parts,
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
) -> Steps[Response]:
    """Read one item, as `Reader.get_item`."""
    source = parts.source
    place = source.place(Key, "GetItem")
    # A text or a mapping that is given is never false, but for what DynamoDB refuses.
    selecting = (
        ProjectionExpression is not None
        or ExpressionAttributeNames is not None
        or AttributesToGet is not None
        or ReturnConsumedCapacity is not None
    )
    if place is None and not selecting:  # the view is for other items
        return {"ResponseMetadata": metadata("cache")}
    if selecting or ConsistentRead or age or min_time is not None:
        given = {
            "ProjectionExpression": ProjectionExpression,
            "ExpressionAttributeNames": ExpressionAttributeNames,
            "AttributesToGet": AttributesToGet,
            "ReturnConsumedCapacity": ReturnConsumedCapacity,
        }
        wish = ReadOptions(ConsistentRead, min_time, wait, age)
        return (yield from read_item(source, place, Key, wish, given))
    assert place is not None
    seen = source.check.seen
    (reply,) = yield (place.reading,)
    item = None if reply is DOWN else source.entry(reply)
    if item is None:
        return item_response((yield from missed(source, place, reply, seen)))
    source.counter.add(hits=1)
    return {"Item": item, "ResponseMetadata": metadata("cache")}


def batch_get_item(
    parts: Parts,
    *,
    RequestItems: Mapping[str, Mapping[str, Any]],
    ReturnConsumedCapacity: str | None = None,
    min_time: float | None = None,
    wait: float = 0.0,
    age: bool = False,
) -> Steps[Response]:
    """Read items, as `Reader.batch_get_item`."""
    wish = ReadOptions(min_time=min_time, wait=wait, age=age)
    return (yield from read_batch(parts.source, RequestItems, wish, ReturnConsumedCapacity))


def query(
    parts: Parts,
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
) -> Steps[Response]:
    """Read the items of one partition, as `Reader.query`."""
    low = query_arguments(
        {
            "KeyConditionExpression": KeyConditionExpression,
            "FilterExpression": FilterExpression,
            "ProjectionExpression": ProjectionExpression,
            "ExpressionAttributeNames": ExpressionAttributeNames,
            "ExpressionAttributeValues": ExpressionAttributeValues,
            "Select": Select,
            "ScanIndexForward": ScanIndexForward,
            "Limit": Limit,
            "ExclusiveStartKey": ExclusiveStartKey,
            "IndexName": IndexName,
            "ReturnConsumedCapacity": ReturnConsumedCapacity,
            "KeyConditions": KeyConditions,
            "QueryFilter": QueryFilter,
            "ConditionalOperator": ConditionalOperator,
            "AttributesToGet": AttributesToGet,
        }
    )
    source = parts.source if IndexName is None else parts.indexes.get(IndexName)
    if source is None:
        table = parts.source.view.schema.table
        return (yield from read_other_index(table, low, consistent=ConsistentRead))
    return (yield from read_query(source, low, consistent=ConsistentRead, dated=age))
