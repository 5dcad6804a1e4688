"""Queries of a `Reader`: by the index where the mirror is complete, else by the table."""

from collections.abc import Mapping, Sequence
from typing import Any

from dynamirror.errors import ConfigError, NotUnderstoodError
from dynamirror.reader.arguments import Arguments, on_the_wire
from dynamirror.reader.capacity import consumed, units
from dynamirror.reader.metadata import metadata
from dynamirror.reader.querying import Page, Shape, read_in_order
from dynamirror.reader.requests import NoIndexError, QueryRequest, query_request
from dynamirror.reader.sizes import item_size, typed_size
from dynamirror.reader.source import Source
from dynamirror.reader.steps import Steps, TableRequest
from dynamirror.reader.values import values_of

_OF_KEYS = ("KeyConditionExpression", "KeyConditions", "ScanIndexForward", "Limit")
_OTHERS = ("ExclusiveStartKey", "ReturnConsumedCapacity", "IndexName")


def read_query(
    source: Source, low: Arguments, *, consistent: bool, dated: bool
) -> Steps[dict[str, Any]]:
    """Answer a query with values of Python.

    Args:
        source: the view.
        low: the arguments, as the low-level client takes them.
        consistent: whether the table is read at once.
        dated: whether the answer's age is wanted.

    Raises:
        ConfigError: the view cannot answer such a query.
        ValueError: a text is not valid Unicode.
    """
    request = _understood(source, low)
    if request is not None and not consistent:
        shape = _shape(source, request)
        page = yield from read_in_order(source.check, request.ordered, shape, dated=dated)
        if isinstance(page, Page):
            answer = _from_cache(source, request, page)
            if answer is not None:
                source.counter.add(hits=1)
                return answer
    source.counter.add(fallbacks=0 if consistent else 1)
    return (yield from _from_table(source, low, request, consistent=consistent))


def read_other_index(table: str, low: Arguments, *, consistent: bool) -> Steps[dict[str, Any]]:
    """Ask the table for a query of an index that no view is."""
    answer = yield _request(table, low, consistent=consistent)
    return _own(answer)


def _understood(source: Source, low: Arguments) -> QueryRequest | None:
    try:
        request = query_request(on_the_wire(low), source.view)
    except NoIndexError:
        raise ConfigError(
            f"view {source.view.name} keeps no index to query; set `collection = true` in it"
        ) from None
    except NotUnderstoodError:
        return None
    if not source.is_typed and (request.keeps or request.projection):
        raise ConfigError(
            f"view {source.view.name}: its encoding, {source.view.encoding.name}, keeps no types, "
            "which filters and projections need; use dynamodb-json"
        )
    return request


def _shape(source: Source, request: QueryRequest) -> Shape:
    """Return how entries are read: as values of Python, unless their types are needed."""
    if request.keeps or request.projection or (request.kind and source.is_typed):
        return Shape(source.item, typed_size)
    return Shape(source.entry, item_size, is_text=source.view.encoding.attributes is None)


def _from_cache(source: Source, request: QueryRequest, page: Page) -> dict[str, Any] | None:
    """Return the answer of the cache; None if it cannot be known."""
    shape = _shape(source, request)
    try:
        answer = _finished(request, page.items, typed=shape.measure is typed_size)
    except NotUnderstoodError:
        return None
    if page.last is not None:
        answer["LastEvaluatedKey"] = values_of(page.last)
    if request.kind:
        charged = units(sum(map(shape.measure, page.items)))
        table = source.view.schema.table
        answer["ConsumedCapacity"] = consumed(request.kind, table, charged, request.index_name)
    age = page.age(source.age)
    return {**answer, "ResponseMetadata": metadata("cache", age)}


def _finished(request: QueryRequest, items: Sequence[Any], *, typed: bool) -> dict[str, Any]:
    """Return the members of an answer that say what was found.

    Raises:
        NotUnderstoodError: DynamoDB's answer is not known.
    """
    kept: Sequence[Any] = items
    if request.keeps is not None:
        kept = [item for item in items if request.keeps.holds(item)]
    counts = {"Count": len(kept), "ScannedCount": len(items)}
    if request.is_count:
        return counts
    if request.projection is not None:
        kept = [request.projection.of(item) for item in kept]
    return {"Items": [values_of(item) for item in kept] if typed else list(kept), **counts}


def _from_table(
    source: Source, low: Arguments, request: QueryRequest | None, *, consistent: bool
) -> Steps[dict[str, Any]]:
    """Ask the table, and show its items as the view does."""
    table = source.view.schema.table
    as_it_is = source.is_whole or "IndexName" in low
    if as_it_is or request is None:
        answer = yield _request(table, low, consistent=consistent)
        if not as_it_is:
            raise ConfigError(
                f"view {source.view.name}: a query of it has a part that is not understood, so "
                "that only a view of whole items could answer it"
            )
        return _own(answer)
    answer = yield _request(table, _of_keys(low, request), consistent=True)
    typed = _shape(source, request).measure is typed_size
    shown = [source.as_entry(item, typed=typed) for item in answer["Items"]]
    try:
        result = _finished(request, [item for item in shown if item is not None], typed=typed)
    except NotUnderstoodError:
        raise ConfigError(
            f"view {source.view.name}: whether an item fulfils the filter is not known, so that "
            "only a view of whole items could answer it"
        ) from None
    return {**result, **_others(answer), "ResponseMetadata": _metadata(answer)}


def _of_keys(low: Arguments, request: QueryRequest) -> Arguments:
    """Return the arguments without those that concern what the view shows."""
    arguments = {name: low[name] for name in (*_OF_KEYS, *_OTHERS) if name in low}
    for name in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
        used = {key: low[name][key] for key in low.get(name, ()) if key in request.placeholders}
        if used:
            arguments[name] = used
    return arguments


def _request(table: str, low: Arguments, *, consistent: bool) -> TableRequest:
    # An index in the table takes no consistent reads, unless it is a local one.
    is_consistent = consistent if "IndexName" in low else True
    return TableRequest("query", {**low, "TableName": table, "ConsistentRead": is_consistent})


def _own(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return DynamoDB's answer with values of Python."""
    items = [values_of(item) for item in answer.get("Items", ())]
    result = {"Items": items} if "Items" in answer else {}
    counts = {name: answer[name] for name in ("Count", "ScannedCount")}
    return {**result, **counts, **_others(answer), "ResponseMetadata": _metadata(answer)}


def _others(answer: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if "LastEvaluatedKey" in answer:
        result["LastEvaluatedKey"] = values_of(answer["LastEvaluatedKey"])
    if "ConsumedCapacity" in answer:
        result["ConsumedCapacity"] = answer["ConsumedCapacity"]
    return result


def _metadata(answer: Mapping[str, Any]) -> dict[str, Any]:
    return metadata("table", 0.0, answer["ResponseMetadata"])
