"""The judge: asks the cache for entries of which something is expected, and counts the answers.

It keeps nothing between invocations: what it must know, the questions carry.
"""

import functools
import os
from collections.abc import Callable, Sequence
from time import sleep, time
from typing import Any, Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.client import Aws
from dynamirror.functions.inspection_counts import InspectionCounts
from dynamirror.functions.inspector import views_of
from dynamirror.functions.item_reads import item_reader
from dynamirror.functions.questions import InspectorSettings, Question, Questions, all_questions
from dynamirror.functions.runtime import log_invocation
from dynamirror.inspection.expectation import Seen, State
from dynamirror.inspection.judgement import (
    Answer,
    Verdict,
    ViolationKind,
    is_shown,
    judge,
    kind_of,
    order_of,
)
from dynamirror.inspection.looking import look, place_of
from dynamirror.inspection.pending import BEFORE, NEVER, Pending, WatchedEntry, WatchedView
from dynamirror.inspection.sampling import canonical_key, key_hash
from dynamirror.inspection.settling import Case, ReadTable, Settling
from dynamirror.inspection.tally import ViewTally, Violation
from dynamirror.inspection.violations import sequence_number_in, stream_label_in
from dynamirror.inspection.watch import latest_age
from dynamirror.metrics import catalogue as metrics
from dynamirror.records.version import parse
from dynamirror.settings import Settings
from dynamirror.views.view import View, Views

_CONSISTENT: Final = frozenset({Answer.SHOWN, Answer.NEWER})
# What is due later goes back to the queue.
_LONGEST_WAIT: Final = 2.0
_encode: Final = msgspec.json.Encoder().encode


