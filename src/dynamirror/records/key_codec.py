"""Text and sortable bytes of attribute values that stand in keys."""

from base64 import b64decode, b64encode
from decimal import Decimal

from dynamirror.errors import RecordError
from dynamirror.records.attribute_value import (
    MALFORMED,
    AttributeValue,
    binary_content,
    is_plain_integer,
    malformed_value,
    number_text,
    string_content,
    tag_and_content,
    utf8,
)


def key_text(value: AttributeValue) -> str:
    """Return a value's text in a cache key: S, N, or B as base64url.

    Raises:
        RecordError: the value is of another type, for which no key is defined.
    """
    try:
        ((tag, content),) = value.items()
    except MALFORMED:
        raise malformed_value(value) from None
    match tag:
        case "S":
            return content if type(content) is str else string_content(content)
        case "N":
            return number_text(string_content(content, tag))
        case "B":
            return binary_content(content).rstrip("=").translate(_BASE64URL)
        case _:
            raise RecordError(f"an attribute of type {tag} cannot stand in a key, only S, N and B")


def sort_bytes(value: AttributeValue) -> bytes:
    """Return bytes in DynamoDB's order of sort keys: UTF-8, bytes, or numeric value.

    A number is its sign, the power of ten (biased, four digits) and its digits; a negative one is
    turned over, so that the larger magnitude stands first, and ends with a mark above all digits.

    Raises:
        RecordError: the value is of another type, or not one of its type.
    """
    tag, content = tag_and_content(value)
    match tag:
        case "S":
            return utf8(string_content(content))
        case "B":
            return b64decode(binary_content(content))
        case "N":
            return _sortable_number(string_content(content, tag)).encode("ascii")
        case _:
            raise RecordError(f"an attribute of type {tag} cannot be a sort key, only S, N and B")


def sort_value(member: bytes, tag: str) -> AttributeValue:
    """Return the value whose `sort_bytes` these are; binary as base64 text.

    Raises:
        ValueError: there is none.
    """
    match tag:
        case "S":
            return {"S": member.decode()}
        case "B":
            return {"B": b64encode(member).decode("ascii")}
        case _:
            return {"N": _number_of_sortable(member.decode("ascii"))}


_BIAS = 5000


_COMPLEMENT = str.maketrans("0123456789", "9876543210")


def _sortable_number(digits: str) -> str:
    if is_plain_integer(digits):
        return f"2{_BIAS + len(digits):04d}{digits.rstrip('0')}"
    number = Decimal(number_text(digits))
    if not number:
        return "1"
    sign, figures, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, figures)).rstrip("0")
    positive = f"{_BIAS + len(figures) + exponent:04d}{text}"
    return f"0{positive.translate(_COMPLEMENT)}:" if sign else f"2{positive}"


def _number_of_sortable(text: str) -> str:
    if text == "1":
        return "0"
    body = text[1:].rstrip(":").translate(_COMPLEMENT) if text[0] == "0" else text[1:]
    power, figures = int(body[:4]) - _BIAS, body[4:]
    integer = figures.ljust(power, "0")
    if text[0] == "2" and figures and len(integer) == power and is_plain_integer(integer):
        return integer
    sign = "-" if text[0] == "0" else ""
    return number_text(f"{sign}0.{figures}E{power}")


def key_value(text: str, tag: str) -> AttributeValue:
    """Return the value whose `key_text` this is; binary as base64 text.

    Raises:
        RecordError: there is none.
    """
    value = {tag: text}
    if tag == "B":
        padded = text + "=" * (-len(text) % 4)
        try:
            value = {"B": b64encode(b64decode(padded, b"-_", validate=True)).decode("ascii")}
        except ValueError:
            raise RecordError("the text is not that of a B") from None
    if key_text(value) != text:
        raise RecordError(f"the text is not that of a {tag}")
    return value


_BASE64URL = str.maketrans("+/", "-_")
