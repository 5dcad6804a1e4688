"""Finds the mirror's entries in the cache."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.entry_state import EntryLocation
from dynamirror.cache.scripts import Command
from dynamirror.dynamodb.items import SnapshotReader, SnapshotRow
from dynamirror.dynamodb.keys import can_exist, identity
from dynamirror.errors import RecordError
from dynamirror.records.attribute_value import Item, utf8
from dynamirror.views.canary import is_canary
from dynamirror.views.entry import Delete, Entry, Put
from dynamirror.views.keyspace import escape_glob
from dynamirror.views.view import View


@dataclass(frozen=True, slots=True)
class ScannedEntry:
    """An entry's key, as it was found in the cache.

    Args:
        view: the view it belongs to.
        key: the key.
        item_key: the primary key of its item.
    """

    view: View
    key: str
    item_key: Item

    @property
    def location(self) -> EntryLocation:
        """Where it is."""
        return EntryLocation(self.view, self.key, self.item_key)

    def expected_entry(self, row: SnapshotRow) -> Entry:
        """What the table says of this key.

        Args:
            row: the item's.
        """
        if row.item is not None and not is_canary(self.item_key, self.view.schema):
            try:
                if self.view.render(row.item) == self.key:
                    return Put(self.view, self.key, row.version, row.item)
            except RecordError:
                pass  # it cannot have an entry
        return Delete(self.view, self.key, row.version, self.item_key)


def entries_of(cache: Cache, view: View) -> Iterator[ScannedEntry]:
    """All entries of a view in the cache; some may come twice. Other keys are passed over.

    What a collection has of entries that are not there comes, too.

    Raises:
        CacheError: the cache cannot be read.
    """
    identify = view.identifier()
    for key in cache.scan(escape_glob(view.template.prefix) + "*"):
        try:
            text = key.decode()
        except UnicodeDecodeError:
            continue  # a key of ours is text
        item_key = identify(text)
        if item_key is not None and can_exist(item_key):
            yield ScannedEntry(view, text, item_key)
        elif view.collection is not None:
            yield from _members(cache, view, text)


def _members(cache: Cache, view: View, key: str) -> Iterator[ScannedEntry]:
    """What an index has; none if the key is not that of one."""
    assert view.collection is not None
    partition = view.collection.partition_of(key, view.schema.types[0])
    if partition is None:
        return
    cursor = b"0"
    while True:
        command = Command(utf8(key), (b"ZSCAN", key, cursor, b"COUNT", 1000))
        (answer,) = cache.execute([command])
        if isinstance(answer, Failure):
            if answer.code == "WRONGTYPE":
                return  # it is no index; the next entry makes one of it
            raise cache.error(answer.reason)
        cursor, flat = answer
        for member in flat[::2]:
            item_key = view.collection.item_key(partition, member, view.schema.types[1])
            rendered = view.key_of(item_key) if item_key else None
            if item_key is not None and rendered is not None and can_exist(item_key):
                yield ScannedEntry(view, rendered, item_key)
        if cursor == b"0":
            return


def expected_entries(found: Sequence[ScannedEntry], reader: SnapshotReader) -> Iterator[Entry]:
    """Read the items of keys, consistently, and tell what should be there, in the keys' order.

    Items are read as their entries are drawn.

    Raises:
        SourceError: the table cannot be read.
    """
    names = [identity(one.item_key) for one in found]
    expected_state = Counter(names)  # an item may have left entries under several keys
    read = reader.read_many(one.item_key for one in found)
    rows: dict[Any, SnapshotRow] = {}
    for one, name in zip(found, names, strict=True):
        while name not in rows:
            row = next(read)
            rows[identity(row.key)] = row
        expected_state[name] -= 1
        yield one.expected_entry(rows[name] if expected_state[name] else rows.pop(name))
