"""DynamoDB's typed values (`{"S": "text"}`) and the plain forms they take.

A value is as Lambda or boto3's low-level client hands it over: a mapping of one type tag to its
content, where `B` is base64 text (Lambda) or bytes (boto3). Numbers stay text throughout, because
no float holds DynamoDB's 38 significant digits.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from operator import itemgetter
from typing import Any, TypeVar

import msgspec

from dynamirror.errors import RecordError

_T = TypeVar("_T")


AttributeValue = Mapping[str, Any]


Item = Mapping[str, AttributeValue]


_json = msgspec.json.Encoder(order="sorted")


# Three digits of exponent are enough for DynamoDB's 1E-130 to 9.9E+125.
_is_json_number = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?").fullmatch


# Room for DynamoDB's 38 significant digits; the default context would round to 28. What does not
# fit is an error: rounded, two numbers would be one.
_DIGITS = Context(prec=64, traps=[InvalidOperation, Overflow, Inexact])


# DynamoDB's significant digits.
_MOST_DIGITS = 38


_LONGEST_TAG = len("NULL")


# Maps with more names are sorted here: msgspec's own sort is quadratic on some orders of names, but
# not on names that are in order already.
_WIDE = 200


# Beyond this many digits a plain number is harder to read than one with an exponent.
_LONGEST_PLAIN = 40


def malformed_value(value: object) -> RecordError:
    if isinstance(value, Mapping) and len(value) == 1:
        tag = next(iter(value))
        # A long one is no tag at all, but perhaps data.
        known = isinstance(tag, str) and len(tag) <= _LONGEST_TAG
        return RecordError(f"unknown DynamoDB type tag{f' {tag!r}' if known else ''}")
    return RecordError("an attribute value must be an object with one type tag")


# What is raised for what is no value where its tag and content are taken, and the tag is looked up.
MALFORMED = (AttributeError, LookupError, TypeError, ValueError)


def tag_and_content(value: AttributeValue) -> tuple[str, Any]:
    """Return the type tag of a value and its content; the hot paths do this in line.

    Raises:
        RecordError: the value is not an object with one type tag.
    """
    try:
        ((tag, content),) = value.items()
    except MALFORMED:
        raise malformed_value(value) from None
    return tag, content


def string_content(content: object, tag: str = "S") -> str:
    if type(content) is not str:
        raise RecordError(f"a DynamoDB {tag} must be text, not {type(content).__name__}")
    return content


def _number(content: object) -> str:
    """Return the digits if JSON allows them as a number, otherwise the plain number."""
    if type(content) is not str:
        raise RecordError(f"a DynamoDB N must be text, not {type(content).__name__}")
    return content if _is_json_number(content) else number_text(content)


def _raw_number(content: object) -> msgspec.Raw:
    if type(content) is str and _is_json_number(content):
        return msgspec.Raw(content)
    return msgspec.Raw(_number(content))


def binary_content(content: object) -> str:
    if isinstance(content, bytes | bytearray):
        return b64encode(content).decode("ascii")
    text = string_content(content, "B")
    try:
        b64decode(text, validate=True)
    except ValueError:
        raise RecordError("a DynamoDB B must be base64 text or bytes") from None
    return text


def _boolean(content: object) -> bool:
    if type(content) is not bool:
        raise RecordError(f"a DynamoDB BOOL must be true or false, not {type(content).__name__}")
    return content


def _list(content: object) -> list[Any]:
    if type(content) is list:
        return content.copy()
    if not isinstance(content, list | tuple | set | frozenset):
        raise RecordError(f"a DynamoDB list or set must be a list, not {type(content).__name__}")
    return list(content)


def _map(content: object) -> Mapping[str, AttributeValue]:
    if not isinstance(content, dict):
        raise RecordError(f"a DynamoDB M must be an object, not {type(content).__name__}")
    return content


# DynamoDB does not keep the order of a set, so every set is written sorted: the same item always
# becomes the same bytes, whether it came from the stream or from the table.
def _strings(content: object) -> list[str]:
    values = _list(content)
    for value in values:
        if type(value) is not str:
            string_content(value)
    values.sort()
    return values


def _numbers(content: object) -> list[str]:
    return sorted(map(_number, _list(content)), key=lambda digits: (Decimal(digits), digits))


def _binaries(content: object) -> list[str]:
    return sorted(map(binary_content, _list(content)))


_PLAIN: dict[str, Callable[[Any], object]] = {
    "S": string_content,
    "N": _raw_number,
    "B": binary_content,
    "BOOL": _boolean,
    "NULL": lambda _content: None,
    "M": lambda content: plain_map(_map(content)),
    "L": lambda content: [plain(value) for value in _list(content)],
    "SS": _strings,
    "NS": lambda content: [msgspec.Raw(digits) for digits in _numbers(content)],
    "BS": _binaries,
}


_TYPED: dict[str, Callable[[Any], object]] = {
    **_PLAIN,
    "N": _number,
    "NULL": lambda _content: True,
    "M": lambda content: typed_map(_map(content)),
    "L": lambda content: [typed(value) for value in _list(content)],
    "NS": _numbers,
}


def plain(value: AttributeValue) -> object:
    """Return the value as plain JSON: text, exact number, base64, list, object, true, null.

    Raises:
        RecordError: the type tag is unknown or its content is not of that type.
    """
    return plain_map({"": value})[""]


def plain_map(values: Mapping[str, AttributeValue]) -> dict[str, object]:
    """Return an item, or the content of an M, as plain JSON.

    Raises:
        RecordError: a type tag is unknown or its content is not of that type.
    """
    result: dict[str, object] = {}
    value: object = None
    # The hottest loop of all: the commonest types are in line, as a call takes as long as the rest.
    try:
        for name, value in values.items():
            (tag,) = value
            content = value[tag]
            if tag == "S" and type(content) is str:
                result[name] = content
            elif tag == "N" and type(content) is str and _is_json_number(content):
                result[name] = msgspec.Raw(content)
            elif tag == "BOOL" and type(content) is bool:
                result[name] = content
            elif tag == "M" and type(content) is dict:
                result[name] = plain_map(content)
            else:
                result[name] = _PLAIN[tag](content)
    except MALFORMED:
        raise malformed_value(value) from None
    return result if len(result) <= _WIDE else _in_order(result)


def _in_order(values: dict[str, _T]) -> dict[str, _T]:
    return dict(sorted(values.items(), key=itemgetter(0)))


def typed_map(values: Mapping[str, AttributeValue]) -> dict[str, dict[str, object]]:
    """Return an item, or the content of an M, as DynamoDB JSON.

    Raises:
        RecordError: a type tag is unknown or its content is not of that type.
    """
    result = {name: typed(value) for name, value in values.items()}
    return result if len(result) <= _WIDE else _in_order(result)


def typed(value: AttributeValue) -> dict[str, object]:
    """Return the value as DynamoDB JSON, without loss: binary as base64, sets sorted.

    Raises:
        RecordError: the type tag is unknown or its content is not of that type.
    """
    try:
        ((tag, content),) = value.items()
        form = _TYPED[tag]
    except MALFORMED:
        raise malformed_value(value) from None
    return {tag: form(content)}


def raw(value: AttributeValue) -> bytes:
    """Return the value as bytes: text, digits and binary bare, other types as JSON.

    Raises:
        RecordError: the type tag is unknown or its content is not of that type.
    """
    match value:  # in line: a hash entry comes here for each attribute
        case {"S": content, **others} if not others:
            return utf8(string_content(content))
        case {"N": content, **others} if not others:
            return _number(content).encode("ascii")
        case {"B": content, **others} if not others:
            return b64decode(binary_content(content))
        case _:
            return to_json(plain(value))


def to_json(value: object) -> bytes:
    """Encode as JSON with sorted names, so that equal items are equal bytes.

    Raises:
        RecordError: a text in it is not valid Unicode.
    """
    try:
        return _json.encode(value)
    except UnicodeEncodeError:
        raise RecordError("a text is not valid Unicode (a lone surrogate)") from None


def utf8(text: str) -> bytes:
    """Encode text for the cache.

    Raises:
        RecordError: the text is not valid Unicode.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise RecordError("a text is not valid Unicode (a lone surrogate)") from None


def is_plain_integer(digits: str) -> bool:
    """Return whether a number is a positive integer without sign, leading zeros or exponent."""
    if len(digits) > _MOST_DIGITS or digits[:1] == "0":
        return False
    return digits.isascii() and digits.isdigit()


def number_text(digits: str) -> str:
    """Return the canonical text of a number: the same for `1.0`, `+1` and `1`.

    Raises:
        RecordError: the text is not a finite number.
    """
    if is_plain_integer(digits):  # the commonest, which are as they should be
        return digits
    try:
        number = _DIGITS.normalize(Decimal(digits))
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite():
        raise RecordError("a DynamoDB N must be a finite number")
    if not number:
        return "0"
    text = f"{number:f}"
    return text if len(text) <= _LONGEST_PLAIN else str(number)
