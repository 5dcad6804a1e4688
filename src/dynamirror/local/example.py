"""Items that lie beside a `mirror.toml`, and random changes made from them."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random
from time import time
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeSerializer

from dynamirror.aws import aws_errors
from dynamirror.config import TableSpec, load_tables, load_views
from dynamirror.errors import ConfigError, RecordError
from dynamirror.view import Schema, View

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_TAGS = frozenset(("S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"))
_DELETES, _CHANGED, _REMOVED = 0.2, 0.4, 0.1
_PROBE = {"S": "dynamirror-probe", "N": "0", "B": "ZHluYW1pcnJvcg=="}
# What a probe shows must not expire while it is looked for.
_LONG = 3600


@dataclass(frozen=True, slots=True)
class ItemChange:
    """One write to make.

    Args:
        key: the item's primary key.
        item: the item to put, in DynamoDB JSON; None for a delete.
    """

    key: dict[str, Any]
    item: dict[str, Any] | None

    def write(self, client: "DynamoDBClient", table: str) -> None:
        """Make the write.

        Raises:
            SourceError: DynamoDB did not take it.
        """
        with aws_errors(f"table {table}"):
            if self.item is None:
                client.delete_item(TableName=table, Key=self.key)
            else:
                client.put_item(TableName=table, Item=self.item)


@dataclass(frozen=True, slots=True)
class Example:
    """A table and its items.

    Args:
        schema: of the table.
        items: in DynamoDB JSON.
        ttl: names of the attributes that tell when an item expires.
    """

    schema: Schema
    items: list[dict[str, Any]]
    ttl: frozenset[str] = frozenset()

    def changes(self, rng: Random, now: Callable[[], float] = time) -> Iterator[ItemChange]:
        """Draw changes without end: deletes, and items that take values from one another.

        So items move from view to view, lose attributes, expire, and come back.

        Args:
            rng: the random source.
            now: seconds since 1970.
        """
        while True:
            item = dict(rng.choice(self.items))
            key = {name: item[name] for name in self.schema.keys}
            if rng.random() < _DELETES:
                yield ItemChange(key, None)
                continue
            for name in [name for name in item if name not in key]:
                if rng.random() < _REMOVED:
                    del item[name]
                elif rng.random() < _CHANGED:
                    item[name] = rng.choice([one[name] for one in self.items if name in one])
            for name in self.ttl & item.keys():
                item[name] = {"N": str(int(now()) + rng.choice([1, 3, 3600, 86_400]))}
            yield ItemChange(key, item)


def load_example(view: str | None) -> Example | None:
    """The table of a `mirror.toml` and the items beside it; None where there are none.

    Raises:
        ConfigError: a file is wrong, or tells of a table, but not of its items.
    """
    tables = load_tables(view)
    path = Path(view).parent / "items.json" if view else None
    if path is None or not path.exists():
        if tables:
            raise ConfigError(f"{path}: is missing; put some items of table {tables[0].name} there")
        return None
    specs = load_views(view)
    names = {table.name for table in tables} | {one.table for one in specs if one.table}
    if len(names) > 1:
        raise ConfigError(
            f"the demo has one table, but {view} names {', '.join(sorted(names))}; name one"
        )
    table = tables[0] if tables else TableSpec(next(iter(names), "users"), {"id": "S"})
    ttl = frozenset(one.ttl for one in specs if one.ttl and "." not in one.ttl)
    return Example(table.schema, read_items(path, table.schema), ttl)


def read_items(path: Path, schema: Schema) -> list[dict[str, Any]]:
    """Read items of a table: an array of objects, of plain JSON or DynamoDB JSON.

    Raises:
        ConfigError: the file cannot be read, or an item is not one of the table.
    """
    try:
        rows: Any = json.loads(path.read_text("utf-8"), parse_float=Decimal, parse_int=Decimal)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON in UTF-8: {error}") from None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path}: must be an array of objects, at least one")
    items: list[dict[str, Any]] = []
    for number, row in enumerate(rows, 1):
        try:
            item = row if _is_typed(row) else dict(TypeSerializer().serialize(row)["M"])
        except (TypeError, ArithmeticError, RecursionError) as error:
            raise ConfigError(f"{path}: item {number}: DynamoDB cannot hold it: {error}") from None
        _check_key(item, schema, f"{path}: item {number}")
        items.append(item)
    return items


def _check_key(item: dict[str, Any], schema: Schema, where: str) -> None:
    for name, tag in zip(schema.keys, schema.types, strict=True):
        if not item.get(name, {}).get(tag):
            raise ConfigError(f"{where}: lacks the key attribute {name} of type {tag}")


def _is_typed(row: dict[str, Any]) -> bool:
    return all(
        isinstance(value, dict) and len(value) == 1 and value.keys() <= _TAGS
        for value in row.values()
    )


@dataclass(frozen=True, slots=True)
class Probe:
    """An item that nobody else writes, one attribute of which shows in a view.

    Args:
        view: where it shows.
        key: of its entry.
        base: the item.
        name: the attribute.
    """

    view: View
    key: str
    base: dict[str, Any]
    name: str

    def item(self, number: int) -> dict[str, Any]:
        """The item with a number to tell it by."""
        return {**self.base, self.name: {"S": f"probe {number}"}}


def find_probe(views: Sequence[View], items: Sequence[dict[str, Any]]) -> Probe | None:
    """An item, much like one of these, that can be watched; None if none shows what changes."""
    for view in views:
        partition, tag = view.schema.keys[0], view.schema.types[0]
        for one in items:
            base = {**one, partition: {tag: _PROBE[tag]}}
            for name in [name for name in one if name not in view.schema.keys]:
                found = _probe(view, base, name)
                if found is not None:
                    return found
    return None


def _probe(view: View, base: dict[str, Any], name: str) -> Probe | None:
    try:
        key = view.render({**base, name: {"S": "probe 0"}})
        if key is None:
            return None
        probe = Probe(view, key, base, name)
        first, second = probe.item(1), probe.item(2)
        until = view.expires(first)
        lasts = until is None or until > time() + _LONG
        fixed = view.render(first) == view.render(second) == key
        return probe if fixed and lasts and view.encode(first) != view.encode(second) else None
    except RecordError:
        return None
