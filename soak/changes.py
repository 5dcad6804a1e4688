"""Changes of a table, made from a seed; the table itself is kept beside them: the truth."""

import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from dynamirror.views.view import Schema

TABLE: Final = "soak"
STREAM: Final = (
    f"arn:aws:dynamodb:us-east-1:000000000000:table/{TABLE}/stream/2026-01-01T00:00:00.000"
)
SCHEMA: Final = Schema(TABLE, ("pk", "sk"), ("S", "S"))
# What an item is, by its number: products, orders, tickets, lines of carts, players.
KINDS: Final = "ppootccx"
# Items share a partition with so many of their neighbours of all kinds.
_PARTITION: Final = 64
_STATUSES: Final = ("open", "paid", "sent", "closed")
_TEAMS: Final = 50
# Of the sequence numbers that DynamoDB gives, 21 digits.
_FIRST: Final = 100_000_000_000_000_000_000
_WORDS: Final = "a mirror of a table that changes while it is looked at, again and again"


class Mix(msgspec.Struct, frozen=True):
    """Which items change, and how.

    Args:
        items: number of items that the table may have.
        hot: number of items that change all the time.
        hot_share: share of the changes that concern them.
        warm: number of items that change now and then.
        warm_share: share of the changes that concern those.
        deletes: share of the changes that delete an item that exists.
        short: share of the items with an expiry that expire soon.
        is_once: whether each item is put once, in turn, and nothing else happens.
    """

    items: int = 80_000
    hot: int = 40
    hot_share: float = 0.25
    warm: int = 15_000
    warm_share: float = 0.6
    deletes: float = 0.12
    short: float = 0.1
    is_once: bool = False


class Changes:
    """Makes changes one after the other, and applies them to the table.

    Args:
        mix: which items change, and how.
        seed: of the changes.
    """

    def __init__(self, mix: Mix, seed: int) -> None:
        self.mix = mix
        self.images: list[str | None] = [None] * mix.items
        self.made = 0
        self._random = random.Random(seed)
        self._forms: Mapping[str, Callable[[int], str]] = {
            "p": self._product,
            "o": self._order,
            "t": self._ticket,
            "c": self._cart,
            "x": self._player,
        }

    def change(self, now: int) -> tuple[int, str]:
        """Make a change, and return its item's number and its record in JSON.

        Args:
            now: seconds since 1970.
        """
        number = self._number()
        self.made += 1
        keys = key_text(number)
        old = self.images[number]
        new: str | None = None
        if old is None or self._random.random() >= self.mix.deletes or self.mix.is_once:
            new = f'{{{keys},"n":{{"N":"{self.made}"}},{self._forms[KINDS[number % 8]](now)}}}'
        self.images[number] = new
        event = "REMOVE" if new is None else "INSERT" if old is None else "MODIFY"
        images = "" if new is None else f'"NewImage":{new},'
        if old is not None:
            images += f'"OldImage":{old},'
        return number, (
            f'{{"eventID":"{self.made:032x}","eventName":"{event}","eventVersion":"1.1",'
            f'"eventSource":"aws:dynamodb","awsRegion":"us-east-1","eventSourceARN":"{STREAM}",'
            f'"dynamodb":{{"ApproximateCreationDateTime":{now},"Keys":{{{keys}}},{images}'
            f'"SequenceNumber":"{_FIRST + self.made}","SizeBytes":600,'
            '"StreamViewType":"NEW_AND_OLD_IMAGES"}}'
        )

    def _number(self) -> int:
        mix, draw = self.mix, self._random.random
        if mix.is_once:
            return self.made % mix.items
        share = draw() - mix.hot_share
        if share < 0:
            return int(draw() * mix.hot)
        if share < mix.warm_share:
            return int(draw() * mix.warm)
        return int(draw() * mix.items)

    def _product(self, _now: int) -> str:
        draw = self._random.random
        return (
            f'"price":{{"N":"{int(draw() * 10_000)}.{int(draw() * 9) + 1}"}},'
            f'"tags":{{"SS":["blue","green","red"]}},"about":{{"S":"{_WORDS}"}},'
            f'"size":{{"M":{{"height":{{"N":"{int(draw() * 99)}"}},"unit":{{"S":"cm"}}}}}}'
        )

    def _order(self, now: int) -> str:
        draw = self._random.random
        status = _STATUSES[int(draw() * 4)]
        return (
            f'"status":{{"S":"{status}"}},"total":{{"N":"{int(draw() * 10_000)}"}},'
            f'"until":{{"N":"{self._until(now)}"}},"note":{{"S":"{_WORDS}"}}'
        )

    def _ticket(self, _now: int) -> str:
        status = _STATUSES[int(self._random.random() * 4)]
        return f'"status":{{"S":"{status}"}},"text":{{"S":"{_WORDS}"}}'

    def _cart(self, now: int) -> str:
        count = int(self._random.random() * 10)
        return f'"count":{{"N":"{count}"}},"until":{{"N":"{self._until(now)}"}}'

    def _player(self, _now: int) -> str:
        draw = self._random.random
        team, points = int(draw() * _TEAMS), int(draw() * 1_000)
        return f'"team":{{"S":"team {team}"}},"points":{{"N":"{points}"}}'

    def _until(self, now: int) -> int:
        draw = self._random.random
        if draw() < self.mix.short:
            return now + 20 + int(draw() * 380)
        return now + 3_600 + int(draw() * 86_400)


def key_text(number: int) -> str:
    """Return the key attributes of an item, as the inside of a JSON object."""
    return (
        f'"pk":{{"S":"{KINDS[number % 8]}{number // _PARTITION:05d}"}},"sk":{{"S":"{number:07d}"}}'
    )


def number_of(key: Mapping[str, Any]) -> int:
    """Return the number of the item with a primary key."""
    return int(key["sk"]["S"])


def sequence_of(record: Mapping[str, Any]) -> str:
    """Return the sequence number of a record."""
    text: str = record["dynamodb"]["SequenceNumber"]
    return text
