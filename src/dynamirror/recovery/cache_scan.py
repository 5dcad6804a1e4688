"""A scan of the cache for the mirror's entries."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.entry_state import EntryLocation
from dynamirror.cache.scripts import Command
from dynamirror.dynamodb.items import SnapshotReader, SnapshotRow
from dynamirror.dynamodb.keys import can_exist, identity
from dynamirror.errors import KeyTooLongError, RecordError
from dynamirror.records.attribute_value import Item, utf8
from dynamirror.views.canary import is_canary
from dynamirror.views.entry import Delete, Entry, Put
from dynamirror.views.keyspace import escape_glob
from dynamirror.views.order import Members
from dynamirror.views.view import View


@dataclass(frozen=True, slots=True)
class ScannedEntry:
    """An entry's key in the cache.

    Args:
        view: the view that the entry belongs to.
        key: the entry's key.
        attributes: of its item: the primary key, and all that place the entry in a sorted set.
    """

    view: View
    key: str
    attributes: Item

    @classmethod
    def of(cls, view: View, key: str, item: Item) -> Self:
        """Return the entry that an item has in a view."""
        placing = view.template.names if view.members else ()
        names = dict.fromkeys((*view.schema.keys, *placing))
        return cls(view, key, {name: item[name] for name in names})

    @property
    def item_key(self) -> Item:
        """The primary key of its item."""
        return self.view.schema.key_of(self.attributes)

    @property
    def location(self) -> EntryLocation:
        """The entry's location."""
        return EntryLocation(self.view, self.key, self.attributes)

    def expected_entry(self, row: SnapshotRow) -> Entry:
        """Return the entry that this key should have, by its item's snapshot row."""
        if row.item is not None and not is_canary(self.item_key, self.view.schema):
            try:
                if self.view.render(row.item) == self.key:
                    return Put(self.view, self.key, row.version, row.item)
            except RecordError:
                pass  # the item cannot have an entry
        return Delete(self.view, self.key, row.version, self.attributes)


def entries_of(cache: Cache, view: View) -> Iterator[ScannedEntry]:
    """Yield all entries of a view in the cache; some may come twice.

    Members of a sorted set come even if their entries are gone.

    Raises:
        CacheError: the cache cannot be read.
    """
    identify = view.identifier()
    for key in cache.scan(escape_glob(view.template.prefix) + "*"):
        try:
            text = key.decode()
        except UnicodeDecodeError:
            continue  # every key of the mirror is text
        attributes = identify(text)
        if attributes is not None and can_exist(view.schema.key_of(attributes)):
            yield ScannedEntry(view, text, attributes)
        elif view.members is not None:
            yield from _members(cache, view, view.members, text)


def _members(cache: Cache, view: View, members: Members, key: str) -> Iterator[ScannedEntry]:
    """Yield the entries that a sorted set lists; none if the key is not one of the view's."""
    partition = members.partition_of(key)
    if partition is None:
        return
    cursor = b"0"
    while True:
        command = Command(utf8(key), (b"ZSCAN", key, cursor, b"COUNT", 1000))
        (answer,) = cache.execute([command])
        if isinstance(answer, Failure):
            if answer.code == "WRONGTYPE":
                return  # the next entry replaces it by a sorted set
            raise cache.error(answer.reason)
        cursor, flat = answer
        for member in flat[::2]:
            try:
                found = members.entry_of(partition, member)
            except KeyTooLongError:
                continue  # nobody could write that entry
            if found is not None and can_exist(view.schema.key_of(found[1])):
                yield ScannedEntry(view, *found)
        if cursor == b"0":
            return


def expected_entries(found: Sequence[ScannedEntry], reader: SnapshotReader) -> Iterator[Entry]:
    """Read the items of entries, consistently, and yield the expected entries in that order.

    Items are read while their entries are consumed.

    Raises:
        SourceError: the table cannot be read.
    """
    for entry, row in zip(found, rows_of_entries(found, reader), strict=True):
        yield entry.expected_entry(row)


def rows_of_entries(found: Sequence[ScannedEntry], reader: SnapshotReader) -> Iterator[SnapshotRow]:
    """Read the items of entries, consistently, and yield their snapshot rows in that order.

    Raises:
        SourceError: the table cannot be read.
    """
    names = [identity(entry.item_key) for entry in found]
    uses = Counter(names)  # an item may have entries under several keys
    items = reader.read_many(entry.item_key for entry in found)
    rows: dict[Any, SnapshotRow] = {}
    for name in names:
        while name not in rows:
            row = next(items)
            rows[identity(row.key)] = row
        uses[name] -= 1
        yield rows[name] if uses[name] else rows.pop(name)
