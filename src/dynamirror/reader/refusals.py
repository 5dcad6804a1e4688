"""Refuses requests as DynamoDB does, for answers from the cache and from the table alike.

The messages are DynamoDB's own, as far as they are published; applications should look at the code.
"""

from base64 import b64decode
from decimal import Decimal
from typing import Any, Final

from botocore.exceptions import ClientError, ParamValidationError

from dynamirror.reader.metadata import synthetic
from dynamirror.records.attribute_value import AttributeValue

NO_MATCH: Final = "The provided key element does not match the schema"
DUPLICATES: Final = "Provided list of item keys contains duplicates"

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
_LONGEST: Final = (2048, 1024)  # bytes: partition key, sort key
_INVALID: Final = "One or more parameter values were invalid: "
_TOO_LONG: Final = (
    f"{_INVALID}Size of hashkey has exceeded the maximum size limit of2048 bytes",  # it lacks this
    f"{_INVALID}Aggregated size of all range keys has exceeded the size limit of 1024 bytes",
)
_MOST_DIGITS: Final = 38
_EXPONENTS: Final = range(-130, 126)
# A text of so few letters is in no key too long: a letter has four bytes at the most.
SHORT: Final = _LONGEST[1] // 4


def refusal(operation: str, message: str) -> ClientError:
    """Return the error that boto3 raises where DynamoDB refuses a request.

    Args:
        operation: such as GetItem.
        message: DynamoDB's.
    """
    response: Any = {
        "Error": {"Message": message, "Code": "ValidationException"},
        "ResponseMetadata": synthetic(400),
        "message": message,
    }
    return ClientError(response, operation)


def misfit(parameter: str, value: object, kind: type) -> ParamValidationError:
    """Return the error that boto3 raises for an argument of another type."""
    return ParamValidationError(
        report=f"Invalid type for parameter {parameter}, value: {value}, type: {type(value)}, "
        f"valid types: {kind}"
    )


def check_number(text: str) -> str:
    """Return why DynamoDB refuses a number, or nothing."""
    number = Decimal(text)
    if not number.is_finite():
        return f"The parameter cannot be converted to a numeric value: {text}"
    if len(text) <= _MOST_DIGITS and "E" not in text:
        return ""
    if number.adjusted() >= _EXPONENTS.stop:
        return (
            "Number overflow. Attempting to store a number with magnitude larger than supported "
            "range"
        )
    if number.adjusted() < _EXPONENTS.start:
        return (
            "Number underflow. Attempting to store a number with magnitude smaller than supported "
            "range"
        )
    if len("".join(map(str, number.as_tuple().digits)).strip("0")) > _MOST_DIGITS:
        return "Attempting to store more than 38 significant digits in a Number"
    return ""


def check_key(name: str, value: AttributeValue, place: int) -> str:
    """Return why DynamoDB refuses a value in a key, or nothing.

    Args:
        name: of the key attribute.
        value: of type S, N or B.
        place: 0 for the partition key, 1 for the sort key.

    Raises:
        ValueError: a text is not valid Unicode.
    """
    ((tag, content),) = value.items()
    if tag == "N":
        return check_number(content)
    if tag == "S":
        try:
            size = len(content.encode())
        except UnicodeEncodeError:
            raise ValueError(f"{name} is not valid Unicode (a lone surrogate)") from None
    else:
        size = len(content if isinstance(content, bytes) else b64decode(content))
    if not size:
        kind = "string" if tag == "S" else "binary"
        return (
            "One or more parameter values are not valid. The AttributeValue for a key attribute "
            f"cannot contain an empty {kind} value. Key: {name}"
        )
    return _TOO_LONG[place] if size > _LONGEST[place] else ""
