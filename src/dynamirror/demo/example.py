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


def items_path(view: str, tables: Sequence[TableSpec], table: str) -> Path:
    """Return the path of a table's items: `items.json` beside the views, or one file per table.

    Args:
        view: path of the `mirror.toml`.
        tables: tables of the file.
        table: name of the table.
    """
    folder = Path(view).parent
    return folder / "items" / f"{table}.json" if len(tables) > 1 else folder / "items.json"


def load_example(view: str | None, table: str | None = None) -> Example | None:
    """Return a table of a `mirror.toml` with the items beside it, or None without items.

    Args:
        view: path of the `mirror.toml`; None for none.
        table: name of one of its tables; None for the only one.

    Raises:
        ConfigError: a file is wrong, or defines a table without items.
    """
    if view is None:
        return None
    tables = load_tables(view)
    specs = load_views(view)
    if table is None:
        schema = table_of(view, tables).schema
    else:
        schema = next(spec.schema for spec in tables if spec.name == table)
        specs = tuple(spec for spec in specs if spec.table in (None, table))
    path = items_path(view, tables, schema.table)
    if not path.exists():
        if tables:
            raise ConfigError(f"{path}: is missing; put some items of table {schema.table} there")
        return None
    return Example(schema, read_items(path, schema), expiry_attributes(specs))


def table_names(view: str | None) -> tuple[str, ...]:
    """Return the tables of a `mirror.toml` that has several; else nothing.

    Raises:
        ConfigError: the file is wrong, or a view's table lacks its keys.
    """
    names = [table.name for table in load_tables(view)]
    if len(names) < 2:  # noqa: PLR2004 - several
        return ()
    for spec in load_views(view):
        if spec.table is not None and spec.table not in names:
            raise ConfigError(
                f"{view}: view {spec.name}: there is no [[table]] {spec.table}; add one with name "
                "and keys"
            )
    return tuple(names)


def table_of(view: str | None, tables: Sequence[TableSpec]) -> TableSpec:
    """Return the only table of a `mirror.toml`; its key is `id` where the file does not name it.

    Raises:
        ConfigError: the file names several tables.
    """
    names = {table.name for table in tables}
    names |= {spec.table for spec in load_views(view) if spec.table}
    if len(names) > 1:
        raise ConfigError(
            f"{view}: names the tables {', '.join(sorted(names))}; add a [[table]] with name and "
            "keys for each"
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
