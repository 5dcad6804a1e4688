"""How large an item is, as DynamoDB counts it, and how much of that a page takes.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from boto3.dynamodb.types import Binary

from dynamirror.records.attribute_value import AttributeValue, Item

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html
PAGE_BYTES: Final = 1 << 20
_OVERHEAD: Final = 3  # of a list or map


def item_size(item: Mapping[str, Any]) -> int:
    """Bytes of an item, in boto3's types: its attributes' names and values."""
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: Any) -> int:  # noqa: PLR0911 - one for each type
    match value:
        case str():
            return len(value.encode())
        case bool() | None:
            return 1
        case Decimal():
            return number_size(value)
        case bytes():
            return len(value)
        case Binary():
            content: Any = value
            return len(bytes(content))
        case set():
            return sum(map(_size, value))
        case list():
            return _OVERHEAD + sum(1 + _size(one) for one in value)
        case _:
            return _OVERHEAD + len(value) + item_size(value)


def typed_size(item: Item) -> int:
    """Return the bytes of an item in DynamoDB JSON, binary as base64 text."""
    return sum(len(name.encode()) + _typed_size(value) for name, value in item.items())


def _typed_size(value: AttributeValue) -> int:  # noqa: PLR0911 - one for each type
    ((tag, content),) = value.items()
    match tag:
        case "S":
            return len(content.encode())
        case "N":
            return number_size(Decimal(content))
        case "B":
            return _binary_size(content)
        case "L":
            return _OVERHEAD + sum(1 + _typed_size(one) for one in content)
        case "M":
            return _OVERHEAD + len(content) + typed_size(content)
        case "SS":
            return sum(len(text.encode()) for text in content)
        case "NS":
            return sum(number_size(Decimal(digits)) for digits in content)
        case "BS":
            return sum(map(_binary_size, content))
        case _:
            return 1


def _binary_size(text: str) -> int:
    return len(text) // 4 * 3 - text[-2:].count("=")


def number_size(number: Decimal) -> int:
    """Return a number's size: one byte, one for two digits, and one for a minus sign."""
    sign, digits, exponent = number.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    kept = text.rstrip("0")
    if not kept:
        return 1
    assert isinstance(exponent, int)  # DynamoDB has no infinities
    behind = (exponent + len(text) - len(kept)) % 2  # a zero that fills up the last pair
    return 1 + (len(kept) + behind + 1) // 2 + sign


@dataclass(slots=True)
class Room:
    """The room left in a page of 1 MB.

    Measuring takes a third as long as decoding, and most pages are far from full: so an item is
    measured only if what the cache sent could fill the page.

    Args:
        items: those in the page.
        measure: returns the bytes of one.
    """

    items: list[Any]
    measure: Callable[[Any], int]
    _measured: int = 0
    _bytes: int = 0
    _sent: int = field(default=0)

    def holds(self, item: Any, sent: int) -> bool:
        """Return whether the page can take one item more; the first always.

        Args:
            item: the item.
            sent: bytes of its entry.
        """
        # An empty list in a list has two bytes there, and four in DynamoDB; all else has less.
        self._sent += 2 * sent
        if self._sent <= PAGE_BYTES:
            return True
        self._bytes += sum(map(self.measure, self.items[self._measured :]))
        self._measured = len(self.items)
        return not self.items or self._bytes + self.measure(item) <= PAGE_BYTES
