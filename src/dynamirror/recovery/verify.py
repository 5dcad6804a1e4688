"""Comparing a table with a cache: what differs, and what is merely on its way."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from operator import itemgetter
from time import monotonic, sleep
from typing import Any, Self

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import read_marker
from dynamirror.cache.entry_state import (
    EntryLocation,
    EntryState,
    expected_state,
    matches,
    read_entries,
)
from dynamirror.cache.scripts import Command
from dynamirror.cache.writer import apply_all
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.dynamodb.scan import Scan
from dynamirror.errors import RecordError
from dynamirror.records.attribute_value import Item, utf8
from dynamirror.records.chunks import chunked, weight
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.cache_scan import ScannedEntry, entries_of, expected_entries
from dynamirror.recovery.comparison import Comparison, Kind, Part
from dynamirror.recovery.sweep import entry_weight
from dynamirror.views.canary import is_canary
from dynamirror.views.entry import Entry, Put, entry_of_row
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import View

_READ_AT_ONCE = 500


_ROW = SnapshotVersion(0)  # only compared, never written


# How many differences are followed up at a time; of each, two keys are kept.
_MOST_DOUBTS = 50_000


_UNKNOWN = object()


# How long an entry that keeps moving is followed, as a multiple of what any other is given.
_PATIENCE = 4


def compare(items: Iterable[Item], cache: Cache, views: Iterable[View]) -> Comparison:
    """Compare all of a table's items with the cache, in both directions. Nothing may be in flight.

    Args:
        items: all items of the table.
        cache: the cache.
        views: all views of the table.

    Raises:
        CacheError: the cache cannot be read.
        SourceError: the table cannot be read.
    """
    result = Comparison()
    views = tuple(views)
    with _Both(cache, views, Part(), result) as both:
        for doubt in both.doubts(items):
            result.found(doubt.kind, doubt.found.key)
    return result


def verify(
    cache: Cache,
    views: Sequence[View],
    scan: Scan,
    reader: SnapshotReader,
    *,
    part: Part | None = None,
    settle: float = 15.0,
    repair: bool = False,
    fence_ttl: int = 0,
    on_progress: Callable[[Comparison], object] = lambda _result: None,
    clock: Callable[[], float] = monotonic,
    wait: Callable[[float], object] = sleep,
) -> Comparison:
    """Compare a table with its mirror while both change; memory is bounded, whatever their size.

    What does not agree is read again, consistently, until it does. It counts as a difference if it
    does not, and nothing writes it, for `settle` seconds: so replication must not lag longer than
    that.

    Args:
        cache: the cache.
        views: all views of the table.
        scan: reads the table.
        reader: reads single items.
        part: what of it; default all.
        settle: seconds that what differs is given to arrive.
        repair: write rows over what differs, through the fences.
        fence_ttl: seconds a fence is kept, for repair.
        on_progress: is told now and then how far it is.
        clock: monotonic seconds.
        wait: waits that many seconds.

    Raises:
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
    """
    result, part = Comparison(), part or Part()
    ttl = fence_ttl if repair else None
    doubts = _Doubts(cache, reader, result, settle, ttl, clock=clock, wait=wait)
    with _Both(cache, views, part, result, on_progress) as both:
        pages = (page for segment in part.segments for page in scan.pages(segment))
        for doubt in both.doubts(item for page in pages for item in page.items):
            doubts.add(doubt)
        doubts.settle_all()
    on_progress(result)
    return result


@dataclass(slots=True)
class _Doubt:
    """An entry that is not as it should be, or not yet, or not any more.

    Args:
        found: which.
        kind: missing, different or left_over.
        since: when it was first looked at again, by the clock.
        fence: what its fence held when it was last looked at.
        still: since when it holds that.
    """

    found: ScannedEntry
    kind: Kind
    since: float = 0.0
    fence: Any = _UNKNOWN
    still: float = 0.0


@dataclass(slots=True)
class _Both:
    """Goes through table and cache, once each, and tells what does not agree."""

    cache: Cache
    views: Sequence[View]
    part: Part
    result: Comparison
    tell: Callable[[Comparison], object] = lambda _result: None
    _seen: "_Keys" = field(init=False)

    def __enter__(self) -> Self:
        self._seen = _Keys()
        return self

    def __exit__(self, *_error: object) -> None:
        self._seen.close()

    def doubts(self, items: Iterable[Item]) -> Iterator[_Doubt]:
        yield from self._of_table(items)
        yield from self._of_cache()

    def _of_table(self, items: Iterable[Item]) -> Iterator[_Doubt]:
        for chunk in chunked(self._puts(items), itemgetter(2), most=_READ_AT_ONCE):
            self._seen.add([put.key for put, *_ in chunk])
            places = (EntryLocation(put.view, put.key, put.item) for put, *_ in chunk)
            for (put, state, _), held in zip(chunk, read_entries(self.cache, places), strict=True):
                if not matches(held, state):
                    kind = Kind.MISSING if held.value is None else Kind.DIFFERENT
                    yield _Doubt(
                        ScannedEntry(put.view, put.key, put.view.schema.key_of(put.item)), kind
                    )
            self.tell(self.result)

    def _puts(self, items: Iterable[Item]) -> Iterator[tuple[Put, EntryState, int]]:
        """What entries the items should have, with which values, and what memory both take."""
        for item in items:
            if is_canary(item, self.views[0].schema):
                continue
            self.result.items += 1
            size = weight(item)
            for view in self.views:
                try:
                    put = entry_of_row(view, item, item, _ROW)
                    if put is not None:
                        view.encode(item)
                except RecordError as error:
                    self.result.found(Kind.UNMAPPABLE, str(error))
                    continue
                if isinstance(put, Put) and not (state := expected_state(put)).is_never:
                    yield put, state, size + len(state.value or b"")

    def _of_cache(self) -> Iterator[_Doubt]:
        for view in self.views:
            with _Keys() as counted:  # a scan may give a key twice
                mine = (one for one in entries_of(self.cache, view) if self.part.holds(one.key))
                while chunk := {one.key: one for one in islice(mine, _READ_AT_ONCE)}:
                    new = counted.missing(chunk)
                    counted.add(new)
                    self.result.entries += len(new)
                    for key in self._seen.missing(new):
                        yield _Doubt(chunk[key], Kind.ORPHANED)
                    self.tell(self.result)


@dataclass(slots=True)
class _Doubts:
    """Follows up what did not agree, until it does or it has had its time."""

    cache: Cache
    reader: SnapshotReader
    result: Comparison
    settle: float
    fence_ttl: int | None  # None: nothing is repaired
    clock: Callable[[], float]
    wait: Callable[[float], object]
    _doubts: list[_Doubt] = field(default_factory=list)

    def add(self, doubt: _Doubt) -> None:
        self._doubts.append(doubt)
        if len(self._doubts) >= _MOST_DOUBTS:
            self.settle_all()

    def settle_all(self) -> None:
        pause = 0.1
        while self._doubts:
            doubts, self._doubts = iter(self._doubts), []
            while chunk := list(islice(doubts, _READ_AT_ONCE)):
                self._look_again(chunk)
            if not self._doubts:
                return
            left = min(doubt.still for doubt in self._doubts) + self.settle - self.clock()
            self.wait(min(pause, max(left, 0.1)) if left > 0 else pause)
            pause = min(2 * pause, 5.0)

    def _look_again(self, doubts: Sequence[_Doubt]) -> None:
        """Read items and entries once more; what still differs is kept, or judged."""
        keys = [fence_key(doubt.found.key).encode() for doubt in doubts]
        fences = self.cache.execute([Command(key, (b"GET", key)) for key in keys])
        entries = expected_entries([doubt.found for doubt in doubts], self.reader)
        looked = zip(doubts, fences, entries, strict=True)
        for some in chunked(looked, lambda one: entry_weight(one[2]), most=_READ_AT_ONCE):
            self._judge(some)

    def _judge(self, looked: Sequence[tuple[_Doubt, Any, Entry]]) -> None:
        held = read_entries(self.cache, [doubt.found.location for doubt, *_ in looked])
        to_repair: list[tuple[_Doubt, Entry]] = []
        for (doubt, fence, entry), state in zip(looked, held, strict=True):
            should_be = expected_state(entry)
            if matches(state, should_be):
                continue  # it has arrived
            now = self.clock()
            if doubt.fence is _UNKNOWN:
                doubt.since = now
            if doubt.fence != fence:
                doubt.fence, doubt.still = fence, now
            if should_be.value is None:
                doubt.kind = Kind.ORPHANED
            else:
                doubt.kind = Kind.MISSING if state.value is None else Kind.DIFFERENT
            moving = now - doubt.still < self.settle
            if moving and self._has_time(doubt):
                self._doubts.append(doubt)
            elif moving:
                self.result.found(Kind.IN_FLIGHT, doubt.found.key)
            elif self.fence_ttl is None or not _is_ours(doubt):
                self.result.found(doubt.kind, doubt.found.key)
            else:
                to_repair.append((doubt, entry))
        self._repair(to_repair)

    def _repair(self, differences: Sequence[tuple[_Doubt, Entry]]) -> None:
        if not differences:
            return
        assert self.fence_ttl is not None
        gap = read_marker(self.cache, differences[0][0].found.view.schema.table).gap
        for doubt, entry in differences:
            assert isinstance(entry.version, SnapshotVersion)
            # A row must hold every change that the stream will not deliver (marker.py).
            too_fresh = gap is not None and entry.version.as_of <= gap
            report = apply_all(self.cache, [] if too_fresh else [entry], fence_ttl=self.fence_ttl)
            if (too_fresh or report.stale) and self._has_time(doubt):
                self._doubts.append(doubt)
                continue
            self.result.found(doubt.kind, doubt.found.key)
            # What cannot be written has lost its entry.
            self.result.repaired += report.applied + len(report.quarantined)

    def _has_time(self, doubt: _Doubt) -> bool:
        return self.clock() - doubt.since < _PATIENCE * self.settle


def _is_ours(doubt: _Doubt) -> bool:
    """Whether the key is surely the mirror's, and not another application's."""
    return doubt.kind != Kind.ORPHANED or doubt.found.view.owns_its_keys


class _Keys:
    """A set of keys that does not grow in memory: by digest, in a file that vanishes with it."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("CREATE TABLE keys (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def add(self, keys: Iterable[str]) -> None:
        rows = [(_digest(key),) for key in keys]
        self._db.executemany("INSERT OR IGNORE INTO keys VALUES (?)", rows)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of the keys that are not in the set."""
        look = "SELECT 1 FROM keys WHERE digest = ?"
        return [key for key in keys if not self._db.execute(look, (_digest(key),)).fetchone()]

    def close(self) -> None:
        self._db.close()


def _digest(key: str) -> bytes:
    return blake2b(utf8(key), digest_size=16).digest()
