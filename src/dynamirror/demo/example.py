"""Example items beside a `mirror.toml`, and random changes of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import time
from typing import TYPE_CHECKING, Any

from dynamirror.demo.dataset import check_keys
from dynamirror.demo.item_file import read_item_file
from dynamirror.dynamodb.client import aws_errors
from dynamirror.errors import ConfigError, RecordError
from dynamirror.settings import load_tables, load_views
from dynamirror.views.mirror_toml import TableSpec
from dynamirror.views.view import Schema, View, ViewSpec

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_TABLE = "users"
_DELETES, _CHANGED, _REMOVED = 0.2, 0.4, 0.1
_PROBE: dict[str, Any] = {"S": "dynamirror-probe", "N": "0", "B": b"dynamirror"}
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
    if view is None or path is None or not path.exists():
        if tables:
            raise ConfigError(f"{path}: is missing; put some items of table {tables[0].name} there")
        return None
    schema = table_of(view, tables).schema
    return Example(schema, read_items(path, schema), expiry_attributes(load_views(view)))


def table_of(view: str | None, tables: Sequence[TableSpec]) -> TableSpec:
    """Return the only table of a `mirror.toml`; its key is `id` where the file does not name it.

    Raises:
        ConfigError: the file names several tables.
    """
    names = {table.name for table in tables}
    names |= {spec.table for spec in load_views(view) if spec.table}
    if len(names) > 1:
        raise ConfigError(
            f"the demo has one table, but {view} names {', '.join(sorted(names))}; name one"
        )
    return tables[0] if tables else TableSpec(next(iter(names), _TABLE), {"id": "S"})


def expiry_attributes(specs: Sequence[ViewSpec]) -> frozenset[str]:
    """Return the attributes that hold an item's expiry, without nested ones."""
    return frozenset(spec.ttl for spec in specs if spec.ttl and "." not in spec.ttl)


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
    """Return the items of a file, in any format of `read_item_file`.

    Raises:
        ConfigError: the file cannot be read, or an item lacks the table's key.
    """
    file = read_item_file(str(path))
    check_keys(str(path), file, schema)
    return file.items


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
