"""A view of a table: how its items are found in the cache, and in the table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any, Final, NamedTuple

import msgspec

from dynamirror.cache.entry_state import expected_state, read_command
from dynamirror.cache.scripts import Command
from dynamirror.errors import RecordError
from dynamirror.reader.completeness_check import CompletenessCheck
from dynamirror.reader.guarded_cache import Counter
from dynamirror.reader.values import Values, decoder, parse_item, primary_key
from dynamirror.records.attribute_value import Item
from dynamirror.records.version import ChangeVersion, SnapshotVersion, Version
from dynamirror.views.canary import is_canary
from dynamirror.views.encoding import DYNAMODB_JSON, ValueType, unpack_fields
from dynamirror.views.entry import Put, entry_of_row
from dynamirror.views.view import View

_ROW: Final = SnapshotVersion(0)  # never written
# What a value that nobody mirrored may raise.
FOREIGN: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    msgspec.MsgspecError,
)


class EntryLocation(NamedTuple):
    """The location of an item's entry.

    Args:
        key: of its entry.
        item: its primary key.
        reading: the command that reads the entry.
    """

    key: str
    item: Item
    reading: Command


@dataclass(frozen=True, slots=True)
class Source:
    """The view that a reader reads, and what it knows of the mirror.

    Args:
        view: the view.
        check: the table's completeness marker.
        absent: whether what is missing in a complete mirror counts as absent.
        counter: counts look-ups.
        now: seconds since 1970.
    """

    view: View
    check: CompletenessCheck
    absent: bool = False
    counter: Counter = field(default_factory=Counter)
    now: Callable[[], float] = time
    is_typed: bool = field(init=False)
    is_whole: bool = field(init=False)
    _decode: Callable[[Any], Values] = field(init=False)
    _word: bytes = field(init=False)

    def __post_init__(self) -> None:
        view = self.view
        typed = view.encoding is DYNAMODB_JSON
        object.__setattr__(self, "is_typed", typed)
        # Whether an entry is the item itself, and every item has one.
        whole = typed and view.make is None and view.when is None and view.ttl is None
        object.__setattr__(self, "is_whole", whole)
        # The command that reads an entry, since making it anew for each read takes its time.
        object.__setattr__(self, "_word", read_command(b"", view).words[0])
        object.__setattr__(self, "_decode", decoder(self.view))

    @property
    def believes(self) -> bool:
        """Return whether what a complete mirror lacks may count as absent."""
        # A full cache evicts what has an expiry: there, what is missing may be in the table.
        return self.absent and self.view.ttl is None

    def place(self, given: Mapping[str, Any], operation: str) -> EntryLocation | None:
        """Return the location of a primary key in Python's types; None if not in this view.

        Args:
            given: the primary key.
            operation: what it is for, such as GetItem.

        Raises:
            ClientError: DynamoDB would refuse the key.
            ParamValidationError: it is no mapping.
            TypeError: DynamoDB has no such values.
            ValueError: a text is not valid Unicode.
        """
        item = primary_key(given, self.view.schema, self.view.pinned, operation)
        if item is None:
            return None
        return self.place_of(item)

    def place_of(self, item: Item) -> EntryLocation:
        """Return the location of an entry from a key in DynamoDB JSON."""
        try:
            key = self.view.key_of(item)
        except RecordError as error:
            raise ValueError(str(error)) from None
        assert key is not None
        name = key.encode()
        return EntryLocation(key, item, Command(name, (self._word, name)))

    def entry(self, reply: Any) -> Values | None:
        """Return an entry's item from the cache's answer; None for no entry of ours."""
        if reply is None or reply == []:  # an empty text is a value
            return None
        try:
            return self._decode(reply)
        except FOREIGN:
            return None

    def item(self, reply: Any) -> Item | None:
        """Return the same in DynamoDB JSON; the view's encoding must keep the types."""
        return None if self.entry(reply) is None else parse_item(reply)

    def as_entry(self, item: Item | None, *, typed: bool = False) -> Any:
        """Return the item as its entry would show it; None without an entry in this view.

        Args:
            item: the item; None for none.
            typed: whether it is shown in DynamoDB JSON, rather than in values of Python.
        """
        if item is None or is_canary(item, self.view.schema):
            return None
        try:
            put = entry_of_row(self.view, item, item, _ROW)
        except RecordError:
            return None
        if not isinstance(put, Put):
            return None
        value: Any = expected_state(put).value
        if self.view.encoding.layout is ValueType.HASH and value is not None:
            value = unpack_fields(value)
        return self.item(value) if typed else self.entry(value)

    def age(self, version: Version | None) -> float | None:
        """Return the age of a version in seconds; None if it is unknown."""
        match version:
            case ChangeVersion(created=seconds) | SnapshotVersion(as_of=seconds):
                return max(0.0, self.now() - seconds)
        return None
