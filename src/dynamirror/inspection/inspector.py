"""The inspector of one table: takes changes, waits, and asks the cache as a client would."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from time import time
from typing import Any, Final

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.items import SnapshotRow
from dynamirror.errors import ConfigError, RecordError
from dynamirror.inspection.expectation import Seen
from dynamirror.inspection.judgement import (
    DEFAULT_THRESHOLDS,
    Answer,
    Verdict,
    ViolationKind,
    claim_of,
    is_shown,
    kind_of,
    order_of,
)
from dynamirror.inspection.looking import in_pipelines, look
from dynamirror.inspection.pending import (
    BEFORE,
    NEVER,
    OVER,
    SETTLING,
    Pending,
    WatchedEntry,
)
from dynamirror.inspection.sampling import canonical_key, check_share, is_sampled
from dynamirror.inspection.settling import Case, ReadTable, Settling
from dynamirror.inspection.tally import Tally, Violation
from dynamirror.inspection.violations import Violations
from dynamirror.inspection.watch import Watch
from dynamirror.records.stream_record import Change, decode
from dynamirror.views.canary import is_canary
from dynamirror.views.entry import entries_of_change, entry_of_row
from dynamirror.views.view import View

MOST_PENDING: Final = 250_000
# What is not shown yet is seen again after its age again, but not before.
_SOON_SECONDS: Final = 0.5


class Inspector:
    """Checks a share of one table's items in the cache, and counts.

    `receive` and `tally` may be called by any thread, `run_due` by one. The inspector only reads.

    Args:
        cache: the cache.
        views: all views of the table.
        share: the share of the items, more than 0 and up to 1.
        thresholds: ages of a change at which it is asked, in seconds, ascending.
        read_table: reads items consistently, as `SnapshotReader.read_many` does; None where the
            table cannot be read.
        clock: returns seconds since 1970.
        on_violation: called with each violation, after it is logged.
        most_pending: expectations that wait at the most; others are counted as skipped.

    Raises:
        ConfigError: the share or the thresholds are wrong, or there is no view.
    """

    def __init__(
        self,
        cache: Cache,
        views: Sequence[View],
        share: float = 1.0,
        thresholds: Sequence[float] = DEFAULT_THRESHOLDS,
        *,
        read_table: ReadTable | None = None,
        clock: Callable[[], float] = time,
        on_violation: Callable[[Violation], object] = lambda _violation: None,
        most_pending: int = MOST_PENDING,
    ) -> None:
        check_share(share)
        if not views:
            raise ConfigError("there is no view to inspect")
        self._cache = cache
        self._share = share
        self._schema = views[0].schema
        self._clock = clock
        self._lock = Lock()
        self._down_since: float | None = None
        self._tally = Tally(share, clock(), clock())
        self._watch = Watch(views, thresholds, self._tally, most=most_pending)
        self._settling = Settling(cache, read_table)
        self._violations = Violations(
            self._schema, self._tally, self._watch.thresholds, on_violation
        )

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Return the thresholds, in seconds."""
        return self._watch.thresholds

    @property
    def waiting(self) -> int:
        """Return how many expectations wait."""
        return self._watch.waiting

    def receive(
        self, changes: Iterable[Change | Mapping[str, Any]], *, made: float | None = None
    ) -> None:
        """Take changes in any order.

        Args:
            changes: changes, or records as Lambda has them.
            made: when they were made, in seconds since 1970; None for the end of the second that
                each record names.

        Raises:
            ConfigError: a view needs old images, which the stream does not carry.
        """
        names, share, watch = self._schema.keys, self._share, self._watch
        with self._lock:
            now = self._clock()
            for each in changes:
                try:
                    change = each if isinstance(each, Change) else decode(each)
                    if share < 1 and not is_sampled(canonical_key(change.keys, names), share):
                        continue
                    if is_canary(change.keys, self._schema):
                        continue
                except (KeyError, RecordError):
                    self._watch.skip()
                    continue
                for view in watch.views:
                    try:
                        for entry in entries_of_change(view.view, change):
                            watch.expect(view, entry, change.keys, made=made, now=now)
                    except RecordError:
                        view.tally.skipped += 1

    def receive_rows(self, rows: Iterable[SnapshotRow]) -> None:
        """Take rows of the table; an entry that is as expected at once is counted at once."""
        with self._lock:
            now = self._clock()
            for row in rows:
                try:
                    key = canonical_key(row.key, self._schema.keys)
                    if not is_sampled(key, self._share) or is_canary(row.key, self._schema):
                        continue
                except (KeyError, RecordError):
                    self._watch.skip()
                    continue
                for view in self._watch.views:
                    try:
                        entry = entry_of_row(view.view, row.key, row.item, row.version)
                    except RecordError:
                        view.tally.skipped += 1
                        continue
                    if entry is not None:
                        self._watch.expect_row(
                            view, entry, row.key, as_of=row.version.as_of, now=now
                        )

    def run_due(self) -> int:
        """Ask all that is due, and return how many expectations were asked."""
        with self._lock:
            due = self._watch.take_due(self._clock())
        in_pipelines(due, self._ask)
        for case in self._settling.run(self._clock):
            with self._lock:
                self._close(case)
        return sum(map(len, due))

    def _ask(self, due: Sequence[list[Pending]]) -> bool:
        """Read entries, each once for all that is due, and judge; returns whether all answered."""
        entries = [pending[0].entry for pending in due]
        now = self._clock()
        all_seen = look(self._cache, entries, at_once=len(entries))
        with self._lock:
            self._note_availability(now, all_seen)
            backwards = []
            for entry, seen, pending in zip(entries, all_seen, due, strict=True):
                if seen is None:
                    for each in pending:
                        self._answer(each, now, is_consistent=False, is_undecided=True)
                    continue
                order = order_of(seen.fence)
                if order > entry.seen:
                    entry.seen = order
                elif 0 <= order < entry.seen:
                    backwards.append(entry)
                self._judge(entry, seen, order, pending, now)
        if backwards:
            self._look_again(backwards)
        return None not in all_seen

    def _judge(
        self, entry: WatchedEntry, seen: Seen, order: int, due: list[Pending], now: float
    ) -> None:
        """Judge what is due of one entry: as expected, or as a newer change, or behind."""
        newest, is_claim_known = entry.newest_shown(seen, now)
        has_row_fence = order < 0 and seen.fence is not None
        for pending in due:
            own = pending.order
            if own < 0:
                is_consistent = is_proven = is_shown(pending, seen, now)
            else:
                is_consistent = is_proven = own <= newest
                if not is_proven and (
                    own < order
                    or (has_row_fence and claim_of(seen.fence, pending.version) is Answer.NEWER)
                ):
                    # A newer change that is known is judged itself.
                    is_consistent, is_proven = True, is_claim_known
            self._answer(pending, now, is_consistent=is_consistent, is_proven=is_proven)
        self._watch.forget_over(entry)

    def _answer(
        self,
        pending: Pending,
        now: float,
        *,
        is_consistent: bool,
        is_proven: bool = False,
        is_undecided: bool = False,
    ) -> None:
        """Count the answer to one expectation, and wait for its next threshold."""
        counts, watch, age = pending.entry.watched, self._watch, now - pending.base
        if is_consistent and pending.shown == NEVER:
            counts.tally.add_staleness(age)
            pending.shown = BEFORE
        if pending.order < 0 and is_proven:
            self._end(pending, is_late=False)
            return
        stage = pending.stage
        if age > watch.latest[stage]:
            watch.pass_over(pending, now)
            stage = pending.stage
        if age >= watch.thresholds[stage]:
            if stage == watch.last:
                is_unknown = is_consistent and not is_proven
                self._finish(pending, now, age, is_proven=is_proven, is_unknown=is_unknown)
                return
            answers = counts.within[stage]
            if is_undecided:
                answers.undecided += 1
            else:
                answers.asked += 1
                if is_consistent:
                    answers.consistent += 1
                    pending.shown = stage
            pending.stage = stage = stage + 1
        due = pending.base + watch.thresholds[stage]
        if pending.shown == NEVER:
            # The sooner it is seen again, the better its staleness is known.
            due = min(due, now + max(age, _SOON_SECONDS))
        self._watch.wheel.push(pending, due)

    def _finish(
        self, pending: Pending, now: float, age: float, *, is_proven: bool, is_unknown: bool
    ) -> None:
        """End a check at the last threshold, or settle it, or wait for what the fence claims."""
        watch = self._watch
        threshold, latest = watch.thresholds[watch.last], watch.latest[watch.last]
        pause = max(age - threshold, _SOON_SECONDS)
        if is_proven:
            self._end(pending, is_late=age > latest)
        elif is_unknown and age + pause < latest:
            # The change that the fence claims will soon be known, and the table costs more.
            watch.wheel.push(pending, now + pause)
        else:
            pending.stage = SETTLING
            self._settling.add(pending, now, is_late=age > latest)

    def _end(self, pending: Pending, *, is_late: bool) -> None:
        """End a check that is consistent at the last threshold."""
        answers = pending.entry.watched.within[self._watch.last]
        if is_late:
            answers.undecided += 1
        else:
            answers.asked += 1
            answers.consistent += 1
        pending.stage = OVER

    def _close(self, case: Case) -> None:
        """End a check that is settled."""
        pending, entry, now = case.pending, case.pending.entry, self._clock()
        if case.verdict is Verdict.CONSISTENT:
            if pending.shown == NEVER:
                entry.watched.tally.add_staleness(now - pending.base)
            self._end(pending, is_late=case.is_late)
        elif case.verdict is Verdict.VIOLATED:
            entry.watched.within[self._watch.last].asked += 1
            seen = case.seen
            assert seen is not None
            self._violate(pending, kind_of(case.truth, seen), seen.fence, now)
        else:
            entry.watched.within[self._watch.last].undecided += 1
        pending.stage = OVER
        self._follow(case, now)
        self._watch.forget_over(entry)

    def _follow(self, case: Case, now: float) -> None:
        """Expect what the table has, where a check ended although the cache shows something else.

        A newer change may explain it, but a fence can be wrong.
        """
        entry, last = case.pending.entry, case.looks[-1]
        if case.is_proven or case.verdict is Verdict.VIOLATED or case.pending.order < 0:
            return
        if case.row is None or last.table is None or last.seen is None or entry.row is not None:
            return
        if not is_shown(last.table, last.seen, now):
            self._watch.wait_for_row(entry, last.table, case.row.version.as_of, now)

    def _look_again(self, entries: Sequence[WatchedEntry]) -> None:
        """Read entries again whose fence is older than one seen before, and count those."""
        all_seen = look(self._cache, entries)
        with self._lock:
            now = self._clock()
            for entry, seen in zip(entries, all_seen, strict=True):
                order = -1 if seen is None else order_of(seen.fence)
                if seen is None or not 0 <= order < entry.seen:
                    continue
                before = entry.find(entry.seen)
                version = f"c{entry.seen:053d}" if before is None else before.version
                self._violations.add(
                    entry,
                    ViolationKind.WENT_BACKWARDS,
                    now=now,
                    version=version,
                    fence=seen.fence,
                    age=0.0 if before is None else now - before.base,
                    shown=NEVER if before is None else before.shown,
                )
                entry.seen = order

    def _violate(
        self, pending: Pending, kind: ViolationKind, fence: bytes | None, now: float
    ) -> None:
        self._violations.add(
            pending.entry,
            kind,
            now=now,
            version=pending.version,
            fence=fence,
            age=now - pending.base,
            shown=pending.shown,
        )

    def _note_availability(self, now: float, all_seen: Sequence[Seen | None]) -> None:
        """Count the time in which the cache could not be read."""
        if None in all_seen:
            if self._down_since is None:
                self._down_since = now
        elif self._down_since is not None:
            for view in self._watch.views:
                view.tally.unavailable += now - self._down_since
            self._down_since = None

    def next_due(self) -> float | None:
        """Return when something is due, in seconds since 1970; None for nothing."""
        with self._lock:
            times = (self._watch.wheel.next(), self._settling.next())
        return min((each for each in times if each is not None), default=None)

    def tally(self) -> Tally:
        """Return the counts so far."""
        with self._lock:
            copy, down_since = self._tally.copy(), self._down_since
        copy.at = self._clock()
        if down_since is not None:
            for counts in copy.tables[self._schema.table].values():
                counts.unavailable += copy.at - down_since
        return copy
