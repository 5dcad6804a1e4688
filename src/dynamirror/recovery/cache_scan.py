"""A scan of the cache for the mirror's entries."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Self

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.entry_state import EntryLocation
from dynamirror.cache.scripts import Command
from dynamirror.cache.slot_scan import ALL_SLOTS, scan_range, server_of
from dynamirror.dynamodb.items import SnapshotReader, SnapshotRow
from dynamirror.dynamodb.keys import can_exist, identity
from dynamirror.errors import KeyTooLongError, RecordError
from dynamirror.records.attribute_value import Item, utf8
from dynamirror.views.canary import is_canary
from dynamirror.views.entry import Delete, Entry, Put
from dynamirror.views.order import Members
from dynamirror.views.view import View

_AT_ONCE: Final = 500
_START: Final = b"0"
_MOST_PASSES: Final = 8
_NO_KEY: Final = -2  # https://valkey.io/commands/expiretime/


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

    Raises:
        CacheError: the cache cannot be read.
    """
    identify = EntryFinder(cache, [view])
    for batch in scan_range(cache, ALL_SLOTS):
        yield from identify.entries(batch.keys)


class EntryFinder:
    """Finds the entries of views among keys of the cache.

    Args:
        cache: the cache.
        views: all views of a table, or some.
    """

    def __init__(self, cache: Cache, views: Iterable[View]) -> None:
        self._cache = cache
        self._views = [(view, utf8(view.template.prefix), view.identifier()) for view in views]

    def entries(self, keys: Sequence[bytes]) -> Iterator[ScannedEntry]:
        """Yield the entries, and those that the sorted sets among the keys list.

        Members of a sorted set come even if their entries are gone. A member whose entry is another
        key of the cache does not come: that key is visited by itself.

        Args:
            keys: keys of the cache; all of a slot, where the cache has few in it.

        Raises:
            CacheError: the cache cannot be read.
        """
        names, sets = set[str](), list[tuple[View, Members, str]]()
        for key in keys:
            for view, prefix, identify in self._views:
                if not key.startswith(prefix):
                    continue
                try:
                    text = key.decode()
                except UnicodeDecodeError:
                    break  # every key of the mirror is text
                attributes = identify(text)
                if attributes is not None and can_exist(view.schema.key_of(attributes)):
                    if view.members is not None:
                        names.add(text)
                    yield ScannedEntry(view, text, attributes)
                elif view.members is not None:
                    sets.append((view, view.members, text))
        for view, members, text in sets:
            listed = _members(self._cache, view, members, text)
            unknown = (entry for entry in listed if entry.key not in names)
            while chunk := list(islice(unknown, _AT_ONCE)):
                yield from self._without_key(chunk)

    def _without_key(self, entries: Sequence[ScannedEntry]) -> Iterator[ScannedEntry]:
        keys = [utf8(entry.key) for entry in entries]
        answers = self._cache.execute(Command(key, (b"EXPIRETIME", key)) for key in keys)
        for entry, answer in zip(entries, answers, strict=True):
            if isinstance(answer, Failure) and not answer.is_of_key:
                raise self._cache.error(answer.reason)
            if answer == _NO_KEY or isinstance(answer, Failure):
                yield entry


def _members(cache: Cache, view: View, members: Members, key: str) -> Iterator[ScannedEntry]:
    """Yield the entries that a sorted set lists; none if the key is not one of the view's."""
    partition = members.partition_of(key)
    if partition is None:
        return
    for member in _members_of(cache, utf8(key)):
        try:
            found = members.entry_of(partition, member)
        except KeyTooLongError:
            continue  # nobody could write that entry
        if found is not None and can_exist(view.schema.key_of(found[1])):
            yield ScannedEntry(view, *found)


def _members_of(cache: Cache, key: bytes) -> Iterator[bytes]:
    """Yield the members of a sorted set; all again if it moves to another server meanwhile."""
    cursor, flat = _zscan(cache, key, _START)
    if cursor == _START:
        yield from flat[::2]
        return
    for _ in range(_MOST_PASSES):
        server, cursor = server_of(cache, key), b""
        while cursor != _START:
            cursor, flat = _zscan(cache, key, cursor or _START)
            yield from flat[::2]
        if server_of(cache, key) == server:
            return
    raise cache.error("the slot of a sorted set moved each time that its members were listed")


def _zscan(cache: Cache, key: bytes, cursor: bytes) -> tuple[bytes, list[bytes]]:
    (answer,) = cache.execute([Command(key, (b"ZSCAN", key, cursor, b"COUNT", 1000))])
    if isinstance(answer, Failure):
        if answer.code == "WRONGTYPE":
            return _START, []  # the next entry replaces it by a sorted set
        raise cache.error(answer.reason)
    cursor, flat = answer
    return cursor, flat


def expected_entries(found: Sequence[ScannedEntry], reader: SnapshotReader) -> Iterator[Entry]:
    """Read the items of entries, consistently, and yield the expected entries in that order.

    Items are read while their entries are consumed.

    Raises:
        SourceError: the table cannot be read.
    """
    for entry, row in zip(found, rows_of_entries(found, reader), strict=True):
        yield entry.expected_entry(row)


def rows_of_entries(
    found: Sequence[ScannedEntry], reader: SnapshotReader, *, consistent: bool = True
) -> Iterator[SnapshotRow]:
    """Read the items of entries, and yield their snapshot rows in that order.

    Args:
        found: the entries.
        reader: reads the items.
        consistent: whether reads are strongly consistent.

    Raises:
        SourceError: the table cannot be read.
    """
    keys = [entry.item_key for entry in found]
    names = list(map(identity, keys))
    uses = Counter(names)  # an item may have entries under several keys
    items = reader.read_many(keys, consistent=consistent)
    rows: dict[Any, SnapshotRow] = {}
    for name in names:
        while name not in rows:
            row = next(items)
            rows[identity(row.key)] = row
        uses[name] -= 1
        yield rows[name] if uses[name] else rows.pop(name)
