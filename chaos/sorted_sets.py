"""What sorted sets should hold beside a view's entries, worked out from the documentation."""

import random
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from chaos.attributes import Item, UnwritableError, escape, find, key_text
from dynamirror.views.index import IndexSpec

_MARKS = {"S": "", "N": "%n", "B": "%b"}
_TYPES = {"b": "B", "n": "N", "s": "S"}


@dataclass(frozen=True)
class SortedSets:
    """The sorted sets of one view.

    Args:
        prefix: what the view's keys begin with.
        escaped: characters that a value in a key does not show as they are.
        keys: names of the table's key attributes, all of them text.
        partition: attribute that shares out the entries; None for one sorted set.
        sort: attribute that orders them; None for the primary key alone, or for a score.
        score: attribute with the number that orders them; None for none.
        is_collection: whether members are bare sort keys.
    """

    prefix: str
    escaped: str
    keys: tuple[str, ...]
    partition: str | None
    sort: str | None
    score: str | None
    is_collection: bool

    @property
    def marked(self) -> frozenset[str]:
        """The attributes whose values stand in keys with their types."""
        if self.score or self.is_collection:
            return frozenset()
        return frozenset({self.partition or "", self.sort or ""}) - {*self.keys, ""}

    def mark(self, name: str, value: Mapping[str, Any]) -> str:
        """What stands before an attribute in a key."""
        ((tag, _),) = value.items()
        return _MARKS[tag] if name in self.marked else ""

    def holds(self, item: Item) -> bool:
        """Whether an item has what places it."""
        if self.score is not None and not _is_of("N", find(self.score, item)):
            return False
        named = [name for name in (self.partition, self.sort) if name]
        return all(_is_of("SNB", item.get(name)) for name in named)

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes that a key names."""
        named = dict.fromkeys((self.partition, self.sort, *self.keys))
        return tuple(name for name in named if name)

    @property
    def template(self) -> tuple[tuple[str, str], ...]:
        """Literals and attributes of a key, in turn."""
        between = [":" if self.partition is None else "}:", *[":"] * len(self.names)]
        return (
            (self.prefix, self.names[0]),
            *zip(between, self.names[1:], strict=False),
        )

    def _text(self, value: Mapping[str, Any]) -> str:
        return escape(key_text(value), self.escaped)

    def key(self, item: Item) -> str:
        """The key of the set that an item is in."""
        if self.partition is None:
            return f"{self.prefix}%%"
        value = item[self.partition]
        return f"{self.prefix}{self.mark(self.partition, value)}{self._text(value)}}}:%%"

    def member(self, item: Item) -> tuple[Any, ...]:
        """What stands for an item, in a form that is ordered as the set is."""
        rest = [self._text(item[key]) for key in self.keys if key != self.partition]
        if self.score is not None:
            number = (find(self.score, item) or {})["N"]
            return float(number), ":".join(rest).encode()
        if self.is_collection:
            return 0.0, item[self.keys[1]]["S"].encode()
        named = () if self.sort is None else _value(item[self.sort])
        tie = (
            item[key]["S"].encode() for key in self.keys if key not in (self.partition, self.sort)
        )
        return 0.0, *named, *tie

    def read(self, member: bytes, score: float) -> tuple[Any, ...]:
        """The same of a member as it is in the cache."""
        if self.score is not None or self.is_collection:
            return score, member
        *parts, last = member.split(b"\0")
        assert last == b""
        parts = [part.replace(b"\1\1", b"\0").replace(b"\1\2", b"\1") for part in parts]
        if self.sort is None:
            return score, *parts
        tag = _TYPES[chr(parts[0][0])]
        content = parts[0][1:]
        return score, tag, _number(content.decode()) if tag == "N" else content, *parts[1:]


def _is_of(tags: str, value: Mapping[str, Any] | None) -> bool:
    """Whether a value is of one of some types."""
    if value == {"X": "?"}:
        raise UnwritableError
    return value is not None and not value.keys().isdisjoint(tags)


def draw_order(
    rng: random.Random, kind: str, prefix: str, keys: tuple[str, ...]
) -> tuple[SortedSets | None, dict[str, Any]]:
    """Draw the sorted sets and the words of a view of some kind; None for a kind without any."""
    partition: str | None = keys[0]
    sort = score = None
    words: dict[str, Any] = {}
    match kind:
        case "collection":
            words = {"collection": True}
        case "index":
            partition, sort = rng.choice(
                [("a", None), ("a", "b"), ("a", "n"), ("b", "a"), (keys[0], "a"), ("n", keys[0])]
            )
            words = {"index": IndexSpec(partition, sort)}
        case "board" | "whole board":
            partition = rng.choice(("a", "b", "n")) if kind == "board" else None
            words, score = {"index": IndexSpec(partition)}, rng.choice(("n", "m.c"))
        case "board of partitions":
            words, score = {"collection": True}, "n"
        case _:
            return None, {}
    literal = prefix + ("{t}:" if partition is None else "{")
    names = [name for name in dict.fromkeys((partition, sort, *keys)) if name]
    shared = "{{t}}:" if partition is None else f"{{{{{{{names.pop(0)}}}}}}}:"
    is_parted = len(names) > 1
    words |= {"score": score, "key": prefix + shared + ":".join(f"{{{name}}}" for name in names)}
    sets = SortedSets(
        *(literal, "%{}:" if is_parted else "%{}", keys, partition, sort, score),
        is_collection=kind == "collection",
    )
    return sets, words


def _value(value: Mapping[str, Any]) -> tuple[str, Any]:
    ((tag, content),) = value.items()
    if tag == "N":
        return tag, Decimal(content)
    return tag, content.encode() if tag == "S" else b64decode(content)


def _number(text: str) -> Decimal:
    if text == "1":
        return Decimal(0)
    body = text[1:].rstrip(":")
    if text[0] == "0":
        body = "".join(str(9 - int(digit)) for digit in body)
    number = Decimal(f"0.{body[4:]}E{int(body[:4]) - 5000}")
    return -number if text[0] == "0" else number
