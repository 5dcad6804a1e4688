"""Boards: the entries of a view in the order of a number, for plain clients."""

from collections.abc import Callable, Mapping
from typing import Final, Self

import msgspec

from dynamirror.errors import ConfigError, RecordError
from dynamirror.records.attribute_value import (
    AttributeValue,
    Item,
    number_text,
    string_content,
    tag_and_content,
    utf8,
)
from dynamirror.records.key_codec import key_text
from dynamirror.views.collection import check_slot, index_key, partition_part
from dynamirror.views.condition import path
from dynamirror.views.escaping import any_of, escape, own_space, step_back, unescaped
from dynamirror.views.index import is_indexed
from dynamirror.views.key_template import KeyTemplate

_WHOLE: Final[AttributeValue] = {"NULL": True}
_NO_NUMBERS: Final = ({"S"}, {"B"})
# Ends the key of the sorted set of a whole table, behind what all keys begin with.
_END: Final = "%%"


class Board(msgspec.Struct, frozen=True):
    """A sorted set of the entries of one partition value, or of all, with a number as the score.

    A member is what the key of its entry has behind the hash tag and the separator: the text of the
    primary key.
    The score is the nearest double.

    Args:
        template: of the entries' keys.
        partition_name: name of the partition attribute; None for one sorted set.
        points: finds the number in an item.
        key_of: item to key of its entry.
        identify: key of an entry to the attributes that it names.
    """

    template: KeyTemplate
    partition_name: str | None
    points: Callable[[Item], AttributeValue | None]
    key_of: Callable[[Item], str | None]
    identify: Callable[[str], Item | None]

    @classmethod
    def of(
        cls,
        template: KeyTemplate,
        partition: str | None,
        score: str,
        *,
        keys: tuple[str, ...],
        key_of: Callable[[Item], str | None],
        identify: Callable[[str], Item | None],
    ) -> Self:
        """Return the board of a view.

        Args:
            template: of the entries' keys.
            partition: name of the partition attribute; None for one sorted set.
            score: name of the attribute with the number; dots lead into maps.
            keys: names of the primary-key attributes.
            key_of: item to key of its entry.
            identify: key of an entry to the attributes that it names.

        Raises:
            ConfigError: the template does not name the attributes, or the entries share no slot.
        """
        names = tuple(dict.fromkeys((*((partition,) if partition else ()), *keys)))
        if sorted(template.names) != sorted(names):
            wanted = ", ".join(f"{{{name}}}" for name in names)
            raise ConfigError(
                f"key {template.text!r}: the key of a view with `score` names the partition "
                f"attribute and the primary key, each once, and no other: {wanted}"
            )
        if partition is None:
            _check_whole(template)
        elif len(names) == 1:
            raise ConfigError(
                f"score: {partition} is the whole primary key, so that each item would be alone; "
                "name another partition, or none with `index = {}`"
            )
        else:
            check_slot(template, partition, names[1])
        return cls(template, partition, path(score, keys), key_of, identify)

    def holds(self, item: Item) -> bool:
        """Return whether an item is on the board: it has the number, and the partition."""
        value = self.points(item)
        if not is_indexed(value) or (isinstance(value, Mapping) and value.keys() in _NO_NUMBERS):
            return False
        return self.partition_name is None or is_indexed(item.get(self.partition_name))

    def index_key(self, item: Item) -> str:
        """Return the key of the sorted set of an item's entry; raises RecordError if none."""
        if self.partition_name is None:
            return own_space(f"{self.template.literals[0]}{_END}")
        return index_key(self.template, self._text(item))

    def member(self, item: Item) -> bytes:
        """Return an item's member; raises RecordError if it can have none."""
        key = self.key_of(item)
        assert key is not None
        return utf8(step_back(key)[len(self._head(item)) :])

    def score(self, item: Item) -> bytes:
        """Return the score of an item's member, as the cache reads it.

        Raises:
            RecordError: the number is damaged.
        """
        value = self.points(item)
        if value is None:  # of a deleted item, the score does not matter
            return b"0"
        tag, content = tag_and_content(value)
        if tag != "N":
            raise RecordError(f"a score must be a number, and not of the unknown type {tag}")
        return repr(float(number_text(string_content(content, tag)))).encode()

    def entry_of(self, partition: AttributeValue, member: bytes) -> tuple[str, Item] | None:
        """Return a member's entry, with the attributes that its key names; None if it is none.

        Args:
            partition: as `partition_of` returns it.
            member: of the sorted set.
        """
        item = {} if self.partition_name is None else {self.partition_name: partition}
        try:
            key = own_space(self._head(item) + member.decode())
            found = self.identify(key)
            if found is None or self.key_of(found) != key or self.member(found) != member:
                return None
        except (RecordError, UnicodeDecodeError):
            return None
        return key, found

    def partition_of(self, key: str) -> AttributeValue | None:
        """Return the partition value of a sorted set; None if the key is not that of one."""
        if self.partition_name is None:
            return _WHOLE if key == self.index_key({}) else None
        part = partition_part(self.template, key)
        try:
            value = {"S": unescaped(part or "")}  # only its text matters
            return value if self.index_key({self.partition_name: value}) == key else None
        except (RecordError, UnicodeDecodeError):
            return None

    def _head(self, item: Item) -> str:
        """Return what the keys of all entries of an item's sorted set begin with."""
        first, *others = self.template.literals
        return first if self.partition_name is None else f"{first}{self._text(item)}{others[0]}"

    def _text(self, item: Item) -> str:
        assert self.partition_name is not None
        return escape(key_text(item[self.partition_name]), any_of(self.template.escaped))


def _check_whole(template: KeyTemplate) -> None:
    if "}" not in template.literals[0]:
        raise ConfigError(
            f"key {template.text!r}: one sorted set of all items needs all keys in one slot, so a "
            "hash tag without an attribute, as in {table}:{{board}}:{id}"
        )
