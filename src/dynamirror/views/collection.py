"""Collections: the entries of one partition key in the order of the sort key."""

from collections.abc import Callable
from typing import Self

import msgspec

from dynamirror.errors import ConfigError, RecordError
from dynamirror.records.attribute_value import AttributeValue, Item, utf8
from dynamirror.records.key_codec import key_text, key_value, sort_bytes, sort_value
from dynamirror.views.escaping import any_of, escape, own_space, step_back, unescaped
from dynamirror.views.key_template import KeyTemplate
from dynamirror.views.ranges import Bound, Range, following

# Ends the key of an index, behind the partition key.
_END = "}:%%"


class Collection(msgspec.Struct, frozen=True):
    """The index of the entries of one partition key.

    It is a sorted set, all of whose scores are 0, so that its members stand in their own order:
    each is a sort key (`key_codec.sort_bytes`). No template renders its key, since `%%` stands for
    no value.

    Args:
        template: of the entries' keys.
        partition_name: name of the partition key.
        sort_name: name of the sort key.
        types: of both, partition key first; empty where they are not known.
        key_of: item to key of its entry, as a view has it.
    """

    template: KeyTemplate
    partition_name: str
    sort_name: str
    types: tuple[str, ...]
    key_of: Callable[[Item], str | None]

    @classmethod
    def of(
        cls,
        template: KeyTemplate,
        keys: tuple[str, ...],
        types: tuple[str, ...],
        key_of: Callable[[Item], str | None],
    ) -> Self:
        """Return the collection of a view's entries, of which each partition has its own hash slot.

        Args:
            template: of the entries' keys.
            keys: names of the primary-key attributes, partition key first.
            types: their types; empty where they are not known.
            key_of: item to key of its entry.

        Raises:
            ConfigError: the keys of one partition do not share a slot.
        """
        if len(keys) == 1 or template.names != keys:
            raise ConfigError(
                f"key {template.text!r}: a collection's key names the partition key and the sort "
                "key, each once, as in order:{{{pk}}}:{sk}"
            )
        check_slot(template, keys[0], keys[1])
        return cls(template, keys[0], keys[1], types, key_of)

    def holds(self, item: Item) -> bool:  # noqa: ARG002 - as other members have it
        """Return whether an item can be in it."""
        return True

    def score(self, item: Item) -> bytes:  # noqa: ARG002 - as other members have it
        """Return the score of an item's member."""
        return b"0"

    def index_key(self, item: Item) -> str:
        """Return the key of the index of an item's entry; raises RecordError if it has none."""
        text = escape(key_text(item[self.partition_name]), any_of(self.template.escaped))
        return index_key(self.template, text)

    def member(self, item: Item) -> bytes:
        """Return an item's member in the index; raises RecordError if it can have none."""
        return sort_bytes(item[self.sort_name])

    def range_of(self, operator: str, operands: tuple[AttributeValue, ...]) -> Range:
        """Return the members whose sort keys a condition selects.

        Args:
            operator: `=`, `<`, `<=`, `>`, `>=`, `BETWEEN` or `begins_with`; empty for all.
            operands: of the condition, of the sort key's type.

        Raises:
            RecordError: an operand is no value of a sort key.
        """
        ends = [sort_bytes(operand) for operand in operands]
        match operator:
            case "":
                return Range()
            case "=" | "BETWEEN":
                return Range(Bound(ends[0], inside=True), Bound(ends[-1], inside=True))
            case "begins_with":
                above = following(ends[0])
                high = None if above is None else Bound(above, inside=False)
                return Range(Bound(ends[0], inside=True), high)
            case "<" | "<=":
                return Range(high=Bound(ends[0], inside=operator == "<="))
            case ">" | ">=":
                return Range(low=Bound(ends[0], inside=operator == ">="))
        raise ValueError(f"no key condition has the operator {operator!r}")

    def entry_of(self, partition: AttributeValue, member: bytes) -> tuple[str, Item] | None:
        """Return the key of a member's entry, and its primary key; None if it is no such member.

        The types of the table's key attributes must be known.

        Args:
            partition: the partition key.
            member: of the index.

        Raises:
            KeyTooLongError: the cache takes no such key.
        """
        tag = self.types[1]
        try:
            item = {self.partition_name: partition, self.sort_name: sort_value(member, tag)}
            # Numbers alone have bytes that are no member.
            if tag == "N" and self.member(item) != member:
                return None
        except (RecordError, ValueError, IndexError):
            return None
        key = self.key_of(item)
        return None if key is None else (key, item)

    def partition_of(self, key: str) -> AttributeValue | None:
        """Return the partition key of an index; None if the key is not that of an index.

        The types of the table's key attributes must be known.
        """
        part = partition_part(self.template, key)
        try:
            value = None if part is None else key_value(unescaped(part), self.types[0])
        except (RecordError, UnicodeDecodeError):
            return None
        return value if value and self.index_key({self.partition_name: value}) == key else None


def check_slot(template: KeyTemplate, partition: str, other: str | None = None) -> None:
    """Check that the entries of one partition share a hash slot, and leave a key for their index.

    Args:
        template: of the entries' keys.
        partition: name of the partition key.
        other: name of the attribute behind it, for the error; None for none.

    Raises:
        ConfigError: they do not.
    """
    head, between, *rest = template.literals
    if template.names[0] != partition or not head.endswith("{") or not between.startswith("}"):
        end = "" if other is None else f":{{{other}}}"
        raise ConfigError(
            f"key {template.text!r}: entries that are read in order share a slot, so their key "
            f"has the partition key alone in a hash tag, as in order:{{{{{{{partition}}}}}}}{end}"
        )
    if "%" in between + "".join(rest):
        raise ConfigError(
            f"key {template.text!r}: % behind the partition key is kept for the index of a "
            "collection; choose another separator"
        )


def index_key(template: KeyTemplate, text: str) -> str:
    """Return the key of the index of a partition, from the escaped text of the partition key.

    Raises:
        RecordError: the text is not valid Unicode.
    """
    key = f"{template.literals[0]}{text}{_END}"
    utf8(key)
    return own_space(key)


def partition_part(template: KeyTemplate, key: str) -> str | None:
    """Return what stands for the partition key in an index's key; None if it is no such key."""
    head, plain = template.literals[0], step_back(key)
    if not (plain.startswith(head) and plain.endswith(_END)):
        return None
    return plain[len(head) : -len(_END)]
