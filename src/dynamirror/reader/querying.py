"""Reading entries in the order of an index, while the mirror is complete."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from dynamirror.cache.completeness_marker import CompletenessMarker
from dynamirror.cache.entry_state import read_command
from dynamirror.cache.scripts import Command
from dynamirror.errors import RecordError
from dynamirror.reader.completeness_check import CompletenessCheck
from dynamirror.reader.freshness import fence_command, oldest, version_of
from dynamirror.reader.guarded_cache import DOWN
from dynamirror.reader.sizes import Room
from dynamirror.reader.steps import Reason, Steps
from dynamirror.records.attribute_value import AttributeValue, Item, utf8
from dynamirror.records.version import Version
from dynamirror.views.collection import Collection
from dynamirror.views.keyspace import SERVERLESS_KEY_BYTES
from dynamirror.views.ranges import Range
from dynamirror.views.view import View

# Members of an index, and so entries, that are read at once.
_AT_ONCE: Final = 200
# So often the marker may change while a query is under way.
_ATTEMPTS: Final = 2
# The longest text of a sort key in an entry's key, and its letters that may be escaped, by type.
_LONGEST_SORT: Final[Mapping[str, int]] = {"S": 1024, "N": 46, "B": 1366}
_OTHER_LETTERS: Final = {"N": frozenset("+-.E"), "B": frozenset("-_")}


class Ordered(NamedTuple):
    """Entries to read in order: those of an index, or a single one.

    Args:
        view: of the entries.
        partition: the partition value of the index.
        members: the part of the index.
        key: the primary key of the only entry; None where an index lists them.
        forward: in which order.
        limit: how many at the most; None for a page of 1 MB.
        start: the member after which to begin; None for the beginning.
    """

    view: View
    partition: AttributeValue
    members: Range = Range()
    key: Item | None = None
    forward: bool = True
    limit: int | None = None
    start: bytes | None = None


class Shape(NamedTuple):
    """What entries become, and how large that is.

    Args:
        decode: returns what the cache's answer holds; None for no entry of ours.
        measure: returns the bytes of that, as DynamoDB counts.
        is_text: whether an entry is as long as what it becomes, or longer.
    """

    decode: Callable[[Any], Any]
    measure: Callable[[Any], int]
    is_text: bool = True


@dataclass(slots=True)
class Page:
    """Entries that were read.

    Args:
        items: what they became.
        last: index and primary key of the last; None if nothing is left to read.
        versions: what wrote each, where that is asked for.
    """

    items: list[Any] = field(default_factory=list)
    last: Item | None = None
    versions: list[Version | None] = field(default_factory=list)

    def age(self, age_of: Callable[[Version | None], float | None]) -> float | None:
        """Return the age of the oldest item; None if it is not known."""
        return oldest([age_of(version) for version in self.versions])


def read_in_order(
    check: CompletenessCheck, ordered: Ordered, shape: Shape, *, dated: bool = False
) -> Steps[Page | Reason]:
    """Read a page of entries; returns why that cannot be done where it cannot.

    What was read counts only if the marker was complete before, and is the same after it.

    Args:
        check: the table's marker.
        ordered: the entries.
        shape: what they become.
        dated: whether the versions are wanted.
    """
    if may_lack(ordered.view, ordered.partition):
        return Reason.VIEW
    marker = yield from check.begin()
    reason = Reason.INCOMPLETE
    for _ in range(_ATTEMPTS):
        if marker is None:
            break
        reading = _Reading(check, ordered, shape, marker, dated=dated)
        failure = None
        while not reading.done and not failure:
            failure = yield from reading.go_on()
        if failure is None:
            return reading.page
        reason = failure
        if reading.marker == marker:  # something else was in the way
            break
        marker = reading.marker
    return reason


def may_lack(view: View, partition: AttributeValue) -> bool:
    """Return whether an item of a partition may have no entry, since its key is too long."""
    collection = view.collection
    if not isinstance(collection, Collection) or not collection.types:
        return False
    try:
        index = utf8(collection.index_key({collection.partition_name: partition}))
    except RecordError:
        return True
    rest = "".join(view.template.literals[1:])
    tag = collection.types[1]
    letters = _OTHER_LETTERS.get(tag)
    escaped = letters is None or letters & view.template.escaped
    sort = _LONGEST_SORT[tag] * (len("%XX") if escaped else 1)
    longest = len(index) + len(utf8(rest)) + sort
    return longest + view.template.fence_bytes > SERVERLESS_KEY_BYTES


class _Reading:
    """A query under way."""

    def __init__(
        self,
        check: CompletenessCheck,
        ordered: Ordered,
        shape: Shape,
        marker: CompletenessMarker,
        *,
        dated: bool,
    ) -> None:
        self._check, self._ordered, self._shape, self._dated = check, ordered, shape, dated
        self._begun = marker
        self.marker: CompletenessMarker | None = marker
        self._range = ordered.members
        if ordered.start is not None:
            self._begin_after(ordered.start)
        self._left = ordered.limit
        self._gone = 0
        self.page = Page()
        self._room = Room(self.page.items, shape.measure)
        self.done = False

    def go_on(self) -> Steps[Reason | None]:
        """Read some more; returns why that cannot be."""
        # Where entries have gone, members without one are in the way: look further ahead.
        count = _AT_ONCE if self._left is None else min(_AT_ONCE, self._left + self._gone)
        members = yield from self._list(count)
        if isinstance(members, Reason):
            return members
        places = [self._place(member) for member in members]
        found = [place for place in places if place is not None]
        if len(found) < len(places):
            return Reason.VIEW  # none of ours
        reason = yield from self._read(members, found)
        if reason is None and not self.done and len(members) < count:
            self.page.last, self.done = None, True
        return reason

    def _list(self, count: int) -> Steps[Sequence[bytes] | Reason]:
        ordered = self._ordered
        if ordered.key is not None:
            return [b""] if ordered.start is None else []
        collection = ordered.view.collection
        assert collection is not None
        index = utf8(collection.index_key({collection.partition_name: ordered.partition}))
        words = self._range.words(forward=ordered.forward)
        command = (b"ZRANGE", index, *words, b"LIMIT", b"0", b"%d" % count)
        (members,) = yield [Command(index, command)]
        if members is DOWN:
            return Reason.DOWN
        return Reason.VIEW if members is None else members  # of another kind, it is none of ours

    def _place(self, member: bytes) -> tuple[str, Item] | None:
        ordered = self._ordered
        try:
            if ordered.key is not None:
                key = ordered.view.possible_key(ordered.key)
                return None if key is None else (key, ordered.key)
            assert ordered.view.collection is not None
            return ordered.view.collection.entry_of(ordered.partition, member)
        except RecordError:
            return None

    def _read(
        self, members: Sequence[bytes], places: Sequence[tuple[str, Item]]
    ) -> Steps[Reason | None]:
        """Read the entries of members, and then whether the index can be trusted."""
        view = self._ordered.view
        commands = [read_command(utf8(name), view) for name, _ in places]
        if self._dated:
            commands = [fence_command(name) for name, _ in places] + commands
        # The marker last: had the cache lost its data before, it would be gone, too.
        *replies, said = yield [*commands, self._check.reading]
        if reason := self._doubt(said):
            return reason
        if DOWN in replies:
            return Reason.DOWN
        entries = replies[-len(places) :] if places else []
        items = [self._shape.decode(entry) for entry in entries]
        if None in items:
            # A full cache evicts what has an expiry: there, what is missing may be in the table.
            if view.ttl is not None:
                return Reason.MISSING
            # Other nodes may have answered after the marker's.
            if reason := self._doubt(*(yield [self._check.reading])):
                return reason
        fences = replies[: len(places)] if self._dated else [None] * len(places)
        keys = [key for _, key in places]
        self._take_all(zip(members, keys, items, entries, fences, strict=True))
        return None

    def _doubt(self, said: Any) -> Reason | None:
        """Return why what was read does not count, by the marker as it was read after it."""
        self.marker = self._check.saw(said)
        if self.marker == self._begun:
            return None
        return Reason.DOWN if said is DOWN else Reason.INCOMPLETE

    def _take_all(self, found: Iterable[tuple[bytes, Item, Any, Any, Any]]) -> None:
        for member, key, item, entry, fence in found:
            if item is None:  # it has just been deleted
                self._gone += 1
            elif self._room.holds(item, self._sent(item, entry)):
                self._take(item, key, fence)
            else:
                self.done = True  # the next page begins with it
                break
            self._begin_after(member)
            if self.done:
                break

    def _take(self, item: Any, key: Item, fence: Any) -> None:
        self.page.items.append(item)
        self.page.last = key
        if self._dated:
            self.page.versions.append(version_of(fence))
        if self._left is not None:
            self._left -= 1
        self.done = self._left == 0

    def _sent(self, item: Any, entry: Any) -> int:
        """Return the number of bytes of an item's answer, names included."""
        if not self._shape.is_text:
            return self._shape.measure(item)
        return len(entry) if isinstance(entry, bytes) else sum(map(len, entry))

    def _begin_after(self, member: bytes) -> None:
        self._range = self._range.after(member, forward=self._ordered.forward)
