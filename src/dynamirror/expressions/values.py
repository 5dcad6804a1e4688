"""Values of attributes, in a form that compares as DynamoDB compares.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
"""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

from dynamirror.errors import NotUnderstoodError
from dynamirror.records.attribute_value import AttributeValue, Item

# The type tag, and what is equal exactly where the values are: exact numbers, bytes, sets.
Comparable: TypeAlias = tuple[str, Any]
Steps: TypeAlias = tuple[str | int, ...]

ORDERED: Final = frozenset({"S", "N", "B"})

_MOST_DIGITS: Final = 38
_EXPONENTS: Final = range(-130, 126)
_MOST_LEVELS: Final = 30  # DynamoDB allows 32 with the levels around the value

_is_number = re.compile(r"-?[0-9]{1,200}(?:\.[0-9]{1,200})?(?:[eE][+-]?[0-9]{1,3})?").fullmatch


def _binary(content: Any) -> bytes:
    return b64decode(content) if isinstance(content, str) else bytes(content)


_CONTENTS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "S": lambda content: content,
    "N": Decimal,
    "B": _binary,
    "BOOL": lambda content: content,
    "NULL": lambda _content: None,
    "M": lambda content: {name: comparable(value) for name, value in content.items()},
    "L": lambda content: [comparable(value) for value in content],
    "SS": frozenset,
    "NS": lambda content: frozenset(map(Decimal, content)),
    "BS": lambda content: frozenset(map(_binary, content)),
}

TYPES: Final = frozenset(_CONTENTS)


def comparable(value: AttributeValue) -> Comparable:
    """Return a value in the form that compares."""
    ((tag, content),) = value.items()
    return tag, _CONTENTS[tag](content)


def getter(steps: Steps) -> Callable[[Item], AttributeValue | None]:
    """Make the function that finds the value at a path, or None.

    A name leads into maps only, and an index into lists only.
    """
    first, rest = steps[0], steps[1:]
    assert isinstance(first, str)
    if not rest:
        return lambda item: item.get(first)

    def get(item: Item) -> AttributeValue | None:
        value = item.get(first)
        for step in rest:
            if value is None:
                return None
            value = step_into(value, step)
        return value

    return get


def step_into(value: AttributeValue, step: str | int) -> AttributeValue | None:
    """Return the value inside a map or a list, or None."""
    inside: AttributeValue | None = None
    if isinstance(step, str):
        inside = value["M"].get(step) if "M" in value else None
    elif "L" in value and step < len(value["L"]):
        inside = value["L"][step]
    return inside


def size_of(value: AttributeValue) -> int | None:
    """Return what the function `size` gives, or None for a type that has no size.

    A text has the size of its UTF-16, as in Java.
    """
    ((tag, content),) = value.items()
    match tag:
        case "S" if content.isascii():
            return len(content)
        case "S":
            return len(content.encode("utf-16-le")) // 2
        case "B":
            return len(_binary(content))
        case "M" | "L" | "SS" | "NS" | "BS":
            return len(content)
        case _:
            return None


def contains(value: AttributeValue, element: Comparable) -> bool:
    """Return whether a text, binary, set or list contains an element, as `contains` has it."""
    ((tag, content),) = value.items()
    element_tag, part = element
    match tag, element_tag:
        case ("S", "S") | ("B", "B") | ("SS", "S") | ("NS", "N") | ("BS", "B"):
            return part in _CONTENTS[tag](content)
        case ("L", _):
            return any(comparable(member) == element for member in content)
        case _:
            return False


def _is_text(content: Any) -> bool:
    if not isinstance(content, str):
        return False
    try:
        return content.isascii() or bool(content.encode())
    except UnicodeEncodeError:
        return False


def _is_binary(content: Any) -> bool:
    if isinstance(content, bytes | bytearray):
        return True
    try:
        return isinstance(content, str) and isinstance(b64decode(content, validate=True), bytes)
    except ValueError:
        return False


def _is_valid_number(content: Any) -> bool:
    if not isinstance(content, str) or not _is_number(content):
        return False
    number = Decimal(content)
    _sign, digits, _exponent = number.as_tuple()
    text = "".join(map(str, digits)).strip("0")
    return number.adjusted() in _EXPONENTS and len(text) <= _MOST_DIGITS


def _is_list(content: Any, levels: int) -> bool:
    return isinstance(content, list) and all(constant(member, levels - 1) for member in content)


def _is_map(content: Any, levels: int) -> bool:
    return isinstance(content, Mapping) and all(
        bool(name) and _is_text(name) and constant(member, levels - 1)
        for name, member in content.items()
    )


def _is_set(tag: str, content: Any) -> bool:
    return (
        isinstance(content, list)
        and bool(content)
        and all(bool(member) and _CHECKS[tag[0]](member, 0) for member in content)
        and len(_CONTENTS[tag](content)) == len(content)
    )


# Of content and of the levels that may still be in it.
_CHECKS: Final[Mapping[str, Callable[[Any, int], bool]]] = {
    "S": lambda content, _levels: _is_text(content),
    "N": lambda content, _levels: _is_valid_number(content),
    "B": lambda content, _levels: _is_binary(content),
    "BOOL": lambda content, _levels: isinstance(content, bool),
    "NULL": lambda content, _levels: content is True,
    "L": _is_list,
    "M": _is_map,
    "SS": lambda content, _levels: _is_set("SS", content),
    "NS": lambda content, _levels: _is_set("NS", content),
    "BS": lambda content, _levels: _is_set("BS", content),
}


def constant(value: object, levels: int = _MOST_LEVELS) -> AttributeValue:
    """Return a value of a request, if DynamoDB surely takes it.

    Raises:
        NotUnderstoodError: it may refuse it.
    """
    if not isinstance(value, Mapping) or len(value) != 1 or levels < 0:
        raise NotUnderstoodError("a value must be an object with one type tag, and not too deep")
    ((tag, content),) = value.items()
    if tag not in _CHECKS or not _CHECKS[tag](content, levels):
        raise NotUnderstoodError("a value is not one of its type, or DynamoDB may refuse it")
    return value
