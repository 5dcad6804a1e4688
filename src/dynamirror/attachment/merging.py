"""A BatchGetItem that the cache answers in part: the table is asked for the rest."""

from collections.abc import Iterable, Mapping
from typing import Any

from dynamirror.attachment.answers import parsed_item
from dynamirror.reader.wire import PartialBatch


def merge(partial: PartialBatch, parsed: dict[str, Any]) -> None:
    """Add what the cache answered to DynamoDB's answer for the rest.

    Args:
        partial: what the cache answered.
        parsed: DynamoDB's answer as botocore parsed it.
    """
    responses = parsed.setdefault("Responses", {})
    for table, items in partial.responses.items():
        responses[table] = [*map(parsed_item, items), *responses.get(table, ())]
    if partial.capacity:
        asked = parsed.get("ConsumedCapacity", ())
        parsed["ConsumedCapacity"] = _sums([*partial.capacity, *asked])


def _sums(capacities: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one capacity for each table."""
    tables: dict[str, dict[str, Any]] = {}
    for capacity in capacities:
        name = capacity["TableName"]
        tables[name] = _sum(tables[name], capacity) if name in tables else dict(capacity)
    return list(tables.values())


def _sum(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(first)
    for name, value in second.items():
        if isinstance(value, Mapping):
            result[name] = _sum(result.get(name, {}), value)
        elif isinstance(value, int | float):
            result[name] = result.get(name, 0) + value
        else:
            result[name] = value
    return result
