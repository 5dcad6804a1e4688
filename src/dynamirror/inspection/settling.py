"""The end of checks: what is not shown at the last threshold is compared with the table."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.items import SnapshotRow
from dynamirror.errors import SourceError
from dynamirror.inspection.expectation import Seen, State, state_in_table
from dynamirror.inspection.judgement import LOOKS, PAUSES, Look, Verdict, order_of, settle
from dynamirror.inspection.looking import in_pipelines, look
from dynamirror.inspection.pending import Pending
from dynamirror.inspection.sampling import canonical_key
from dynamirror.records.attribute_value import Item

ReadTable = Callable[[Sequence[Item]], Iterable[SnapshotRow]]
_decode: Final = msgspec.json.Decoder(Item).decode


class Case(msgspec.Struct):
    """A check that is being settled.

    Args:
        pending: the expectation.
        due: when it is looked at next, in seconds since 1970.
        is_late: whether it came too late to count as consistent at the last threshold.
        looks: the looks so far.
        row: the row of the last look at the table; None if it could not be read.
        verdict: the verdict; None before the end.
        is_proven: whether the cache showed a newer change that is known.
    """

    pending: Pending
    due: float
    is_late: bool = False
    looks: list[Look] = []
    row: SnapshotRow | None = None
    verdict: Verdict | None = None
    is_proven: bool = False

    @property
    def seen(self) -> Seen | None:
        """Return what the cache showed last; None if it was never reached."""
        return next((each.seen for each in reversed(self.looks) if each.seen is not None), None)

    @property
    def truth(self) -> State:
        """Return the state that the entry should have, by the table if it could be read."""
        table = self.looks[-1].table
        return self.pending if table is None else table


class Settling:
    """Settles checks, each by several looks at table and cache.

    Args:
        cache: the cache.
        read_table: reads items consistently; None where the table cannot be read.
    """

    def __init__(self, cache: Cache, read_table: ReadTable | None) -> None:
        self._cache = cache
        self._read_table = read_table
        self._cases: list[Case] = []

    def add(self, pending: Pending, now: float, *, is_late: bool) -> None:
        """Begin to settle a check."""
        self._cases.append(Case(pending, now, is_late))

    def next(self) -> float | None:
        """Return when a case is due; None for none."""
        return min((case.due for case in self._cases), default=None)

    def run(self, clock: Callable[[], float]) -> list[Case]:
        """Look at all that is due, and return what is settled."""
        now = clock()
        due = [case for case in self._cases if case.due <= now]
        self._cases = [case for case in self._cases if case.due > now]
        settled: list[Case] = []

        def ask(some: Sequence[Case]) -> bool:
            is_answered = self._look(some)
            now = clock()
            newest: dict[int, int] = {}
            for case in some:
                case.verdict = _verdict(case, newest, now)
                if case.verdict is not None:
                    settled.append(case)
                else:
                    case.due = now + PAUSES[min(len(case.looks), LOOKS - 1) - 1]
                    self._cases.append(case)
            return is_answered

        due.sort(key=lambda case: id(case.pending.entry))
        in_pipelines(due, ask)
        return settled

    def _look(self, cases: Sequence[Case]) -> bool:
        """Look at table and cache, and return whether the cache answered for all."""
        rows = self._rows(cases)
        entries = {id(case.pending.entry): case.pending.entry for case in cases}
        all_seen = look(self._cache, entries.values(), at_once=len(entries))
        seen_of = dict(zip(entries, all_seen, strict=True))
        for case in cases:
            entry, table = case.pending.entry, None
            seen, case.row = seen_of[id(entry)], rows.get(entry.item)
            if case.row is not None:
                table = state_in_table(entry.view, entry.key, case.row.item)
                if entry.member is None:
                    table.score = None
            case.looks.append(Look(table, seen))
        return None not in all_seen

    def _rows(self, cases: Sequence[Case]) -> dict[bytes, SnapshotRow]:
        """Return the rows of cases by their keys in JSON, as far as the table can be read."""
        if self._read_table is None:
            return {}
        names = cases[0].pending.entry.view.schema.keys
        by_key = {}
        for item in {case.pending.entry.item for case in cases}:
            key = _decode(item)
            by_key[canonical_key(key, names)] = item, key
        rows = {}
        try:
            for row in self._read_table([key for _item, key in by_key.values()]):
                rows[by_key[canonical_key(row.key, names)][0]] = row
        except SourceError:
            pass  # what is missing is not known
        return rows


def _verdict(case: Case, newest: dict[int, int], now: float) -> Verdict | None:
    """Return the verdict on a case; None before the end.

    Args:
        case: the case.
        newest: order of the newest change that each entry shows, by the entry's id; filled here.
        now: seconds since 1970.
    """
    pending, seen = case.pending, case.looks[-1].seen
    entry = pending.entry
    if seen is not None and id(entry) not in newest:
        newest[id(entry)] = entry.newest_shown(seen, now)[0]
    if seen is not None and newest[id(entry)] > pending.order:
        case.is_proven = True
        return Verdict.CONSISTENT
    verdict = settle(pending.expectation(), case.looks, now)
    is_newest = not entry.pending or entry.pending[-1].order <= pending.order
    if (
        verdict is Verdict.VIOLATED
        and (case.is_late or not is_newest)
        and not _is_ordered(case.seen)
    ):
        # Without a fence, the entry may show a change between this one and the newest, which came
        # and went before this one was received. The newest is judged itself.
        return Verdict.UNDECIDED
    return verdict


def _is_ordered(seen: Seen | None) -> bool:
    """Return whether a fence names the change that an entry shows."""
    return seen is not None and order_of(seen.fence) >= 0