class Judge:
    """Judges questions that are due.

    Args:
        cache: the cache.
        views: the views of all tables.
        read_table: returns what reads items of a table consistently.
        ages: the thresholds, in seconds.
        clock: returns seconds since 1970.
        wait: waits for seconds.
    """

    def __init__(
        self,
        cache: Cache,
        views: Views,
        read_table: Callable[[str], ReadTable],
        ages: Sequence[float],
        *,
        clock: Callable[[], float] = time,
        wait: Callable[[float], object] = sleep,
    ) -> None:
        self.cache = cache
        self._views = views
        self._read_table = read_table
        self._ages = tuple(ages)
        self._last = len(ages) - 1
        self._clock = clock
        self._wait = wait

    def __call__(self, messages: Sequence[Questions]) -> list[Questions]:
        """Judge questions, and return those that are asked again."""
        by_table: dict[str, list[Questions]] = {}
        for message in sorted(messages, key=self._seconds_early):
            by_table.setdefault(message.table, []).append(message)
        later: list[Questions] = []
        for table, its_messages in by_table.items():
            counts = InspectionCounts(table)
            try:
                later += self._judge_table(its_messages, counts)
            finally:
                counts.write()
        return later

    def _judge_table(
        self, messages: Sequence[Questions], counts: InspectionCounts
    ) -> list[Questions]:
        """Judge the questions of one table, in the order in which they are due."""
        later: list[Questions] = []
        unsettled: list[tuple[_Asked, Question]] = []
        for message in messages:
            self._begin(message, counts)
            if self._seconds_early(message) > _LONGEST_WAIT:
                later.append(message)
                continue
            asked = _Asked(
                message, self._views_of(message), counts, self._ages[message.stage], message.stage
            )
            open_ = self._ask_twice(asked)
            if asked.stage == self._last:
                unsettled += [(asked, question) for question in open_]
                continue
            for _question in open_:
                counts.answer(asked.threshold, is_consistent=False)
            message.stage += 1
            if message.questions:
                later.append(message)
        if unsettled:
            self._settle(messages[0].table, unsettled)
        return later

    def _begin(self, message: Questions, counts: InspectionCounts) -> None:
        """Count new questions, and pass over the thresholds that are too long ago."""
        if message.is_new:
            counts.add(metrics.CONSISTENCY_CHECKS, len(message.questions))
            message.is_new = False
        message.stage = min(message.stage, self._last)  # the thresholds may have changed
        while message.stage < self._last and self._is_late(message):
            counts.add(metrics.CONSISTENCY_UNDECIDED, len(message.questions))
            message.stage += 1

    def _ask_twice(self, asked: "_Asked") -> list[Question]:
        """Return the questions of a message that are not shown, not even when they are due."""
        message = asked.message
        known = [each for each in message.questions if each.expectation.view in asked.views]
        # The others have a view that is no longer there.
        asked.counts.add(metrics.CONSISTENCY_UNDECIDED, len(message.questions) - len(known))
        message.questions = known
        open_ = self._ask(asked, known, is_first=True)
        if open_ and (early := self._seconds_early(message)) > 0:
            self._wait(early)
        return self._ask(asked, open_, is_first=False)

    def _seconds_early(self, message: Questions) -> float:
        return message.base + self._ages[min(message.stage, self._last)] - self._clock()

    def _is_late(self, message: Questions) -> bool:
        return self._clock() - message.base > latest_age(self._ages[message.stage])

    def _views_of(self, message: Questions) -> dict[str, View]:
        bound = self._views.bound(message.table)
        if bound is None and message.questions:
            bound = self._views.meet(message.table, frozenset(message.questions[0].item))
        return {view.name: view for view in bound or ()}

    def _ask(
        self, asked: "_Asked", questions: Sequence[Question], *, is_first: bool
    ) -> list[Question]:
        """Read entries and judge them, and return the questions that are still open.

        An answer that would be a violation, or a contradiction, is read a second time.
        """
        open_ = []
        places = [
            place_of(asked.views[each.expectation.view], each.expectation) for each in questions
        ]
        all_seen = look(self.cache, places)
        now = self._clock()
        for question, seen in zip(questions, all_seen, strict=True):
            if seen is None:
                if is_first:
                    open_.append(question)
                else:
                    asked.counts.add(metrics.CONSISTENCY_UNDECIDED)
                continue
            goes_back = self._goes_back(asked, question, seen, is_first=is_first)
            answer = judge(question.expectation, seen, now)
            is_last = asked.stage == self._last
            if goes_back or answer not in _CONSISTENT or (is_last and answer is Answer.NEWER):
                open_.append(question)
            else:
                self._consistent(asked, question, now)
        return open_

    def _goes_back(
        self, asked: "_Asked", question: Question, seen: Seen, *, is_first: bool
    ) -> bool:
        """Return whether a first look shows an older change than before; count it at a second."""
        order, before = order_of(seen.fence), order_of(question.seen.encode())
        if order < 0 or order >= before:
            if order > before:
                assert seen.fence is not None
                question.seen = seen.fence.decode()
            return False
        if is_first:
            return True
        expected = question.seen
        assert seen.fence is not None
        question.seen = seen.fence.decode()
        self._violate(asked, question, ViolationKind.WENT_BACKWARDS, seen, expected)
        return False

    def _consistent(self, asked: "_Asked", question: Question, now: float) -> None:
        age = now - asked.message.base
        if question.shown == NEVER:
            asked.counts.show(age)
            question.shown = BEFORE
        if age > latest_age(asked.threshold):
            asked.counts.add(metrics.CONSISTENCY_UNDECIDED)
            return
        asked.counts.answer(asked.threshold, is_consistent=True)
        question.shown = asked.stage

    def _settle(self, table: str, unsettled: Sequence[tuple["_Asked", Question]]) -> None:
        """Compare with the table what is not shown at the last threshold."""
        settling = Settling(self.cache, self._read_table(table))
        by_entry = {}
        for asked, question in unsettled:
            pending = _pending(asked, question)
            by_entry[id(pending.entry)] = asked, question
            settling.add(pending, self._clock(), is_late=self._is_late(asked.message))
        while (due := settling.next()) is not None:
            self._wait(max(0.0, due - self._clock()))
            for case in settling.run(self._clock):
                asked, question = by_entry[id(case.pending.entry)]
                self._close(asked, question, case)
                if row := _row_to_expect(case, self._clock()):
                    # A newer change may explain the difference, but a fence can be wrong.
                    asked.counts.add(metrics.CONSISTENCY_CHECKS)
                    settling.add(row, self._clock(), is_late=False)

    def _close(self, asked: "_Asked", question: Question, case: Case) -> None:
        if case.verdict is Verdict.VIOLATED:
            assert case.seen is not None
            asked.counts.answer(asked.threshold, is_consistent=False)
            kind = kind_of(case.truth, case.seen)
            self._violate(asked, question, kind, case.seen, case.pending.version)
        elif case.verdict is Verdict.CONSISTENT and not case.is_late:
            if question.shown == NEVER:
                asked.counts.show(self._clock() - asked.message.base)
                question.shown = BEFORE
            asked.counts.answer(asked.threshold, is_consistent=True)
        else:
            asked.counts.add(metrics.CONSISTENCY_UNDECIDED)

    def _violate(
        self, asked: "_Asked", question: Question, kind: ViolationKind, seen: Seen, expected: str
    ) -> None:
        now, view = self._clock(), asked.views[question.expectation.view]
        # Also of a row, the sequence number is that of the change which led to it.
        version = expected if expected.startswith("c") else question.expectation.version
        asked.counts.violate(
            Violation(
                at=round(now, 3),
                table=asked.message.table,
                view=view.name,
                item=key_hash(canonical_key(question.item, view.schema.keys)),
                kind=kind,
                expected=expected,
                seen="" if seen.fence is None else seen.fence.decode(errors="replace"),
                age=round(now - asked.message.base, 3),
                shown=self._ages[question.shown] if question.shown >= 0 else None,
                sequence_number=sequence_number_in(version),
                stream=stream_label_in(version),
            )
        )


