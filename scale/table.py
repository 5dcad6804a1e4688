"""A table that is made from a seed: any item can be had at any time, and none is stored."""

from collections.abc import Iterable
from random import Random
from typing import Any, Final

import msgspec

from dynamirror.reader.sizes import typed_size
from dynamirror.records.attribute_value import Item

NAME: Final = "scale"
KEY: Final = "id"
_CODES: Final = 1 << 64
# DynamoDB does not count zeros at the end.
_STOCKS: Final = [{"N": f"{number}"} for number in range(100, 1_000) if number % 10]
_NOTE: Final = {"S": "delivered within two working days, in its own box"}
_CHANGED_NOTE: Final = {"S": "delivered within ten working days, in a paper bag"}


class Edits(msgspec.Struct, frozen=True):
    """How the table differs from the one that its seed makes.

    Args:
        gone: numbers of items that are not in the table.
        changed: numbers of items that have another value.
    """

    gone: frozenset[int] = frozenset()
    changed: frozenset[int] = frozenset()


class Table:
    """Makes the items of a table; they are numbered in the order in which DynamoDB scans them.

    A key is 64 bits in hexadecimal, which its item's number and the seed determine, in both
    directions. All items have the same size.

    Args:
        items: how many items there are, with those that are gone.
        seed: what determines the keys.
    """

    def __init__(self, items: int, seed: int) -> None:
        random = Random(seed)
        self.items = items
        self.edits = Edits()
        self._factor = random.randrange(_CODES) | 1
        self._offset = random.randrange(_CODES)
        self._inverse = pow(self._factor, -1, _CODES)
        self.item_bytes = typed_size(self._made(0, _NOTE))

    @property
    def count(self) -> int:
        """Return how many items there are."""
        return self.items - len(self.edits.gone)

    def item(self, number: int) -> Item | None:
        """Return an item by its number; None if there is none."""
        if not 0 <= number < self.items or number in self.edits.gone:
            return None
        return self._made(number, _CHANGED_NOTE if number in self.edits.changed else _NOTE)

    def items_between(self, begin: int, end: int) -> list[Item]:
        """Return the items of numbers from `begin` on, and before `end`."""
        factor, offset, stocks = self._factor, self._offset, _STOCKS
        different = [
            *(number for number in self.edits.gone if begin <= number < end),
            *(number for number in self.edits.changed if begin <= number < end),
        ]
        if different:
            items = (self.item(number) for number in range(begin, end))
            return [item for item in items if item is not None]
        # As in `_made`, which would take three times as long.
        return [
            {
                "id": {"S": f"{(number * factor + offset) % _CODES:016x}"},
                "name": {"S": f"item number {number:010d}"},
                "stock": stocks[number % 810],
                "note": _NOTE,
            }
            for number in range(begin, end)
        ]

    def key(self, number: int) -> Item:
        """Return the primary key of an item, which need not exist."""
        return {KEY: {"S": f"{(number * self._factor + self._offset) % _CODES:016x}"}}

    def number(self, key: Any) -> int:
        """Return the number of the item with a primary key; it is too high if there is none."""
        return (int(key[KEY]["S"], 16) - self._offset) * self._inverse % _CODES

    def absent(self, count: int) -> Iterable[Item]:
        """Return items that the table never had."""
        return (self._made(self.items + number, _NOTE) for number in range(count))

    def _made(self, number: int, note: Any) -> Item:
        return {
            **self.key(number),
            "name": {"S": f"item number {number:010d}"},
            "stock": _STOCKS[number % 810],
            "note": note,
        }
