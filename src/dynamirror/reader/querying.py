"""Reading the items of one partition in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dynamirror.cache.completeness_marker import CompletenessMarker
from dynamirror.cache.scripts import Command
from dynamirror.dynamodb.keys import on_the_wire
from dynamirror.reader.conditions import KeyCondition
from dynamirror.reader.freshness import fence_command, oldest, version_of
from dynamirror.reader.guarded_cache import DOWN
from dynamirror.reader.refusals import START_INVALID, START_NOT_IN_RANGE, START_OUTSIDE, refusal
from dynamirror.reader.sizes import Room, item_size
from dynamirror.reader.source import Source
from dynamirror.reader.steps import Steps, TableRequest
from dynamirror.reader.values import Values, primary_key, values_of
from dynamirror.records.attribute_value import Item
from dynamirror.records.key_codec import key_text, sort_bytes

if TYPE_CHECKING:
    from dynamirror.views.collection import Collection

# Members of an index, and so entries, that are read at once.
_AT_ONCE = 200
# So often the marker may change while a query is under way.
_ATTEMPTS = 2


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
class QueryPage:
    """The result of a query.

    Args:
        source: cache or table.
        items: the items.
        last: the primary key after which the next page begins; None for the last page.
        ages: of the items, where they are asked for.
        own: metadata of DynamoDB's answer; None if it did not answer.
    """

    source: str
    items: list[Values] = field(default_factory=list)
    last: Values | None = None
    ages: list[float | None] = field(default_factory=list)
    own: Mapping[str, Any] | None = None

    @property
    def age(self) -> float | None:
        """That of the oldest item."""
        return 0.0 if self.source == "table" else oldest(self.ages)


def start_key(given: Any, condition: KeyCondition) -> Item:
    """Return the primary key after which to begin.

    Raises:
        ClientError: DynamoDB would refuse it.
        ParamValidationError: it is no mapping.
        TypeError: DynamoDB has no such values.
        ValueError: a text is not valid Unicode.
    """
    schema = condition.schema
    item = primary_key(given, schema, {}, "Query", of="ExclusiveStartKey", prefix=START_INVALID)
    assert item is not None
    if key_text(item[schema.keys[0]]) != key_text(condition.partition):
        raise refusal("Query", START_OUTSIDE)
    if not condition.range().holds(sort_bytes(item[schema.keys[1]])):
        raise refusal("Query", START_NOT_IN_RANGE)
    return item


def from_table(source: Source, query: Query) -> Steps[QueryPage]:
    """Ask the table."""
    arguments: dict[str, Any] = {**query.condition.expression(), "ScanIndexForward": query.forward}
    if query.limit is not None:
        arguments["Limit"] = query.limit
    if query.start is not None:
        arguments["ExclusiveStartKey"] = on_the_wire(query.start)
    arguments |= {"TableName": source.view.schema.table, "ConsistentRead": True}
    answer = yield TableRequest("query", arguments)
    items = (source.as_entry(item) for item in answer["Items"])
    last = answer.get("LastEvaluatedKey")
    shown = [item for item in items if item is not None]
    return QueryPage(
        "table",
        shown,
        None if last is None else values_of(last),
        own=answer["ResponseMetadata"],
    )


def from_index(source: Source, query: Query, *, dated: bool) -> Steps[QueryPage | None]:
    """Ask the partition's index; None if the cache is down or the mirror is not complete.

    What was read counts only if the marker said complete before, and says the same after it.
    """
    marker = yield from source.check.begin()
    for _ in range(_ATTEMPTS):
        if marker is None:
            break
        reading = _Reading(source, query, marker, dated=dated)
        while not reading.done:
            if not (yield from reading.go_on()):
                break
        else:
            return reading.page
        if reading.marker == marker:  # something else was in the way
            break
        marker = reading.marker
    return None


class _Reading:
    """A query under way."""

    def __init__(
        self, source: Source, query: Query, marker: CompletenessMarker, *, dated: bool
    ) -> None:
        collection = source.view.collection
        assert collection is not None
        self._source, self._query, self._dated = source, query, dated
        self._begun = marker
        self.marker: CompletenessMarker | None = marker
        self._collection: Collection = collection
        self._index = collection.index_key(query.condition.item).encode()
        self._range = query.condition.range()
        if query.start is not None:
            self._begin_after(sort_bytes(query.start[collection.sort_name]))
        self._left = query.limit
        self.page = QueryPage("cache")
        self._room = Room(self.page.items)
        self.done = False

    def go_on(self) -> Steps[bool]:
        """Read some more; False if that cannot be."""
        count = _AT_ONCE if self._left is None else min(_AT_ONCE, self._left)
        words = self._range.words(forward=self._query.forward)
        command = (b"ZRANGE", self._index, *words, b"LIMIT", b"0", b"%d" % count)
        (members,) = yield [Command(self._index, command)]
        if members is DOWN or members is None:  # of another kind, it is no index of ours
            return False
        keys = [self._key(member) for member in members]
        if not (yield from self._read(members, [key for key in keys if key is not None])):
            return False
        if not self.done and len(members) < count:
            self.page.last, self.done = None, True
        return True

    def _key(self, member: bytes) -> Item | None:
        tag = self._source.view.schema.types[1]
        return self._collection.item_key(self._query.condition.partition, member, tag)

    def _read(self, members: Sequence[bytes], keys: Sequence[Item]) -> Steps[bool]:
        """Read the entries of members, and then whether the index can be trusted."""
        if len(keys) < len(members):
            return False  # not ours
        places = [self._source.place_of(key) for key in keys]
        commands = [place.reading for place in places]
        if self._dated:
            commands = [fence_command(place.key) for place in places] + commands
        # The marker last: had the cache lost its data before, it would be gone, too.
        *replies, said = yield [*commands, self._source.check.reading]
        entries = replies[-len(places) :] if places else []
        if not self._is_vouched(said) or DOWN in replies:
            return False
        items = [self._source.entry(entry) for entry in entries]
        if None in items and not (
            # A full cache evicts what has an expiry: there, what is missing may be in the table.
            self._source.view.ttl is None
            # Other nodes may have answered after the marker's.
            and self._is_vouched(*(yield [self._source.check.reading]))
        ):
            return False
        fences = replies[: len(places)] if self._dated else [None] * len(places)
        for member, key, item, entry, fence in zip(
            members, keys, items, entries, fences, strict=True
        ):
            if item is None:  # it has just been deleted
                self._pass(member, key)
            elif self._room.holds(item, self._sent(item, entry)):
                self.page.items.append(item)
                self.page.ages.append(self._source.age(version_of(fence)))
                self._pass(member, key)
            else:
                self.done = True  # the next page begins with it
            if self.done:
                break
        return True

    def _is_vouched(self, said: Any) -> bool:
        self.marker = self._source.check.saw(said)
        return self.marker == self._begun

    def _pass(self, member: bytes, key: Item) -> None:
        """Go on behind a member."""
        self._begin_after(member)
        self.page.last = values_of(key)
        if self._left is not None:
            self._left -= 1
        self.done = self._left == 0

    def _sent(self, item: Values, entry: Any) -> int:
        """Return the number of bytes of an item's answer, names included."""
        if self._source.view.encoding.attributes is not None:
            return item_size(item)
        return len(entry) if isinstance(entry, bytes) else sum(map(len, entry))

    def _begin_after(self, member: bytes) -> None:
        self._range = self._range.after(member, forward=self._query.forward)
