"""A table, its stream, its cache and an inspector in simulated time: any interleaving of reads."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any, cast

from dynamirror.cache.scripts import Command
from dynamirror.dynamodb.items import SnapshotRow
from dynamirror.errors import CacheError
from dynamirror.inspection.inspector import Inspector
from dynamirror.inspection.tally import Tally, ViewTally, Violation
from dynamirror.records.attribute_value import Item
from dynamirror.records.stream_record import Change
from dynamirror.records.version import ChangeVersion, SnapshotVersion, Version, parse, supersedes
from dynamirror.views.encoding import ValueType, unpack_fields
from dynamirror.views.entry import Entry, Put, entries_of_change
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import Schema, ViewSpec, bind_views

SCHEMA = Schema("users", ("id",), ("S",))
BEGIN = 1_790_000_000.0
EPOCH = 1_780_000_000_000
MARGIN = 10
_FIRST = 10**39


class ModelCache:
    """A cache in memory that takes just the commands of an inspector.

    Args:
        clock: returns seconds since 1970.
        between: called before each command is answered.
    """

    def __init__(self, clock: Callable[[], float], between: Callable[[], object]) -> None:
        self._clock = clock
        self._between = between
        self.values: dict[bytes, Any] = {}
        self.expiries: dict[bytes, int] = {}
        self.sets: dict[bytes, dict[bytes, float]] = {}
        self.is_down = False
        self.is_fenced = True
        self.answered = 0
        self.asked = 0

    def execute(self, commands: Iterable[Command]) -> list[Any]:
        """Answer commands one by one."""
        self.asked += 1
        words = [_words(command.words) for command in commands]
        answers = []
        for each in words:
            self._between()
            if self.is_down:
                raise CacheError("it is down")
            self.answered += 1
            answers.append(self._answer(*each))
        return answers

    def _answer(self, name: bytes, key: bytes, *rest: bytes) -> Any:
        if self.expiries.get(key, self._clock() + 1) <= self._clock():
            self.remove(key)
        match name:
            case b"GET":
                return self.values.get(key)
            case b"HGETALL":
                return self.values.get(key, [])
            case b"EXPIRETIME":
                return self.expiries.get(key, -1) if key in self.values else -2
            case b"ZSCORE":
                score = self.sets.get(key, {}).get(rest[0])
                return None if score is None else repr(score).encode()
        raise AssertionError(name)

    def remove(self, key: bytes) -> None:
        """Delete an entry."""
        self.values.pop(key, None)
        self.expiries.pop(key, None)

    def fence(self, key: str) -> Version | None:
        """Return the version in an entry's fence."""
        held = self.values.get(fence_key(key).encode())
        return None if held is None else parse(held.decode())

    def write(self, entry: Entry) -> None:
        """Write an entry through its fence, as the scripts do."""
        if self.is_fenced:
            if not supersedes(entry.version, self.fence(entry.key)):
                return
            self.values[fence_key(entry.key).encode()] = str(entry.version).encode()
        view, key = entry.view, entry.key.encode()
        value = view.encode(entry.item) if isinstance(entry, Put) else None
        members = view.members
        index = members.index_key(entry.item).encode() if members else b""
        self.remove(key)
        if value is None:
            if members:
                self.sets.get(index, {}).pop(members.member(entry.item), None)
            return
        is_hash = view.encoding.layout is ValueType.HASH
        self.values[key] = unpack_fields(value) if is_hash else value
        if (expires := view.expires(entry.item)) is not None:
            self.expiries[key] = expires
        if members:
            score = float(members.score(entry.item))
            self.sets.setdefault(index, {})[members.member(entry.item)] = score


def _words(packed: Any) -> list[bytes]:
    words, at = [], packed.index(b"\r\n") + 2
    while at < len(packed):
        begin = packed.index(b"\r\n", at) + 2
        size = int(packed[at + 1 : begin - 2])
        words.append(packed[begin : begin + size])
        at = begin + size + 2
    return words


class Simulation:
    """One table of which all is known, in time that passes only when something is done.

    Args:
        spec: its view.
        thresholds: of the inspector.
        seed: of the delays between two commands.
        options: of the inspector.
    """

    def __init__(
        self,
        spec: ViewSpec | None = None,
        *,
        thresholds: Sequence[float] = (1, 4, 10),
        seed: int = 0,
        reads_table: bool = True,
        **options: Any,
    ) -> None:
        self.now = BEGIN
        self.rng = random.Random(seed)
        self.views = bind_views([spec or ViewSpec()], SCHEMA)
        self.cache = ModelCache(self.clock, self.tick)
        self.table: dict[str, Item] = {}
        self.violations: list[Violation] = []
        self.tick_seconds = 0.01
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._number = count()
        self._sequence = count(_FIRST)
        self.inspector = Inspector(
            cast("Any", self.cache),
            self.views,
            1.0,
            thresholds,
            read_table=self.read_table if reads_table else None,
            clock=self.clock,
            on_violation=self.violations.append,
            **options,
        )

    def clock(self) -> float:
        """Return seconds since 1970."""
        return self.now

    def tick(self) -> None:
        """Let a random time pass, in which others act."""
        self.advance(self.rng.random() * self.tick_seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass, in which others act."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            at, _number, act = heappop(self._events)
            self.now = max(self.now, at)
            act()
        self.now = max(self.now, end)

    def at(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something at a time, in seconds since the begin."""
        heappush(self._events, (BEGIN + seconds, next(self._number), act))

    def read_table(self, keys: Sequence[Item]) -> Iterator[SnapshotRow]:
        """Read items consistently; time passes before and after."""
        for key in keys:
            as_of = SnapshotVersion(int(self.now) - MARGIN)
            self.tick()
            item = self.table.get(key["id"]["S"])
            self.tick()
            yield SnapshotRow(key, item, as_of)

    def write(self, item_id: str, **attributes: Any) -> Change:
        """Put an item now, or delete it if it gets no attribute; the change goes nowhere yet."""
        key: Item = {"id": {"S": item_id}}
        old = self.table.get(item_id)
        new: Item | None = {**key, **attributes} if attributes else None
        if new is None:
            self.table.pop(item_id, None)
        else:
            self.table[item_id] = new
        version = ChangeVersion(EPOCH, next(self._sequence), int(self.now))
        return Change("users", key, version, new, old)

    def apply(self, change: Change) -> None:
        """Apply a change to the cache."""
        for view in self.views:
            for entry in entries_of_change(view, change):
                self.cache.write(entry)

    def changed(self, item_id: str, **attributes: Any) -> Change:
        """Write an item, apply the change, and let the inspector receive it, all now."""
        change = self.write(item_id, **attributes)
        self.apply(change)
        self.inspector.receive([change])
        return change

    def run(self, seconds: float, step: float = 0.1) -> None:
        """Let time pass, and ask what is due."""
        end = self.now + seconds
        while self.now < end:
            self.advance(step)
            self.inspector.run_due()

    def finish(self) -> Tally:
        """Ask until nothing waits, and return the counts."""
        end = self.now + 300
        while self.inspector.waiting:
            assert self.now < end, "something waits for ever"
            self.run(1.0)
        assert self.inspector.next_due() is None
        return self.inspector.tally()

    def total(self) -> ViewTally:
        """Finish, and return the counts of all views; each check has one end."""
        total = self.finish().total
        last = list(total.within.values())[-1]
        assert last.asked + last.undecided == total.checks
        return total

    def kinds(self) -> dict[str, int]:
        """Finish, and return the violations by kind."""
        return self.total().violations
