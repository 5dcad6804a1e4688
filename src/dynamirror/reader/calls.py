"""The calls of readers as steps, for `Reader` and `AsyncReader` alike."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from botocore.exceptions import ParamValidationError

from dynamirror.dynamodb.keys import identity
from dynamirror.errors import ConfigError
from dynamirror.reader import conditions
from dynamirror.reader.freshness import oldest
from dynamirror.reader.getting import Answer, ReadOptions, get, missed
from dynamirror.reader.guarded_cache import DOWN
from dynamirror.reader.metadata import metadata
from dynamirror.reader.mirrors import named_view
from dynamirror.reader.querying import Query, QueryPage, from_index, from_table, start_key
from dynamirror.reader.refusals import DUPLICATES, misfit, refusal
from dynamirror.reader.source import Source
from dynamirror.reader.steps import Steps
from dynamirror.settings import Settings, load_views
from dynamirror.views.view import Schema, ViewSpec, bind_views, fingerprint

Response = dict[str, Any]
OnMiss = Literal["table", "absent"]


class Parts(NamedTuple):
    """What a reader is made of, beside its connections.

    Args:
        settings: where the cache is.
        source: the view that is read.
        failures: of a node of the cache, in a row, after which it is left alone.
        pause: seconds for which it is.
    """

    settings: Settings
    source: Source
    failures: int
    pause: float


def check_on_miss(on_miss: object) -> None:
    """Refuse what is no way to answer a miss.

    Raises:
        ConfigError: it is neither `table` nor `absent`.
    """
    if on_miss not in ("table", "absent"):
        raise ConfigError(f"on_miss: must be 'table' or 'absent', not {on_miss!r}")


def source_of(
    settings: Settings,
    schema: Schema,
    *,
    view: str | None,
    views: Sequence[ViewSpec] | None,
    on_miss: OnMiss,
) -> Source:
    """Return the view to read; the arguments are those of `Reader`.

    Raises:
        ConfigError: there is no such view, or its entries cannot be found by primary key.
    """
    specs = load_views(settings.config) if views is None else views
    bound = bind_views(specs, schema)
    chosen = named_view(bound, view)
    return Source(view=chosen, views=fingerprint(bound), absent=on_miss == "absent")


def get_item(
    source: Source,
    *,
    Key: Mapping[str, Any],
    ConsistentRead: bool = False,
    min_time: float | None = None,
    wait: float = 0.0,
    age: bool = False,
) -> Steps[Response]:
    """Read one item, as `Reader.get_item`."""
    place = source.place(Key, "GetItem")
    if place is None:  # the view is for other items
        return response(Answer(None, "cache"))
    if ConsistentRead or age or min_time is not None:
        wish = ReadOptions(ConsistentRead, min_time, wait, age)
        (answer,) = yield from get(source, [place], wish)
        return response(answer)
    seen = source.check.seen
    (reply,) = yield (place.reading,)
    item = None if reply is DOWN else source.entry(reply)
    if item is None:
        return response((yield from missed(source, place, reply, seen)))
    source.counter.add(hits=1)
    return {"Item": item, "ResponseMetadata": metadata("cache")}


def batch_get_item(
    source: Source,
    *,
    RequestItems: Mapping[str, Mapping[str, Any]],
    min_time: float | None = None,
    wait: float = 0.0,
    age: bool = False,
) -> Steps[Response]:
    """Read items, as `Reader.batch_get_item`."""
    table = source.view.schema.table
    asked = RequestItems.get(table)
    if asked is None or len(RequestItems) > 1 or asked.keys() - {"Keys", "ConsistentRead"}:
        raise ValueError(f'RequestItems must be {{"{table}": {{"Keys": [...]}}}}')
    places = [place for key in asked["Keys"] if (place := source.place(key, "BatchGetItem"))]
    if len({identity(place.item) for place in places}) < len(places):
        raise refusal("BatchGetItem", DUPLICATES)
    wish = ReadOptions(bool(asked.get("ConsistentRead")), min_time, wait, age)
    answers = yield from get(source, places, wish)
    sources = {answer.source for answer in answers}
    return {
        "Responses": {table: [one.item for one in answers if one.item is not None]},
        "UnprocessedKeys": {},
        "ResponseMetadata": metadata(
            sources.pop() if len(sources) == 1 else "mixed" if sources else "cache",
            oldest([one.age for one in answers if one.item is not None]),
        ),
    }


def query(
    source: Source,
    *,
    KeyConditionExpression: object,
    ScanIndexForward: bool = True,
    Limit: int | None = None,
    ExclusiveStartKey: Mapping[str, Any] | None = None,
    ConsistentRead: bool = False,
    age: bool = False,
) -> Steps[Response]:
    """Read the items of one partition, as `Reader.query`."""
    view = source.view
    if view.collection is None:
        raise ConfigError(
            f"view {view.name} keeps no index to query; set `collection = true` in it"
        )
    _check_limit(Limit)
    condition = conditions.parse(KeyConditionExpression, view.schema)
    start = None if ExclusiveStartKey is None else start_key(ExclusiveStartKey, condition)
    wish = Query(condition, ScanIndexForward, Limit, start)
    page = None if ConsistentRead else (yield from from_index(source, wish, dated=age))
    if page is not None:
        source.counter.add(hits=1)
    else:
        source.counter.add(fallbacks=0 if ConsistentRead else 1)
        page = yield from from_table(source, wish)
    return _page_response(page)


def _check_limit(limit: object) -> None:
    """Refuse what boto3 refuses.

    Raises:
        ParamValidationError: it is no number of items.
    """
    if limit is None:
        return
    if not isinstance(limit, int):
        raise misfit("Limit", limit, int)
    if limit < 1:
        raise ParamValidationError(
            report=f"Invalid value for parameter Limit, value: {limit}, valid min value: 1"
        )


def response(answer: Answer) -> Response:
    response = {"ResponseMetadata": metadata(answer.source, answer.age, answer.own)}
    return response if answer.item is None else {"Item": answer.item, **response}


def _page_response(page: QueryPage) -> Response:
    response = {"Items": page.items, "Count": len(page.items), "ScannedCount": len(page.items)}
    if page.last is not None:
        response["LastEvaluatedKey"] = page.last
    return {**response, "ResponseMetadata": metadata(page.source, page.age, page.own)}
