"""A table's items from a file, and the key that identifies them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dynamirror.demo.item_file import ItemFile, read_item_file
from dynamirror.dynamodb.keys import can_exist
from dynamirror.errors import ConfigError, OptionError, RecordError
from dynamirror.records.attribute_value import number_text, typed
from dynamirror.records.key_codec import key_text
from dynamirror.views.view import Schema

_ID = (("id",), ("S",))
_KEY_TAGS = ("S", "N", "B")
_MOST_KEYS = 2


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table filled from a file.

    Args:
        schema: the table's schema.
        items: items in DynamoDB JSON, binary as bytes.
        key: how the items are identified, in words.
    """

    schema: Schema
    items: list[dict[str, Any]]
    key: str


def load_dataset(path: str, schema: Schema, key: str | None = None) -> Dataset:
    """Return the items of a file for a table; `id` of the key `id` is found or made.

    Where the table's key is `id`, it is the text of the attribute that `key` names. Without `key`
    it is the attribute `id` if that identifies every item, else the name of each object, else the
    first attribute that identifies every item.

    Args:
        path: path of the file; `read_item_file` describes its formats.
        schema: the table's schema; with a partition key and a sort key in `key`, only its name.
        key: the attribute to take the id from, or partition key and sort key as in `pk,sk`.

    Raises:
        ConfigError: the file is wrong, or no attribute identifies an item.
    """
    names = tuple(name.strip() for name in key.split(",")) if key is not None else ()
    if not all(names) or len(names) > _MOST_KEYS or len(set(names)) < len(names):
        raise OptionError(
            f"--key: {key!r} must be an attribute, or partition key and sort key as in pk,sk"
        )
    has_own_key = (schema.keys, schema.types) != _ID
    if has_own_key and names not in ((), schema.keys):
        raise OptionError(
            f"--key: the [[table]] {schema.table} has the key {','.join(schema.keys)}; omit --key"
        )
    file = read_item_file(path)
    if not has_own_key and len(names) <= 1:
        return _with_id(path, file, schema, names[0] if names else None)
    if not has_own_key:
        types = tuple(_type_of(path, file, name) for name in names)
        schema = Schema(schema.table, names, types)
    items = [_with_numbers(item, schema) for item in file.items] if file.is_csv else file.items
    check_keys(path, ItemFile(items, file.places), schema)
    return Dataset(schema, items, " and ".join(schema.keys))


def _with_id(path: str, file: ItemFile, schema: Schema, name: str | None) -> Dataset:
    name, ids = _ids(path, file, name)
    items = [{**item, "id": {"S": row_id}} for item, row_id in zip(file.items, ids, strict=True)]
    check_keys(path, ItemFile(items, file.places), schema)
    source = "the name of each object" if name is None else name
    return Dataset(schema, items, "id" if name == "id" else f"id, taken from {source}")


def _ids(path: str, file: ItemFile, name: str | None) -> tuple[str | None, Sequence[str]]:
    """Return the ids and the attribute that they are from, None for the names of the objects."""
    if name is not None:
        values = [_key_text(item, name) for item in file.items]
        for place, value in zip(file.places, values, strict=True):
            if value is None:
                raise ConfigError(f"{path}: {place}: lacks {name!r}, or it is no text or number")
        _check_different(path, file, values, name)
        return name, [value for value in values if value]
    if (ids := _identifying(file, "id")) is not None:
        return "id", ids
    if file.names is not None:
        return None, file.names
    for attribute in file.items[0]:
        if (ids := _identifying(file, attribute)) is not None:
            return attribute, ids
    raise ConfigError(
        f"{path}: no attribute differs in all rows; name one with --key, or two as in --key pk,sk"
    )


def _identifying(file: ItemFile, name: str) -> list[str] | None:
    values = [text for item in file.items if (text := _key_text(item, name))]
    return values if len(set(values)) == len(file.items) else None


def _key_text(item: dict[str, Any], name: str) -> str | None:
    match item.get(name):
        case {"S": str(text)} | {"N": str(text)} if text:
            return text
    return None


def _type_of(path: str, file: ItemFile, name: str) -> str:
    for tag in file.items[0].get(name, ()):
        if tag in _KEY_TAGS:
            return str(tag)
    raise ConfigError(
        f"{path}: {file.places[0]}: lacks {name!r}, or it is no text, number or binary"
    )


def _with_numbers(item: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """Return an item of CSV, where all is text, with numbers in the key attributes of type N."""
    numbers = {}
    for name, tag in zip(schema.keys, schema.types, strict=True):
        if tag == "N" and name in item:
            with suppress(RecordError):
                numbers[name] = {"N": number_text(item[name]["S"])}
    return item | numbers


def check_keys(path: str, file: ItemFile, schema: Schema) -> None:
    """Check that every item has a primary key of its own.

    Raises:
        ConfigError: an item lacks a key attribute, or two have one key; names file and row.
    """
    keys = []
    for item, place in zip(file.items, file.places, strict=True):
        for name, tag in zip(schema.keys, schema.types, strict=True):
            if not item.get(name, {}).get(tag):
                raise ConfigError(f"{path}: {place}: lacks the key attribute {name} of type {tag}")
        key = {name: typed(value) for name, value in schema.key_of(item).items()}
        if not can_exist(key):
            raise ConfigError(f"{path}: {place}: its key is longer than DynamoDB allows")
        keys.append(tuple(map(key_text, key.values())))
    _check_different(path, file, keys, " and ".join(schema.keys))


def _check_different(path: str, file: ItemFile, values: Sequence[object], name: str) -> None:
    first: dict[object, str] = {}
    for place, value in zip(file.places, values, strict=True):
        if value in first:
            raise ConfigError(f"{path}: {place}: has the same {name} as {first[value]}")
        first[value] = place
