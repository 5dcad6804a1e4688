"""Python's values for DynamoDB's, as boto3's resource has them, and entries read back.

boto3's own TypeSerializer and TypeDeserializer do the same, several times slower.
"""

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from boto3.dynamodb.types import Binary, TypeSerializer

from dynamirror.reader.refusals import NO_MATCH, SHORT, check_key, check_number, misfit, refusal
from dynamirror.records.attribute_value import AttributeValue, Item
from dynamirror.views.encoding import DYNAMODB_JSON, HASH, JSON
from dynamirror.views.view import Schema, View

Values = dict[str, Any]

_serialise: Callable[[Any], AttributeValue] = TypeSerializer().serialize


def attribute_of(value: object) -> AttributeValue:
    """Convert a value to DynamoDB JSON, binary as bytes.

    A number may be one that DynamoDB refuses.

    Raises:
        TypeError: DynamoDB has no such values.
    """
    match value:
        case str():
            return {"S": value}
        case int() | Decimal() if not isinstance(value, bool):
            number = str(Decimal(value))
            if number in ("Infinity", "NaN"):
                raise TypeError("Infinity and NaN not supported")
            return {"N": number}
        case bytes() | bytearray():
            return {"B": bytes(value)}
        case Binary():
            content: Any = value  # whose type hints lack what makes it bytes
            return {"B": bytes(content)}
        case _:
            return _serialise(value)  # or say why not, as boto3 does


def primary_key(
    given: Mapping[str, Any],
    schema: Schema,
    pinned: Mapping[str, str],
    operation: str,
) -> Item | None:
    """Return the primary key of an item, in DynamoDB JSON.

    Args:
        given: in Python's types; what is pinned may be left out.
        schema: the table; the types of its key attributes must be known.
        pinned: the texts that a view holds key attributes to.
        operation: what it is for, such as GetItem.

    Returns:
        The key; None if the view is not for the item.

    Raises:
        ClientError: DynamoDB would refuse the key.
        ParamValidationError: it is no mapping.
        TypeError: DynamoDB has no such values.
        ValueError: a text is not valid Unicode.
    """
    if type(given) is not dict and not isinstance(given, Mapping):
        raise misfit("Key", given, dict)
    key: dict[str, AttributeValue] = {}
    apart = False
    for name, tag in zip(schema.keys, schema.types, strict=True):
        if name in given:
            value = given[name]
            # The usual one first: this is run for every read.
            key[name] = {"S": value} if type(value) is str else attribute_of(value)
            if tag not in key[name]:
                raise refusal(operation, _bad_number(given) or NO_MATCH)
            apart |= name in pinned and key[name] != {"S": pinned[name]}
            if type(value) is str and 0 < len(value) <= SHORT:
                continue
            if reason := check_key(name, key[name], schema.keys.index(name)):
                raise refusal(operation, _bad_number(given) or reason)
        elif name in pinned:
            key[name] = {"S": pinned[name]}
        else:
            raise refusal(operation, _bad_number(given) or NO_MATCH)
    if len(given) > len(key) or not key.keys() >= given.keys():
        raise refusal(operation, _bad_number(given) or NO_MATCH)
    return None if apart else key


def _bad_number(given: Mapping[str, Any]) -> str:
    """Return why DynamoDB refuses a number in a key, which it reads before all else, or nothing.

    Raises:
        TypeError: DynamoDB has no such values.
    """
    values = [attribute_of(value) for value in given.values()]
    return next(filter(None, (check_number(one["N"]) for one in values if "N" in one)), "")


def value_of(value: AttributeValue) -> Any:
    """Return a value in DynamoDB JSON as boto3's resource returns it."""
    ((tag, content),) = value.items()
    return _PYTHON[tag](content)


def values_of(item: Item) -> Values:
    """Return an item in DynamoDB JSON as boto3's resource returns it."""
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

parse_item: Callable[[Any], Any] = msgspec.json.Decoder().decode


def decoder(view: View) -> Callable[[Any], Values]:
    """Make the function that reads an entry: what GET gives, or HGETALL for a hash.

    `dynamodb-json` gives boto3's types. `json` gives JSON's, with Decimal for numbers; `hash` and
    `attribute` keep no types, so their values are bytes.
    """
    match view.encoding:
        case encoding if encoding is DYNAMODB_JSON:
            return lambda entry: values_of(parse_item(entry))
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
