"""DynamoDB's typed values (`{"S": "text"}`) and the plain forms they take.

A value is as Lambda or boto3's low-level client hands it over: a mapping of one type tag to its
content, where `B` is base64 text (Lambda) or bytes (boto3). Numbers stay text throughout, because
no float holds DynamoDB's 38 significant digits.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, InvalidOperation
from typing import Any

import msgspec

from dynamirror.errors import RecordError

AttributeValue = Mapping[str, Any]
Item = Mapping[str, AttributeValue]

_json = msgspec.json.Encoder(order="sorted")
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
# Room for DynamoDB's 38 significant digits; the default context would round to 28.
_DIGITS = Context(prec=64)
# Beyond this many digits a plain number is harder to read than one with an exponent.
_LONGEST_PLAIN = 40


def _content(value: AttributeValue) -> tuple[str, Any]:
    try:
        ((tag, content),) = value.items()
    except (AttributeError, ValueError):
        raise RecordError(
            "an attribute value must be an object with exactly one type tag"
        ) from None
    return tag, content


def _string(content: object) -> str:
    if type(content) is not str:
        raise RecordError(f"a DynamoDB S must be text, not {type(content).__name__}")
    return content


def _number(content: object) -> str:
    """The digits as they are, if JSON allows them as a number; else the same number in plain."""
    if type(content) is not str:
        raise RecordError(f"a DynamoDB N must be text, not {type(content).__name__}")
    if _JSON_NUMBER.fullmatch(content):
        return content
    return number_text(content)


def _binary(content: object) -> str:
    if isinstance(content, bytes | bytearray):
        return b64encode(content).decode("ascii")
    try:
        b64decode(_string(content), validate=True)
    except ValueError:
        raise RecordError("a DynamoDB B must be base64 text or bytes") from None
    return _string(content)


def _boolean(content: object) -> bool:
    if type(content) is not bool:
        raise RecordError(f"a DynamoDB BOOL must be true or false, not {type(content).__name__}")
    return content


def _list(content: object) -> list[Any]:
    if not isinstance(content, list | tuple | set | frozenset):
        raise RecordError(f"a DynamoDB list or set must be a list, not {type(content).__name__}")
    return list(content)


def _map(content: object) -> Mapping[str, AttributeValue]:
    if not isinstance(content, Mapping):
        raise RecordError(f"a DynamoDB M must be an object, not {type(content).__name__}")
    return content


# DynamoDB does not keep the order of a set, so every set is written sorted: the same item always
# becomes the same bytes, whether it came from the stream or from the table.
def _strings(content: object) -> list[str]:
    return sorted(map(_string, _list(content)))


def _numbers(content: object) -> list[str]:
    return sorted(map(_number, _list(content)), key=lambda digits: (Decimal(digits), digits))


def _binaries(content: object) -> list[str]:
    return sorted(map(_binary, _list(content)))


_PLAIN: dict[str, Callable[[Any], object]] = {
    "S": _string,
    "N": lambda content: msgspec.Raw(_number(content)),
    "B": _binary,
    "BOOL": _boolean,
    "NULL": lambda _content: None,
    "M": lambda content: {name: plain(value) for name, value in _map(content).items()},
    "L": lambda content: [plain(value) for value in _list(content)],
    "SS": _strings,
    "NS": lambda content: [msgspec.Raw(digits) for digits in _numbers(content)],
    "BS": _binaries,
}

_TYPED: dict[str, Callable[[Any], object]] = {
    **_PLAIN,
    "N": _number,
    "NULL": lambda _content: True,
    "M": lambda content: {name: typed(value) for name, value in _map(content).items()},
    "L": lambda content: [typed(value) for value in _list(content)],
    "NS": _numbers,
}


def _convert(forms: Mapping[str, Callable[[Any], object]], tag: str, content: object) -> object:
    try:
        form = forms[tag]
    except KeyError:
        raise RecordError(f"unknown DynamoDB type tag {tag!r}") from None
    return form(content)


def plain(value: AttributeValue) -> object:
    """The value as plain JSON has it: text, exact number, base64, list, object, true, null.

    Raises:
        RecordError: the type tag is unknown or its content is not of that type.
    """
    tag, content = _content(value)
    return _convert(_PLAIN, tag, content)


def typed(value: AttributeValue) -> dict[str, object]:
    """The value as DynamoDB JSON, binary as base64 and sets sorted; nothing is lost.

    Raises:
        RecordError: the type tag is unknown or its content is not of that type.
    """
    tag, content = _content(value)
    return {tag: _convert(_TYPED, tag, content)}


def raw(value: AttributeValue) -> bytes:
    """The value as bytes on their own: text, digits and binary bare, everything else as JSON.

    Raises:
        RecordError: the type tag is unknown or its content is not of that type.
    """
    tag, content = _content(value)
    match tag:
        case "S":
            return utf8(_string(content))
        case "N":
            return _number(content).encode("ascii")
        case "B":
            return b64decode(_binary(content))
        case _:
            return to_json(_convert(_PLAIN, tag, content))


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


def number_text(digits: str) -> str:
    """The one text of a number: `1.0`, `+1` and `1` are one number and so one text.

    Raises:
        RecordError: the text is not a finite number.
    """
    try:
        number = Decimal(digits)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise RecordError("a DynamoDB N must be a finite number")
    if not number:
        return "0"
    number = _DIGITS.normalize(number)
    text = f"{number:f}"
    return text if len(text) <= _LONGEST_PLAIN else str(number)


def key_text(value: AttributeValue) -> str:
    """The text of a value that may stand in a cache key: S, N, or B as base64url.

    Raises:
        RecordError: the value is of another type, for which no key is defined.
    """
    tag, content = _content(value)
    match tag:
        case "S":
            return _string(content)
        case "N":
            return number_text(_string(content))
        case "B":
            return _binary(content).rstrip("=").translate(_BASE64URL)
        case _:
            raise RecordError(f"an attribute of type {tag} cannot stand in a key, only S, N and B")


_BASE64URL = str.maketrans("+/", "-_")
