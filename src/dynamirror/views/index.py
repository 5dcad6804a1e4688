"""Index views: entries in the order of other attributes than the table's key, as a GSI has them."""

import re
from collections.abc import Callable, Mapping
from typing import Final, Self

import msgspec

from dynamirror.errors import ConfigError, KeyTooLongError, RecordError
from dynamirror.records.attribute_value import AttributeValue, Item
from dynamirror.records.key_codec import key_text, key_value, sort_bytes, sort_value
from dynamirror.views.collection import check_slot, index_key, partition_part
from dynamirror.views.escaping import any_of, escape, unescaped
from dynamirror.views.key_template import MOST_KEY_BYTES, KeyTemplate, mark
from dynamirror.views.ranges import Bound, Range, following

# In the order in which they stand where a sort attribute has several types.
_TYPES: Final = {"B": b"b", "N": b"n", "S": b"s"}
_TAGS: Final = {code[0]: tag for tag, code in _TYPES.items()}
_OTHER_TYPES: Final = frozenset({"BOOL", "NULL", "M", "L", "SS", "NS", "BS"})
# Ends a part of a member. It and the next byte are escaped in the part, so that no part begins with
# another and its end, and the order stays.
_END: Final = b"\0"
_ESCAPES: Final = {b"\0": b"\1\1", b"\1": b"\1\2"}
_BACK: Final = {escaped: byte for byte, escaped in _ESCAPES.items()}
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_GlobalSecondaryIndex.html
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}")


class IndexSpec(msgspec.Struct, frozen=True):
    """The key schema of an index, as the user writes it.

    Args:
        partition: name of the partition attribute; None for one sorted set of all items.
        sort: name of the sort attribute; None for none.
    """

    partition: str | None = None
    sort: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes."""
        return tuple(name for name in (self.partition, self.sort) if name is not None)


class Index(msgspec.Struct, frozen=True):
    """The index of the entries of one partition value.

    It is a sorted set, all of whose scores are 0. A member is the type and the bytes of the sort
    attribute, and then the primary key, each part with an end mark. An entry's key names the same
    attributes with their types, so that each entry has one member and each member one entry.

    Args:
        name: name of the view.
        template: of the entries' keys.
        partition_name: name of the partition attribute.
        sort_name: name of the sort attribute; None for none.
        rest: the primary-key attributes that are neither of these.
        types: of the primary-key attributes, as far as they are known.
        key_of: item to key of its entry.
    """

    name: str
    template: KeyTemplate
    partition_name: str
    sort_name: str | None
    rest: tuple[str, ...]
    types: Mapping[str, str]
    key_of: Callable[[Item], str | None]

    @classmethod
    def of(
        cls,
        name: str,
        spec: IndexSpec,
        template: KeyTemplate,
        *,
        keys: tuple[str, ...],
        types: Mapping[str, str],
        key_of: Callable[[Item], str | None],
    ) -> Self:
        """Return the index of a view.

        Raises:
            ConfigError: a key of the template could belong to two members, or the reverse.
        """
        assert spec.partition is not None
        names = named(spec, keys)
        if sorted(template.names) != sorted(names):
            wanted = ", ".join(f"{{{attribute}}}" for attribute in names)
            raise ConfigError(
                f"key {template.text!r}: an index view's key names the attributes of the index and "
                f"of the primary key, each once, and no other: {wanted}"
            )
        check_slot(template, *names[:2])
        rest = tuple(key for key in keys if key not in spec.names)
        return cls(name, template, spec.partition, spec.sort, rest, types, key_of)

    def holds(self, item: Item) -> bool:
        """Return whether an item is in the index: it has the attributes, as values of keys."""
        names = (self.partition_name, self.sort_name) if self.sort_name else (self.partition_name,)
        return all(map(_can_be_key, map(item.get, names), MOST_KEY_BYTES))

    def index_key(self, item: Item) -> str:
        """Return the key of the index of an item's entry; raises RecordError if it has none."""
        value = item[self.partition_name]
        text = escape(key_text(value), any_of(self.template.escaped))
        if self.partition_name in self.template.typed:
            text = mark(value) + text
        return index_key(self.template, text)

    def member(self, item: Item) -> bytes:
        """Return an item's member in the index; raises RecordError if it can have none.

        Args:
            item: the item, or its index and primary-key attributes, as LastEvaluatedKey holds them.
        """
        first = _typed(item[self.sort_name]) if self.sort_name else b""
        return first + b"".join(_part(item[name]) for name in self.rest)

    def score(self, item: Item) -> bytes:  # noqa: ARG002 - as other members have it
        """Return the score of an item's member."""
        return b"0"

    def range_of(self, operator: str, operands: tuple[AttributeValue, ...]) -> Range:
        """Return the members whose sort attributes a condition selects.

        Args:
            operator: `=`, `<`, `<=`, `>`, `>=`, `BETWEEN` or `begins_with`; empty for all.
            operands: of the condition, all of one type.

        Raises:
            RecordError: an operand is no value of a key.
        """
        if not operator:
            return Range()
        # A member is longer than the part of it that these make, so ends are never met exactly.
        parts = [_typed(operand) for operand in operands]
        if operator == "begins_with":
            parts = [parts[0].removesuffix(_END)]
        first, last = parts[0], parts[-1]
        (tag,) = operands[0]
        low, high = _TYPES[tag], following(_TYPES[tag])
        match operator:
            case "=" | "BETWEEN" | "begins_with":
                low, high = first, following(last)
            case "<":
                high = first
            case "<=":
                high = following(first)
            case ">":
                low = following(first) or first
            case ">=":
                low = first
            case _:
                raise ValueError(f"no key condition has the operator {operator!r}")
        assert high is not None
        return Range(Bound(low, inside=True), Bound(high, inside=False))

    def entry_of(self, partition: AttributeValue, member: bytes) -> tuple[str, Item] | None:
        """Return a member's entry, with its index and primary key; None if it is no such member.

        The types of the table's key attributes must be known.

        Args:
            partition: the partition value.
            member: of the index.

        Raises:
            KeyTooLongError: the cache takes no such key.
        """
        try:
            item = {self.partition_name: partition, **self._attributes(member)}
            if self.member(item) != member:
                return None
            key = self.key_of(item)
        except KeyTooLongError:
            raise
        except (RecordError, LookupError, ValueError):
            return None
        return None if key is None else (key, item)

    def _attributes(self, member: bytes) -> dict[str, AttributeValue]:
        """Return the attributes in a member; raises LookupError or ValueError if it is none."""
        values: dict[str, AttributeValue] = {}
        if self.sort_name:
            tag = _TAGS[member[0]]
            part, _, member = member[1:].partition(_END)
            if self.types.get(self.sort_name, tag) != tag:
                raise ValueError("no such type")
            values[self.sort_name] = sort_value(_unescaped(part), tag)
        for name in self.rest:
            part, _, member = member.partition(_END)
            values[name] = sort_value(_unescaped(part), self.types[name])
        return values

    def partition_of(self, key: str) -> AttributeValue | None:
        """Return the partition value of an index; None if the key is not that of an index."""
        part = partition_part(self.template, key)
        if part is None:
            return None
        tags = (self.types[self.partition_name],) if self.partition_name in self.types else _TYPES
        for tag in tags:
            prefix = mark({tag: ""}) if self.partition_name in self.template.typed else ""
            try:
                value = key_value(unescaped(part.removeprefix(prefix)), tag)
                if self.index_key({self.partition_name: value}) == key:
                    return value
            except (RecordError, UnicodeDecodeError):
                continue
        return None


