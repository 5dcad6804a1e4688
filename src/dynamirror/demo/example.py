"""Example items beside a `mirror.toml`, and random changes of them."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random
from time import time
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeSerializer

from dynamirror.dynamodb.client import aws_errors
from dynamirror.errors import ConfigError, RecordError
from dynamirror.settings import load_tables, load_views
from dynamirror.views.mirror_toml import TableSpec
from dynamirror.views.view import Schema, View

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_TAGS = frozenset(("S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"))
_DELETES, _CHANGED, _REMOVED = 0.2, 0.4, 0.1
_PROBE = {"S": "dynamirror-probe", "N": "0", "B": "ZHluYW1pcnJvcg=="}
# An entry that expires sooner may be gone before the probe reads it.
_MIN_TTL_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class ItemChange:
    """One write of an item.

    Args:
        key: the item's primary key.
        item: the item to put, in DynamoDB JSON; None for a delete.
    """

    key: dict[str, Any]
    item: dict[str, Any] | None

    def write(self, client: "DynamoDBClient", table: str) -> None:
        """Write the item.

        Raises:
            SourceError: DynamoDB refuses the write.
        """
        with aws_errors(f"table {table}"):
            if self.item is None:
                client.delete_item(TableName=table, Key=self.key)
            else:
                client.put_item(TableName=table, Item=self.item)


@dataclass(frozen=True, slots=True)
class Example:
    """A table with items.

    Args:
        schema: the table's schema.
        items: items in DynamoDB JSON.
        ttl: names of the attributes that hold an item's expiry.
    """

    schema: Schema
    items: list[dict[str, Any]]
    ttl: frozenset[str] = frozenset()

    def changes(self, rng: Random, now: Callable[[], float] = time) -> Iterator[ItemChange]:
        """Yield random changes without end: deletes, and items with values of other items.

        Items move from view to view, lose attributes, expire, and come back.

        Args:
            rng: the random source.
            now: returns seconds since 1970.
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
                    item[name] = rng.choice([other[name] for other in self.items if name in other])
            for name in self.ttl & item.keys():
                item[name] = {"N": str(int(now()) + rng.choice([1, 3, 3600, 86_400]))}
            yield ItemChange(key, item)


def load_example(view: str | None) -> Example | None:
    """Return the table of a `mirror.toml` with the items beside it, or None without items.

    Raises:
        ConfigError: a file is wrong, or defines a table without items.
    """
    tables = load_tables(view)
    path = Path(view).parent / "items.json" if view else None
    if path is None or not path.exists():
        if tables:
            raise ConfigError(f"{path}: is missing; put some items of table {tables[0].name} there")
        return None
    specs = load_views(view)
    names = {table.name for table in tables} | {spec.table for spec in specs if spec.table}
    if len(names) > 1:
        raise ConfigError(
            f"the demo has one table, but {view} names {', '.join(sorted(names))}; name one"
        )
    table = tables[0] if tables else TableSpec(next(iter(names), "users"), {"id": "S"})
    ttl = frozenset(spec.ttl for spec in specs if spec.ttl and "." not in spec.ttl)
    return Example(table.schema, read_items(path, table.schema), ttl)


@contextmanager
def assumed_key_named(file: str | None) -> Iterator[None]:
    """Add to an error of the body that the table's key is assumed, where the file has no table.

    Args:
        file: path of a `mirror.toml`; None for none.

    Raises:
        ConfigError: views or items do not fit the key.
    """
    try:
        yield
    except ConfigError as error:
        is_of_key = any(words in str(error) for words in (" leaves out ", " lacks the key "))
        if file is None or not is_of_key or load_tables(file):
            raise
        raise ConfigError(
            f"{error}; {file} has no [[table]], so the key is assumed to be id (S): add a "
            "[[table]] with name and keys"
        ) from None


def read_items(path: Path, schema: Schema) -> list[dict[str, Any]]:
    """Return the items of a file: an array of objects in plain or DynamoDB JSON.

    Raises:
        ConfigError: the file cannot be read, or an item lacks the table's key.
    """
    try:
        objects: Any = json.loads(path.read_text("utf-8"), parse_float=Decimal, parse_int=Decimal)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not JSON in UTF-8: {error}") from None
    if not (isinstance(objects, list) and objects and all(isinstance(o, dict) for o in objects)):
        raise ConfigError(f"{path}: must be an array of objects, at least one")
    items: list[dict[str, Any]] = []
    for number, plain in enumerate(objects, 1):
        try:
            item = plain if _is_typed(plain) else dict(TypeSerializer().serialize(plain)["M"])
        except (TypeError, ArithmeticError, RecursionError) as error:
            raise ConfigError(f"{path}: item {number}: DynamoDB cannot hold it: {error}") from None
        _check_key(item, schema, f"{path}: item {number}")
        items.append(item)
    return items


def _check_key(item: dict[str, Any], schema: Schema, where: str) -> None:
    for name, tag in zip(schema.keys, schema.types, strict=True):
        if not item.get(name, {}).get(tag):
            raise ConfigError(f"{where}: lacks the key attribute {name} of type {tag}")


def _is_typed(item: dict[str, Any]) -> bool:
    return all(
        isinstance(value, dict) and len(value) == 1 and value.keys() <= _TAGS
        for value in item.values()
    )


@dataclass(frozen=True, slots=True)
class Probe:
    """An item that nobody else writes, with an attribute that shows in a view.

    Args:
        view: the view.
        key: the key of the item's entry.
        base: the item.
        name: the name of the attribute.
    """

    view: View
    key: str
    base: dict[str, Any]
    name: str

    def item(self, number: int) -> dict[str, Any]:
        """Return the item with a number in the attribute."""
        return {**self.base, self.name: {"S": f"probe {number}"}}


def find_probe(views: Sequence[View], items: Sequence[dict[str, Any]]) -> Probe | None:
    """Return a probe that resembles one of the items, or None if no view shows a change of one."""
    for view in views:
        partition, tag = view.schema.keys[0], view.schema.types[0]
        for item in items:
            base = {**item, partition: {tag: _PROBE[tag]}}
            for name in [name for name in item if name not in view.schema.keys]:
                probe = _probe(view, base, name)
                if probe is not None:
                    return probe
    return None


def _probe(view: View, base: dict[str, Any], name: str) -> Probe | None:
    try:
        key = view.render({**base, name: {"S": "probe 0"}})
        if key is None:
            return None
        probe = Probe(view, key, base, name)
        first, second = probe.item(1), probe.item(2)
        until = view.expires(first)
        lasts = until is None or until > time() + _MIN_TTL_SECONDS
        has_one_key = view.render(first) == view.render(second) == key
        return (
            probe if has_one_key and lasts and view.encode(first) != view.encode(second) else None
        )
    except RecordError:
        return None
