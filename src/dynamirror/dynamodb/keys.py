"""Primary keys as DynamoDB and boto3 take them."""

from base64 import b64decode
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from dynamirror.records.attribute_value import Item
from dynamirror.records.key_codec import key_text

_Identity = frozenset[tuple[str, str]]

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
_LONGEST_KEYS = (2048, 1024)  # bytes: partition key, sort key


_MOST_DIGITS = 38


_EXPONENTS = range(-130, 126)


def on_the_wire(key: Item) -> Any:
    """Return a primary key as boto3 takes it: binary as bytes, and numbers without an exponent.

    DynamoDB takes any notation, but the emulator only its own.
    """
    return {name: _plain(value) for name, value in key.items()}


def can_exist(key: Item) -> bool:
    """Return whether an item can have a primary key; DynamoDB refuses requests for others.

    Args:
        key: the key, partition key first; binary as base64 text.
    """
    for value, longest in zip(key.values(), _LONGEST_KEYS, strict=False):
        ((tag, text),) = value.items()
        if tag == "N":
            number = Decimal(text)
            digits = "".join(map(str, number.as_tuple().digits)).strip("0")
            if number and (len(digits) > _MOST_DIGITS or number.adjusted() not in _EXPONENTS):
                return False
        elif tag == "S" and text.isascii():
            if not 0 < len(text) <= longest:
                return False
        elif not 0 < len(b64decode(text) if tag == "B" else text.encode()) <= longest:
            return False
    return True


def identity(key: Item) -> _Identity:
    """Return a value that is equal for equal keys, in any spelling."""
    return frozenset([(name, key_text(value)) for name, value in key.items()])


def _plain(value: Mapping[str, Any]) -> Mapping[str, Any]:
    match value:
        case {"B": str(text)}:
            return {"B": b64decode(text)}
        case {"N": str(text)} if "E" in text:
            return {"N": f"{Decimal(text):f}"}
        case _:
            return value
