"""What a cache should hold of a table, worked out from the documentation and not from the code."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from chaos.attributes import Item, UnwritableError, escape, find, key_text
from chaos.sorted_sets import SortedSets

# What an entry holds: "json", "text" or "hash", and the value in a form that can be compared.
Held = tuple[str, Any]


@dataclass(frozen=True)
class Look:
    """One view, as its words in `mirror.toml` describe it.

    Args:
        name: what quarantine calls it.
        key: literals and, in braces, attributes, in turn; the first is a literal.
        escaped: characters that a value in a key does not show as they are.
        encoding: json, dynamodb-json, hash, or attribute.
        attribute: which one, if that is the encoding.
        when: which items it is for; None for all.
        include: only these attributes; None for all.
        exclude: not these.
        rename: new names, by old ones.
        constants: attributes of every entry.
        ttl: the attribute that tells when an entry expires; None for never.
        sets: the sorted sets of the entries; None for none.
    """

    name: str
    key: tuple[tuple[str, str], ...]
    escaped: str
    encoding: str = "json"
    attribute: str | None = None
    when: Mapping[str, Any] | None = None
    include: frozenset[str] | None = None
    exclude: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ttl: str | None = None
    sets: SortedSets | None = None

    def entry(self, item: Item) -> tuple[str, Held] | None:
        """The key and what it holds; None for no entry.

        Raises:
            UnwritableError: the item cannot have the entry that it should.
        """
        if self.when is not None and not holds(self.when, item):
            return None
        if self.sets is not None and not self.sets.holds(item):
            return None
        key = ""
        for literal, name in self.key:
            key += literal
            if name:
                value = find(name, item)
                if value is None:
                    return None
                mark = self.sets.mark(name, value) if self.sets else ""
                key += mark + escape(key_text(value), self.escaped)
        checked(key)  # as a whole: an item that lacks an attribute has no key to be checked
        held = self._held(item)
        return None if held is None else (key, held)

    def _held(self, item: Item) -> Held | None:
        shown = {
            name: value
            for name, value in item.items()
            if (self.include is None or name in self.include) and name not in self.exclude
        }
        moved = {new: shown.pop(old) for old, new in self.rename.items() if old in shown}
        shown |= {**moved, **self.constants}
        if self.encoding == "attribute":
            assert self.attribute is not None
            return held_alone(shown[self.attribute]) if self.attribute in shown else None
        if self.encoding == "hash":
            return ("hash", {n: held_alone(v) for n, v in shown.items()}) if shown else None
        form = plain if self.encoding == "json" else as_typed
        return "json", {name: form(value) for name, value in shown.items()}

    def expires(self, item: Item) -> int | None:
        """When the entry expires, None for never."""
        value = item.get(self.ttl, {}) if self.ttl else {}
        return int(value["N"]) if "N" in value else None


@dataclass
class Expected:
    """All that should be there.

    Args:
        entries: key to what it holds and when it expires.
        sets: key of a sorted set to its members, in order.
        unwritable: items by their keys, as JSON, to the views that cannot write them.
    """

    entries: dict[str, tuple[Held, int | None]] = field(default_factory=dict)
    sets: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    unwritable: dict[str, set[str]] = field(default_factory=dict)


def expected(table: Iterable[Item], looks: Iterable[Look], keys: tuple[str, ...], now: int) -> Any:
    """What the cache should hold of a table.

    Args:
        table: all items.
        looks: all views.
        keys: names of the key attributes.
        now: seconds since 1970, to tell what has expired.
    """
    result, looks = Expected(), tuple(looks)
    for item in table:
        for look in looks:
            try:
                entry = look.entry(item)
            except UnwritableError:
                result.unwritable.setdefault(name_of(item, keys), set()).add(look.name)
                continue
            if entry is None:
                continue
            if look.sets is not None:
                result.sets.setdefault(look.sets.key(item), []).append(look.sets.member(item))
            expires = look.expires(item)
            if expires is None or expires > now:
                result.entries[entry[0]] = entry[1], expires
    for members in result.sets.values():
        members.sort()
    return result


def name_of(item: Item, keys: Iterable[str]) -> str:
    """What tells an item from all others, as the quarantine spells it."""
    key = {name: item[name] for name in keys}
    return json.dumps(key, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def checked(text: str) -> str:
    """Text, if it can be written at all."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UnwritableError
    return text


def plain(value: Mapping[str, Any]) -> Any:
    """A value as plain JSON has it, every number as a Decimal."""
    ((tag, content),) = value.items()
    forms: Mapping[str, Callable[[Any], Any]] = {
        "S": checked,
        "N": Decimal,
        "B": str,
        "BOOL": bool,
        "NULL": lambda _content: None,
        "SS": sorted,
        "L": lambda values: [plain(one) for one in values],
        "M": lambda values: {name: plain(one) for name, one in values.items()},
    }
    if tag not in forms:
        raise UnwritableError
    return forms[tag](content)


def as_typed(value: Mapping[str, Any]) -> Any:
    """A value as DynamoDB JSON, with sets in order."""
    plain(value)
    ((tag, content),) = value.items()
    if tag == "L":
        return {tag: [as_typed(one) for one in content]}
    if tag == "M":
        return {tag: {name: as_typed(one) for name, one in content.items()}}
    return {tag: sorted(content) if tag == "SS" else content}


def held_alone(value: Mapping[str, Any]) -> Held:
    """A value that stands alone, as a string or as a field of a hash."""
    ((tag, content),) = value.items()
    if tag in ("S", "N"):
        return "text", checked(content).encode()
    if tag == "B":
        return "text", b64decode(content)
    return "json", plain(value)


def holds(when: Mapping[str, Any], item: Item) -> bool:
    """Whether a condition of `mirror.toml` holds for an item."""
    for name, asked in when.items():
        if name in ("any", "all"):
            if not (any if name == "any" else all)(holds(one, item) for one in asked):
                return False
            continue
        value = find(name, item)
        tests = asked if isinstance(asked, Mapping) else {"equals": asked}
        if not all(_passes(test, operand, value) for test, operand in tests.items()):
            return False
    return True


def _passes(test: str, operand: Any, value: Mapping[str, Any] | None) -> bool:
    if test == "exists":
        return (value is not None) is bool(operand)
    ((tag, content),) = (value or {"": ""}).items()
    tests: Mapping[str, Callable[[], Any]] = {
        "equals": lambda: tag == "S" and content == operand,
        "in": lambda: tag == "S" and content in operand,
        "prefix": lambda: tag == "S" and content.startswith(operand),
        ">=": lambda: tag == "N" and Decimal(content) >= operand,
        "<": lambda: tag == "N" and Decimal(content) < operand,
    }
    return bool(tests[test]())


def matches(held: Any, wanted: Held) -> bool:
    """Whether the bytes of an entry, or its fields and values in turn, are what they should be."""
    kind, value = wanted
    if kind == "hash":
        fields = dict(zip(held[::2], held[1::2], strict=True)) if isinstance(held, list) else {}
        return fields.keys() == {name.encode() for name in value} and all(
            matches(fields[name.encode()], one) for name, one in value.items()
        )
    if not isinstance(held, bytes):
        return False
    if kind == "text":
        return bool(held == value)
    return bool(json.loads(held, parse_float=Decimal, parse_int=Decimal) == value)


def binary(content: bytes) -> str:
    """Binary as a stream hands it over."""
    return b64encode(content).decode()
