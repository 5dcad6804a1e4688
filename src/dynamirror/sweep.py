"""Sweep: entries whose items are gone are found in the cache, and deleted through their fences."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from dynamirror import version
from dynamirror.apply import apply_all
from dynamirror.attributes import Item, utf8
from dynamirror.cache import Cache, Failure
from dynamirror.canary import is_canary
from dynamirror.chunks import chunked, weight
from dynamirror.entry import Delete, Entry, Put
from dynamirror.errors import CacheError, RecordError
from dynamirror.key import fence_key, glob
from dynamirror.rows import Row, RowReader, can_exist, identity
from dynamirror.scripts import Command
from dynamirror.stored import Place
from dynamirror.version import ChangeVersion, RowVersion
from dynamirror.view import View

_AT_ONCE = 500


@dataclass(slots=True)
class Swept:
    """What a sweep came upon.

    Args:
        entries: entries of the mirror.
        doubtful: of these, the ones that no row and no change had confirmed, and were read again.
        deleted: of these, the ones that are in the table no more.
        written: of these, the ones that are, and were written anew.
    """

    entries: int = 0
    doubtful: int = 0
    deleted: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class Found:
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
    def place(self) -> Place:
        """Where it is."""
        return Place(self.view, self.key, self.item_key)

    def as_it_should_be(self, row: Row) -> Entry:
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


def entries_of(cache: Cache, view: View) -> Iterator[Found]:
    """All entries of a view in the cache; some may come twice. Other keys are passed over.

    What a collection has of entries that are not there comes, too.

    Raises:
        CacheError: the cache cannot be read.
    """
    identify = view.identifier()
    for key in cache.scan(glob(view.template.prefix) + "*"):
        try:
            text = key.decode()
        except UnicodeDecodeError:
            continue  # a key of ours is text
        item_key = identify(text)
        if item_key is not None and can_exist(item_key):
            yield Found(view, text, item_key)
        elif view.collection is not None:
            yield from _members(cache, view, text)


def _members(cache: Cache, view: View, key: str) -> Iterator[Found]:
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
            if answer.reason.startswith("WRONGTYPE"):
                return  # it is no index; the next entry makes one of it
            raise cache.error(answer.reason)
        cursor, flat = answer
        for member in flat[::2]:
            item_key = view.collection.item_key(partition, member, view.schema.types[1])
            rendered = view.key_of(item_key) if item_key else None
            if item_key is not None and rendered is not None and can_exist(item_key):
                yield Found(view, rendered, item_key)
        if cursor == b"0":
            return


def sweep(
    cache: Cache,
    views: Iterable[View],
    reader: RowReader,
    since: RowVersion,
    *,
    fence_ttl: int,
    tell: Callable[[Swept], object] = lambda _swept: None,
) -> Swept:
    """Delete the entries whose items are gone.

    An entry that a row of the rebuild or a later change wrote has a fence that says so. Only the
    others are read from the table, consistently. A view whose keys cannot be told from other
    applications' is left out.

    Args:
        cache: the cache.
        views: all views of the table.
        reader: reads the table.
        since: the horizon at which the rebuild began.
        fence_ttl: seconds a fence is kept.
        tell: is told now and then how far it is.

    Raises:
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
    """
    swept = Swept()
    for view in views:
        if not view.owns_its_keys:
            continue
        found = entries_of(cache, view)
        while chunk := list(islice(found, _AT_ONCE)):
            doubtful = _unconfirmed(cache, chunk, since)
            swept.entries += len(chunk)
            swept.doubtful += len(doubtful)
            entries = as_they_should_be(doubtful, reader)
            for some in chunked(entries, entry_weight, most=_AT_ONCE):
                _write(cache, some, fence_ttl=fence_ttl, swept=swept)
            tell(swept)
    return swept


def as_they_should_be(found: Sequence[Found], reader: RowReader) -> Iterator[Entry]:
    """Read the items of keys, consistently, and tell what should be there, in the keys' order.

    Items are read as their entries are drawn.

    Raises:
        SourceError: the table cannot be read.
    """
    names = [identity(one.item_key) for one in found]
    wanted = Counter(names)  # an item may have left entries under several keys
    read = reader.read_many(one.item_key for one in found)
    rows: dict[Any, Row] = {}
    for one, name in zip(found, names, strict=True):
        while name not in rows:
            row = next(read)
            rows[identity(row.key)] = row
        wanted[name] -= 1
        yield one.as_it_should_be(rows[name] if wanted[name] else rows.pop(name))


def entry_weight(entry: Entry) -> int:
    """Estimate the memory that an entry's item takes, in bytes."""
    return weight(entry.item)


def _write(cache: Cache, entries: Sequence[Entry], *, fence_ttl: int, swept: Swept) -> None:
    for wanted, kind in ((Delete, "deleted"), (Put, "written")):
        mine = [entry for entry in entries if isinstance(entry, wanted)]
        report = apply_all(cache, mine, fence_ttl=fence_ttl)
        setattr(swept, kind, getattr(swept, kind) + report.applied)


def _unconfirmed(cache: Cache, found: Sequence[Found], since: RowVersion) -> list[Found]:
    keys = [fence_key(one.key).encode() for one in found]
    fences = cache.execute([Command(key, (b"GET", key)) for key in keys])
    return [one for one, fence in zip(found, fences, strict=True) if not _confirms(fence, since)]


def _confirms(fence: object, since: RowVersion) -> bool:
    if isinstance(fence, Failure):
        raise CacheError(fence.reason)
    try:
        held = version.parse(fence.decode()) if isinstance(fence, bytes) else None
    except ValueError:  # UnicodeDecodeError is one, too
        return False
    match held:
        case ChangeVersion():
            return held.created >= since.horizon
        case RowVersion():
            return held.horizon >= since.horizon
        case None:
            return False
