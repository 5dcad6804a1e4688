"""Python's values for DynamoDB's, as boto3's resource has them, and entries read back.

boto3's own TypeSerializer and TypeDeserializer do the same, several times slower.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from boto3.dynamodb.types import Binary

from dynamirror.attributes import AttributeValue, Item
from dynamirror.encoding import DYNAMODB_JSON, HASH, JSON
from dynamirror.view import Schema, View

Values = dict[str, Any]


def key_attribute(value: object) -> AttributeValue:
    """A value that can stand in a primary key, in DynamoDB JSON.

    Raises:
        TypeError: it is none.
    """
    match value:
        case str():
            return {"S": value}
        case int() | Decimal() if not isinstance(value, bool):
            return {"N": str(value)}
        case bytes() | bytearray():
            return {"B": bytes(value)}
        case Binary():
            content: Any = value  # whose type hints lack what makes it bytes
            return {"B": bytes(content)}
        case float():
            raise TypeError("float cannot stand for a number of DynamoDB; use Decimal")
        case _:
            raise TypeError(f"{type(value).__name__} cannot stand in a key")


def primary_key(given: Mapping[str, Any], schema: Schema, pinned: Mapping[str, str]) -> Item | None:
    """The primary key of an item, in DynamoDB JSON.

    Args:
        given: in Python's types; what is pinned may be left out.
        schema: the table; the types of its key attributes must be known.
        pinned: the texts that a view holds key attributes to.

    Returns:
        The key; None if the view is not for the item.

    Raises:
        ValueError: the given key does not fit the table.
        TypeError: a value cannot stand in a key.
    """
    key: dict[str, AttributeValue] = {}
    apart = False
    for name, tag in zip(schema.keys, schema.types, strict=True):
        if name in given:
            value = given[name]
            # The usual one first: this is run for every read.
            key[name] = {"S": value} if type(value) is str else key_attribute(value)
            if tag not in key[name]:
                (other,) = key[name]
                raise ValueError(f"{name} of table {schema.table} is of type {tag}, not {other}")
            apart |= name in pinned and key[name] != {"S": pinned[name]}
        elif name in pinned:
            key[name] = {"S": pinned[name]}
        else:
            raise ValueError(f"the key of table {schema.table} lacks {name}")
    if len(given) > len(key) or not key.keys() >= given.keys():
        raise ValueError(f"the key of table {schema.table} is {', '.join(schema.keys)} alone")
    return None if apart else key


def value_of(value: AttributeValue) -> Any:
    """A value in DynamoDB JSON as boto3's resource gives it."""
    ((tag, content),) = value.items()
    return _PYTHON[tag](content)


def values_of(item: Item) -> Values:
    """An item in DynamoDB JSON as boto3's resource gives it."""
    # A function call less an attribute, for the two types that most are of.
    result = {}
    for name, value in item.items():
        ((tag, content),) = value.items()
        result[name] = content if tag == "S" else _PYTHON[tag](content)
    return result


def _binary(content: str | bytes) -> Binary:
    return Binary(b64decode(content) if isinstance(content, str) else content)


_PYTHON: Mapping[str, Callable[[Any], Any]] = {
    "S": lambda content: content,
    "N": Decimal,
    "B": _binary,
    "BOOL": lambda content: content,
    "NULL": lambda _content: None,
    "M": values_of,
    "L": lambda content: [value_of(value) for value in content],
    "SS": set,
    "NS": lambda content: {Decimal(digits) for digits in content},
    "BS": lambda content: {_binary(text) for text in content},
}

_parse = msgspec.json.Decoder().decode


def decoder(view: View) -> Callable[[Any], Values]:
    """Make the function that reads an entry: what GET gives, or HGETALL for a hash.

    `dynamodb-json` gives boto3's types. `json` gives JSON's, with Decimal for numbers; `hash` and
    `attribute` tell no types, so their values are bytes as they stand.
    """
    match view.encoding:
        case encoding if encoding is DYNAMODB_JSON:
            return lambda entry: values_of(_parse(entry))
        case encoding if encoding is JSON:
            loads = json.JSONDecoder(parse_int=Decimal, parse_float=Decimal).decode
            return lambda entry: loads(entry.decode())
        case encoding if encoding is HASH:
            return lambda entry: {
                name.decode(): value for name, value in zip(entry[::2], entry[1::2], strict=True)
            }
        case encoding:
            assert encoding.attributes is not None
            (name,) = encoding.attributes
            return lambda entry: {name: entry}