class _Asked(msgspec.Struct):
    """A message that is being judged.

    Args:
        message: the message.
        views: the views of its table, by name.
        counts: takes the counts.
        threshold: the age at which it asks, in seconds.
        stage: number of the threshold.
    """

    message: Questions
    views: dict[str, View]
    counts: InspectionCounts
    threshold: float
    stage: int


def _pending(asked: _Asked, question: Question) -> Pending:
    """Return the expectation of a question in the form in which it is settled."""
    expected, view = question.expectation, asked.views[question.expectation.view]
    version = expected.version
    entry = WatchedEntry(
        view=view,
        key=expected.key,
        index=expected.index,
        member=expected.member,
        watched=WatchedView(view, ViewTally(), []),
        item=_encode(question.item),
    )
    return Pending(
        digest=expected.digest,
        expires=expected.expires,
        score=expected.score,
        entry=entry,
        order=order_of(version.encode()),
        created=_created(version),
        base=asked.message.base,
    )


def _created(version: str) -> int:
    parsed: Any = parse(version)
    return int(parsed.created)


def _row_to_expect(case: Case, now: float) -> Pending | None:
    """Return an expectation by the table, where the cache shows something else without proof."""
    last = case.looks[-1]
    if case.verdict is Verdict.VIOLATED or case.pending.order < 0:
        return None
    if case.row is None or last.table is None or last.seen is None:
        return None
    if is_shown(last.table, last.seen, now):
        return None
    table: State = last.table
    return Pending(
        digest=table.digest,
        expires=table.expires,
        score=table.score,
        entry=case.pending.entry,
        order=-1,
        created=case.row.version.as_of,
        base=case.pending.base,
    )


@functools.cache
def the_judge() -> Judge:
    """Return the judge, kept between invocations."""
    settings = Settings.from_env(os.environ)
    read_table = functools.cache(lambda table: item_reader(Aws.from_env, table))
    ages = InspectorSettings.from_env().ages
    return Judge(Cache(settings), views_of(settings), read_table, ages)


def handler(event: Any, context: object = None) -> list[dict[str, Any]]:
    """Judge questions that are due.

    Args:
        event: messages of the inspector.
        context: Lambda's context.

    Returns:
        The messages that are asked again, each with the next threshold.

    Raises:
        ConfigError: a setting or the event is wrong.
    """
    log_invocation(context)
    later = the_judge()(all_questions(event))
    plain: list[dict[str, Any]] = msgspec.to_builtins(later)
    return plain
