"""Reading entries in the order of an index, while the mirror is complete."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from dynamirror.cache.completeness_marker import CompletenessMarker
from dynamirror.cache.entry_state import read_command
from dynamirror.cache.scripts import Command
from dynamirror.errors import RecordError
from dynamirror.reader.completeness_check import ATTEMPTS, CompletenessCheck
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
    check: CompletenessCheck,
    ordered: Ordered,
    shape: Shape,
    *,
    absent: bool = True,
    dated: bool = False,
) -> Steps[Page | Reason]:
    """Read a page of entries; returns why that cannot be done where it cannot.

    What was read counts only if the marker was complete before, and is the same after it.

    Args:
        check: the table's marker.
        ordered: the entries.
        shape: what they become.
        absent: whether an empty page of a complete mirror is believed.
        dated: whether the versions are wanted.
    """
    if may_lack(ordered.view, ordered.partition):
        return Reason.VIEW
    marker = yield from check.begin()
    reason = check.reason
    for _ in range(ATTEMPTS):
        if marker is None:
            break
        reading = _Reading(check, ordered, shape, marker, dated=dated)
        failure = None
        while not reading.done and not failure:
            failure = yield from reading.go_on()
        if failure is None:
            return reading.page if reading.page.items or absent else Reason.MISSING
        reason = failure
        if reading.marker == marker:  # something else was in the way
            break
        marker = reading.marker
    return reason


def count_in_order(check: CompletenessCheck, ordered: Ordered) -> Steps[int | Reason]:
    """Count entries by their index alone; returns why that cannot be done where it cannot.

    A page of such a count has no end at 1 MB, which depends on the entries.

    Args:
        check: the table's marker.
        ordered: all entries of a part of an index, none of which expires.
    """
    index = _index(ordered)
    counting = Command(index, (b"ZLEXCOUNT", index, *ordered.members.ends))
    for _ in range(ATTEMPTS):
        begun = yield from check.begin()
        if begun is None:
            return check.reason
        # The marker last: had the cache lost its data before, it would be gone, too.
        count, said = yield [counting, check.reading]
        if DOWN in (count, said):
            return Reason.DOWN
        if check.saw(said) == begun:
            return Reason.VIEW if count is None else int(count)
    return Reason.INCOMPLETE


def _index(ordered: Ordered) -> bytes:
    """Return the key of the index that lists entries."""
    collection = ordered.view.collection
    assert collection is not None
    return utf8(collection.index_key({collection.partition_name: ordered.partition}))


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
        places = self._places(members)
        if places is None:
            return Reason.VIEW  # none of ours
        reason = yield from self._read(members, places)
        if reason is None and not self.done and len(members) < count:
            self.page.last, self.done = None, True
        return reason

    def _list(self, count: int) -> Steps[Sequence[bytes] | Reason]:
        ordered = self._ordered
        if ordered.key is not None:
            return [b""] if ordered.start is None else []
        index = _index(ordered)
        words = self._range.words(forward=ordered.forward)
        command = (b"ZRANGE", index, *words, b"LIMIT", b"0", b"%d" % count)
        (members,) = yield [Command(index, command)]
        if members is DOWN:
            return Reason.DOWN
        return Reason.VIEW if members is None else members  # of another kind, it is none of ours

    def _places(self, members: Sequence[bytes]) -> list[tuple[str, Item]] | None:
        """Return the keys of the members' entries, and their items' keys; None if one has none."""
        view, only, partition = self._ordered.view, self._ordered.key, self._ordered.partition
        collection = view.collection
        places: list[tuple[str, Item]] = []
        try:
            for member in members:
                if only is not None:
                    key = view.possible_key(only)
                    place = None if key is None else (key, only)
                else:
                    assert collection is not None
                    place = collection.entry_of(partition, member)
                if place is None:
                    return None
                places.append(place)
        except RecordError:
            return None
        return places

    def _read(
        self, members: Sequence[bytes], places: Sequence[tuple[str, Item]]
    ) -> Steps[Reason | None]:
        """Read the entries of members, and then whether the index can be trusted."""
        view = self._ordered.view
        word = read_command(b"", view).words[0]
        names = [utf8(name) for name, _ in places]
        commands = [Command(name, (word, name)) for name in names]
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
            gone = [member for member, item in zip(members, items, strict=True) if item is None]
            if reason := (yield from self._why_gone(gone)):
                return reason
        fences = replies[: len(places)] if self._dated else [None] * len(places)
        self._take_all(zip(members, places, items, entries, fences, strict=True))
        return None

    def _why_gone(self, members: Sequence[bytes]) -> Steps[Reason | None]:
        """Return why members without an entry are not taken for deleted; None if they are."""
        commands = []
        if self._ordered.key is None:
            index = _index(self._ordered)
            commands = [Command(index, (b"ZSCORE", index, member)) for member in members]
        # The marker again: other nodes may have answered after its own.
        *scores, said = yield [*commands, self._check.reading]
        if reason := self._doubt(said):
            return reason
        if DOWN in scores:
            return Reason.DOWN
        # A delete removes both at once. Of an entry that is lost, the member stays.
        return None if scores.count(None) == len(scores) else Reason.MISSING

    def _doubt(self, said: Any) -> Reason | None:
        """Return why what was read does not count, by the marker as it was read after it."""
        self.marker = self._check.saw(said)
        if self.marker == self._begun:
            return None
        return Reason.DOWN if said is DOWN else Reason.INCOMPLETE

    def _take_all(self, found: Iterable[tuple[bytes, tuple[str, Item], Any, Any, Any]]) -> None:
        page, room, is_text = self.page, self._room, self._shape.is_text
        last = None
        for member, place, item, entry, fence in found:
            if item is None:  # it has just been deleted
                self._gone += 1
            elif room.holds(item, _length(entry) if is_text else self._shape.measure(item)):
                page.items.append(item)
                page.last = place[1]
                if self._dated:
                    page.versions.append(version_of(fence))
                if self._left is not None:
                    self._left -= 1
                self.done = self._left == 0
            else:
                self.done = True  # the next page begins with it
                break
            last = member
            if self.done:
                break
        if last is not None:
            self._begin_after(last)

    def _begin_after(self, member: bytes) -> None:
        self._range = self._range.after(member, forward=self._ordered.forward)


def _length(entry: Any) -> int:
    """Return the number of bytes of an entry, names included."""
    return len(entry) if type(entry) is bytes else sum(map(len, entry))
