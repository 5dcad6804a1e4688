"""The counts of an inspection, per table and view, and their one form in JSON."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, Final, Self

import msgspec

from dynamirror.inspection import statistics
from dynamirror.inspection.judgement import ViolationKind

# Upper bounds of the staleness histogram, in seconds; behind the last is one more bucket.
STALENESS_BOUNDS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_RECENT: Final = 20


class Violation(msgspec.Struct, frozen=True, omit_defaults=False):
    """An entry that was wrong, without its data.

    Args:
        at: when it was counted, in seconds since 1970.
        table: name of the table.
        view: name of the view.
        item: hash of the item's primary key.
        kind: how the entry was wrong.
        expected: text of the expected version.
        seen: text of the version in the fence; empty for none.
        age: seconds since the change when it was counted.
        shown: the last threshold at which the entry was consistent, in seconds; None for never.
        sequence_number: of the expected change; None for a row of the table.
        stream: label of the stream; None for a row of the table.
    """

    at: float
    table: str
    view: str
    item: str
    kind: ViolationKind
    expected: str
    seen: str
    age: float
    shown: float | None = None
    sequence_number: str | None = None
    stream: str | None = None


class Within(msgspec.Struct):
    """The answers at one threshold.

    Args:
        asked: decided answers.
        consistent: those that showed the change or a newer one.
        undecided: checks that could not be decided, or came too late.
    """

    asked: int = 0
    consistent: int = 0
    undecided: int = 0


class ViewTally(msgspec.Struct):
    """The counts of one view.

    Args:
        checks: expectations; each is one independent check, asked at each threshold.
        skipped: expectations that there was no room for, or that could not be made.
        within: answers by threshold, in seconds as text.
        violations: violations by kind.
        staleness: expectations by the age at which they were first seen consistent, in the buckets
            of `STALENESS_BOUNDS`.
        unavailable: seconds in which the cache could not be read.
    """

    checks: int = 0
    skipped: int = 0
    within: dict[str, Within] = {}
    violations: dict[str, int] = {}
    staleness: list[int] = msgspec.field(default_factory=lambda: [0] * (len(STALENESS_BOUNDS) + 1))
    unavailable: float = 0.0

    @classmethod
    def begun(cls, thresholds: Sequence[float]) -> Self:
        """Return counts of 0 for thresholds."""
        return cls(within={threshold_text(each): Within() for each in thresholds})

    def add_staleness(self, age: float) -> None:
        """Count an expectation that is first seen consistent at an age, in seconds."""
        self.staleness[bisect_left(STALENESS_BOUNDS, age)] += 1

    def add_violation(self, kind: ViolationKind) -> None:
        """Count a violation."""
        self.violations[kind.value] = self.violations.get(kind.value, 0) + 1

    def add(self, other: "ViewTally") -> None:
        """Add the counts of another inspector, or of another view."""
        self.checks += other.checks
        self.skipped += other.skipped
        self.unavailable += other.unavailable
        for name, answers in other.within.items():
            mine = self.within.setdefault(name, Within())
            mine.asked += answers.asked
            mine.consistent += answers.consistent
            mine.undecided += answers.undecided
        for kind, count in other.violations.items():
            self.violations[kind] = self.violations.get(kind, 0) + count
        self.staleness = [a + b for a, b in zip(self.staleness, other.staleness, strict=True)]


class Tally(msgspec.Struct):
    """The counts of an inspection.

    Args:
        share: the share of the items that is inspected.
        began: when it began, in seconds since 1970.
        at: when the counts were copied, in seconds since 1970.
        tables: counts by table and view.
        recent: the last violations, oldest first.
    """

    share: float = 1.0
    began: float = 0.0
    at: float = 0.0
    tables: dict[str, dict[str, ViewTally]] = {}
    recent: list[Violation] = []

    def add(self, other: "Tally") -> None:
        """Add the counts of another inspection."""
        self.began = min(self.began, other.began) if self.tables else other.began
        self.share = max(self.share, other.share) if self.tables else other.share
        self.at = max(self.at, other.at)
        for table, views in other.tables.items():
            mine = self.tables.setdefault(table, {})
            for view, counts in views.items():
                mine.setdefault(view, ViewTally()).add(counts)
        self.recent = sorted([*self.recent, *other.recent], key=lambda each: each.at)[-_RECENT:]

    def add_violation(self, violation: Violation) -> None:
        """Count a violation."""
        self.tables[violation.table][violation.view].add_violation(violation.kind)
        self.recent = [*self.recent, violation][-_RECENT:]

    def copy(self) -> "Tally":
        """Return the counts so far."""
        return msgspec.convert(msgspec.to_builtins(self), Tally)

    @property
    def total(self) -> ViewTally:
        """Return the counts of all tables and views. Times without the cache are those of one."""
        total = ViewTally()
        unavailable = 0.0
        for views in self.tables.values():
            for counts in views.values():
                total.add(counts)
                unavailable = max(unavailable, counts.unavailable)
        total.unavailable = unavailable
        return total

    @property
    def violations(self) -> int:
        """Return how many violations there were."""
        return sum(self.total.violations.values())

    def to_json(self) -> dict[str, Any]:
        """Return the counts with ratios and nines, in the form of every `--json`."""
        return {
            "share": self.share,
            "began": self.began,
            "at": self.at,
            **_view_json(self.total),
            "tables": {
                table: {view: _view_json(counts) for view, counts in views.items()}
                for table, views in self.tables.items()
            },
            "recent": msgspec.to_builtins(self.recent),
        }


def merged(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of the counts of several inspections."""
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


def threshold_text(seconds: float) -> str:
    """Return a threshold as the text that names it, as in 0.5 and 60."""
    return f"{seconds:g}"


def _view_json(counts: ViewTally) -> dict[str, Any]:
    within = sorted(counts.within.items(), key=lambda each: float(each[0]))
    return {
        "checks": counts.checks,
        "skipped": counts.skipped,
        "within": {name: _within_json(answers) for name, answers in within},
        "violations": {kind.value: counts.violations.get(kind.value, 0) for kind in ViolationKind},
        "staleness": {
            "bounds": list(STALENESS_BOUNDS),
            "counts": list(counts.staleness),
        },
        "unavailable": round(counts.unavailable, 3),
    }


def _within_json(answers: Within) -> dict[str, Any]:
    failures = answers.asked - answers.consistent
    return {
        "asked": answers.asked,
        "consistent": answers.consistent,
        "undecided": answers.undecided,
        "ratio": statistics.ratio(answers.consistent, answers.asked),
        "nines": statistics.proven_nines(failures, answers.asked),
        "proven": statistics.sentence(failures, answers.asked),
    }
