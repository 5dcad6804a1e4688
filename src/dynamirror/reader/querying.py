"""Reading the items of one partition in order."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dynamirror.attributes import Item, key_text, sort_bytes
from dynamirror.aws import aws_errors
from dynamirror.marker import marker_key
from dynamirror.reader.conditions import KeyCondition
from dynamirror.reader.guarded import DOWN, vouched
from dynamirror.reader.source import Source, fence_command, oldest, version_of
from dynamirror.reader.values import Values, primary_key, values_of
from dynamirror.rows import on_the_wire
from dynamirror.scripts import Command

if TYPE_CHECKING:
    from dynamirror.key import Collection

# Members of an index, and so entries, that are read at once.
_AT_ONCE = 200
# As DynamoDB: a page ends with the item that makes it this long.
_PAGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Query:
    """A query of one table.

    Args:
        condition: which items.
        forward: in which order.
        limit: how many at the most; None for a page of 1 MB.
        start: the primary key after which to begin; None for the beginning.
    """

    condition: KeyCondition
    forward: bool = True
    limit: int | None = None
    start: Item | None = None


@dataclass(slots=True)
class Page:
    """What a query found.

    Args:
        source: cache or table.
        items: the items.
        last: the primary key after which the next page begins; None for the last page.
        ages: of the items, where they are asked for.
    """

    source: str
    items: list[Values] = field(default_factory=list)
    last: Values | None = None
    ages: list[float | None] = field(default_factory=list)

    @property
    def age(self) -> float | None:
        """That of the oldest item."""
        return 0.0 if self.source == "table" else oldest(self.ages)


def start_key(given: Any, condition: KeyCondition) -> Item:
    """The primary key after which to begin.

    Raises:
        ValueError: it is none of this query's.
        TypeError: a value cannot stand in a key.
    """
    item = primary_key(given, condition.schema, {})
    assert item is not None
    name = condition.schema.keys[0]
    if key_text(item[name]) != key_text(condition.partition):
        raise ValueError("ExclusiveStartKey is a key of another partition")
    return item


def from_table(source: Source, query: Query) -> Page:
    """Ask the table.

    Raises:
        SourceError: it cannot be read.
    """
    table = source.view.schema.table
    arguments: Any = query.condition.expression()
    if query.limit is not None:
        arguments["Limit"] = query.limit
    if query.start is not None:
        arguments["ExclusiveStartKey"] = on_the_wire(query.start)
    with aws_errors(f"table {table}"):
        answer: Any = source.client.query(
            TableName=table, ConsistentRead=True, ScanIndexForward=query.forward, **arguments
        )
        items = (source.as_entry(item) for item in answer["Items"])
    last = answer.get("LastEvaluatedKey")
    shown = [item for item in items if item is not None]
    return Page("table", shown, None if last is None else values_of(last))


def from_index(source: Source, query: Query, *, dated: bool) -> Page | None:
    """Ask the partition's index; None if the cache is down or the mirror is not complete."""
    reading = _Reading(source, query, dated)
    while not reading.done:
        if not reading.go_on():
            return None
    return reading.page


class _Reading:
    """A query under way."""

    def __init__(self, source: Source, query: Query, dated: bool) -> None:  # noqa: FBT001 - its own
        collection = source.view.collection
        assert collection is not None
        self._source, self._query, self._dated = source, query, dated
        self._collection: Collection = collection
        self._index = collection.index_key(query.condition.item).encode()
        self._range = query.condition.range()
        if query.start is not None:
            self._begin_after(sort_bytes(query.start[collection.sort]))
        self._left = query.limit
        self._bytes = 0
        self.page = Page("cache")
        self.done = False

    def go_on(self) -> bool:
        """Read some more; False if that cannot be."""
        count = _AT_ONCE if self._left is None else min(_AT_ONCE, self._left)
        words = self._range.words(forward=self._query.forward)
        command = (b"ZRANGE", self._index, *words, b"LIMIT", b"0", b"%d" % count)
        members = self._source.cache.ask(Command(self._index, command))
        if members is DOWN or members is None:  # of another kind, it is no index of ours
            return False
        keys = [self._key(member) for member in members]
        if not self._read(members, [key for key in keys if key is not None]):
            return False
        if not self.done and len(members) < count:
            self.page.last, self.done = None, True
        return True

    def _key(self, member: bytes) -> Item | None:
        tag = self._source.view.schema.types[1]
        return self._collection.item_key(self._query.condition.partition, member, tag)

    def _read(self, members: Sequence[bytes], keys: Sequence[Item]) -> bool:
        """Read the entries of members, and then whether the index can be trusted."""
        if len(keys) < len(members):
            return False  # not ours
        places = [self._source.place_of(key) for key in keys]
        commands = [place.reading for place in places]
        if self._dated:
            commands = [fence_command(place.key) for place in places] + commands
        marker = marker_key(self._source.view.schema.table).encode()
        # The marker last: had the cache lost its data before, it would be gone, too.
        *replies, said = self._source.cache.execute(
            [*commands, Command(marker, (b"HGETALL", marker))]
        )
        if not vouched(said, self._source.views) or DOWN in replies:
            return False
        entries = replies[-len(places) :] if places else []
        # A full cache evicts what has an expiry: there, what is missing may be in the table.
        if self._source.view.ttl and any(self._source.entry(entry) is None for entry in entries):
            return False
        fences = replies[: len(places)] if self._dated else [None] * len(places)
        for member, key, entry, fence in zip(members, keys, entries, fences, strict=True):
            self._take(member, key, entry, fence)
            if self.done:
                break
        return True

    def _take(self, member: bytes, key: Item, entry: Any, fence: Any) -> None:
        item = self._source.entry(entry)
        if item is not None:  # else it has just expired or been deleted
            self.page.items.append(item)
            self.page.ages.append(self._source.age(version_of(fence)))
            self._bytes += len(entry) if isinstance(entry, bytes) else sum(map(len, entry))
        self._begin_after(member)
        self.page.last = values_of(key)
        if self._left is not None:
            self._left -= 1
        self.done = self._left == 0 or self._bytes >= _PAGE_BYTES

    def _begin_after(self, member: bytes) -> None:
        self._range = self._range.after(member, forward=self._query.forward)
