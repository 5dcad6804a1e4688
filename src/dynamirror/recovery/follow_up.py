"""Follow-up of differences: read them again until they match or have had their time; repair."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import read_marker
from dynamirror.cache.entry_state import EntryState, expected_state, matches, read_entries
from dynamirror.cache.scripts import Command
from dynamirror.cache.writer import apply_all
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.records.chunks import chunked
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.cache_scan import expected_entries
from dynamirror.recovery.comparison import Comparison, Kind
from dynamirror.recovery.difference_scan import READ_AT_ONCE, UNKNOWN, Doubt
from dynamirror.recovery.sweep import entry_weight
from dynamirror.views.entry import Entry
from dynamirror.views.keyspace import fence_key

# How many differences are followed up at a time; each holds two keys in memory.
_MOST_DOUBTS = 50_000
# How long an entry that keeps changing is followed up, as a multiple of the settling time.
PATIENCE: Final = 4


@dataclass(slots=True)
class FollowUp:
    """Reads differences again until they match, or counts them.

    Args:
        cache: the cache.
        reader: reads single items.
        result: counts the differences.
        settle: seconds that an unchanged entry may differ.
        fence_ttl: seconds that a fence is kept, for repair; None for no repair.
        clock: returns monotonic seconds.
        wait: waits a number of seconds.
    """

    cache: Cache
    reader: SnapshotReader
    result: Comparison
    settle: float
    fence_ttl: int | None
    clock: Callable[[], float]
    wait: Callable[[float], object]
    _doubts: dict[str, Doubt] = field(default_factory=dict)

    def add(self, doubt: Doubt) -> None:
        """Add a difference; many at once are settled immediately.

        At a low rate these are few: it must take no longer to read them again than to settle.
        """
        self._doubts.setdefault(doubt.entry.key, doubt)
        most = self.reader.most_at_once(max(self.settle, 1.0)) or _MOST_DOUBTS
        if len(self._doubts) >= min(most, _MOST_DOUBTS):
            self.settle_all()

    @property
    def is_settled(self) -> bool:
        """Return whether no difference is left to follow up."""
        return not self._doubts

    def settle_all(self) -> None:
        """Read the differences again until each matches or is counted."""
        pause = 0.1
        while self._doubts:
            doubts, self._doubts = iter(self._doubts.values()), {}
            while chunk := list(islice(doubts, READ_AT_ONCE)):
                self._read_again(chunk)
            if not self._doubts:
                return
            oldest = min(doubt.unchanged_since for doubt in self._doubts.values())
            left = oldest + self.settle - self.clock()
            self.wait(min(pause, max(left, 0.1)) if left > 0 else pause)
            pause = min(2 * pause, 5.0)

    def _read_again(self, doubts: Sequence[Doubt]) -> None:
        keys = [fence_key(doubt.entry.key).encode() for doubt in doubts]
        answers = self.cache.execute([Command(key, (b"GET", key)) for key in keys])
        # Two refusals are never equal, but stand for the same: there is no fence.
        fences = [
            None if isinstance(answer, Failure) and answer.is_final else answer
            for answer in answers
        ]
        entries = expected_entries([doubt.entry for doubt in doubts], self.reader)
        cases = zip(doubts, fences, entries, strict=True)
        for chunk in chunked(cases, lambda case: entry_weight(case[2]), most=READ_AT_ONCE):
            self._judge(chunk)

    def _judge(self, cases: Sequence[tuple[Doubt, Any, Entry]]) -> None:
        states = read_entries(self.cache, [doubt.entry.location for doubt, *_ in cases])
        to_repair: list[tuple[Doubt, Entry]] = []
        for (doubt, fence, entry), state in zip(cases, states, strict=True):
            expected = expected_state(entry)
            if matches(state, expected):
                continue  # the change has arrived
            doubt.kind = _kind(state, expected)
            if self._is_changing(doubt, fence):
                if self._has_time(doubt):
                    self._doubts[doubt.entry.key] = doubt
                else:
                    self.result.record(Kind.IN_FLIGHT, doubt.entry.key)
            elif self.fence_ttl is None or not _is_ours(doubt):
                self.result.record(doubt.kind, doubt.entry.key)
            else:
                to_repair.append((doubt, entry))
        self._repair(to_repair)

    def _is_changing(self, doubt: Doubt, fence: Any) -> bool:
        """Return whether the entry's fence has changed within the settling time."""
        now = self.clock()
        if doubt.fence is UNKNOWN:
            doubt.since = now
        if doubt.fence != fence:
            doubt.fence, doubt.unchanged_since = fence, now
        return now - doubt.unchanged_since < self.settle

    def _repair(self, differences: Sequence[tuple[Doubt, Entry]]) -> None:
        if not differences:
            return
        assert self.fence_ttl is not None
        gap = read_marker(self.cache, differences[0][0].entry.view.schema.table).gap
        for doubt, entry in differences:
            assert isinstance(entry.version, SnapshotVersion)
            # A row must hold every change that the stream will not deliver.
            too_old = gap is not None and entry.version.as_of <= gap
            report = apply_all(self.cache, [] if too_old else [entry], fence_ttl=self.fence_ttl)
            if (too_old or report.stale) and self._has_time(doubt):
                self._doubts[doubt.entry.key] = doubt
                continue
            if report.quarantined and doubt.kind is Kind.MISSING:
                self.result.record(Kind.UNMAPPABLE, report.quarantined[0].reason)
                continue
            self.result.record(doubt.kind, doubt.entry.key)
            # A quarantined entry was deleted, which repairs it, too.
            self.result.repaired += report.applied + len(report.quarantined)

    def _has_time(self, doubt: Doubt) -> bool:
        return self.clock() - doubt.since < PATIENCE * self.settle


def _kind(state: EntryState, expected: EntryState) -> Kind:
    if expected.value is None:
        return Kind.ORPHANED
    return Kind.MISSING if state.value is None else Kind.DIFFERENT


def _is_ours(doubt: Doubt) -> bool:
    """Return whether the key cannot be another application's."""
    return doubt.kind != Kind.ORPHANED or doubt.entry.view.owns_its_keys