def named(spec: IndexSpec, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the attributes that an index view's key names, in the order of the default key."""
    return tuple(dict.fromkeys((*spec.names, *keys)))


def typed(spec: IndexSpec, keys: tuple[str, ...]) -> frozenset[str]:
    """Return the attributes of an index that may have values of several types.

    Raises:
        ConfigError: an attribute cannot be one of an index.
    """
    for name in spec.names:
        if "." in name and name not in keys:
            raise ConfigError(
                f"index: {name!r} has a dot; an index has attributes of the item itself, and none "
                "of a map in it"
            )
    if len(set(spec.names)) < len(spec.names):
        raise ConfigError(f"index: partition and sort are both {spec.sort}; they must differ")
    return frozenset(spec.names) - frozenset(keys)


def check_name(name: str) -> None:
    """Refuse a view's name that no query could give as IndexName.

    Raises:
        ConfigError: it is no such name.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "name: an index view is queried by its name, so it needs one of 3 to 255 letters, "
            f"digits, '_', '-' and '.', not {name!r}"
        )


def is_indexed(value: AttributeValue | None) -> bool:
    """Return whether a value can stand in an index; a damaged one does, and is refused there."""
    if value is None:
        return False
    return not isinstance(value, Mapping) or len(value) != 1 or _OTHER_TYPES.isdisjoint(value)


def _can_be_key(value: AttributeValue | None, most: int) -> bool:
    """Return whether DynamoDB takes a value for a key attribute of an index.

    A table with such an index refuses any other value, and an index that is added leaves it out.
    """
    if not is_indexed(value):
        return False
    match value:
        case {"S": str(text)}:
            # A lone surrogate is refused where it is written.
            return 0 < len(text) <= most and (
                text.isascii() or len(text.encode(errors="surrogatepass")) <= most
            )
        case {"B": str() | bytes() | bytearray() as content}:
            size = len(content) if not isinstance(content, str) else _base64_size(content)
            return 0 < size <= most
    return True


def _base64_size(text: str) -> int:
    """Return the number of bytes that a base64 text stands for."""
    return len(text.rstrip("=")) * 3 // 4


def _typed(value: AttributeValue) -> bytes:
    part = _part(value)
    (tag,) = value
    return _TYPES[tag] + part


def _part(value: AttributeValue) -> bytes:
    text = sort_bytes(value)
    if _END in text or b"\1" in text:
        text = re.sub(rb"[\x00\x01]", lambda match: _ESCAPES[match[0]], text)
    return text + _END


def _unescaped(part: bytes) -> bytes:
    return re.sub(rb"\x01.?", lambda match: _BACK[match[0]], part, flags=re.DOTALL)
