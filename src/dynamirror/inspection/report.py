"""The counts of an inspection in words, for terminals and the page; no data of items."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from dynamirror.inspection import statistics
from dynamirror.inspection.tally import STALENESS_BOUNDS, Tally, ViewTally, Violation

NONE_YET: Final = "none yet"
_PARTS: Final = 1_000_000
_LATEST: Final = 3


def headline(tally: Tally) -> str:
    """Return what all checks together prove, as in "at least 4.2 nines (95%), 48,000 checks"."""
    return _proof(tally.total)


def _proof(counts: ViewTally) -> str:
    # A check counts from the first threshold on at which it was consistent, or once it failed.
    violations = sum(counts.violations.values())
    consistent = max((answers.consistent for answers in counts.within.values()), default=0)
    return statistics.sentence(violations, consistent + violations)


def summary(counts: ViewTally) -> str:
    """Return counts in one sentence: nines, shares, violations by kind, and what is unknown."""
    shares = ", ".join(f"{name} {share}" for name, share in within(counts))
    return "; ".join(
        filter(None, (_proof(counts), f"within {shares}", _kinds(counts), notes(counts)))
    )


def _kinds(counts: ViewTally) -> str:
    found = {kind: count for kind, count in sorted(counts.violations.items()) if count}
    total = sum(found.values())
    if not total:
        return "no violation"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.items())
    return f"{total:,} {'violation' if total == 1 else 'violations'} ({kinds})"


def summaries(tally: Tally) -> Iterator[str]:
    """Yield the counts of each view in a sentence."""
    for table, views in tally.tables.items():
        for view, counts in views.items():
            yield f"table {table}, view {view}: {summary(counts)}"


def within(total: ViewTally) -> Iterator[tuple[str, str]]:
    """Yield each threshold, and the share of the checks that were consistent there, in words."""
    for seconds, answers in sorted(total.within.items(), key=lambda each: float(each[0])):
        asked = answers.asked
        share = f"{percent(answers.consistent, asked)} of {asked:,}" if asked else NONE_YET
        yield f"{seconds} s", share


def percent(part: int, whole: int) -> str:
    """Return a share as text, which is 100% only for the whole."""
    return f"{part * _PARTS // whole / (_PARTS // 100):g}%"


def staleness(total: ViewTally) -> list[tuple[str, int]]:
    """Return the staleness histogram: the ages up to the last threshold, and where counts are."""
    longest = max((float(seconds) for seconds in total.within), default=0.0)
    labels = [*(f"{bound:g} s" for bound in STALENESS_BOUNDS), "longer"]
    ends = [*STALENESS_BOUNDS, float("inf")]
    return [
        (label, count)
        for label, end, count in zip(labels, ends, total.staleness, strict=True)
        if count or end <= longest
    ]


def violation_text(violation: Violation) -> str:
    """Return a violation in words: what, where, when, and the number to find its cause by."""
    at = datetime.fromtimestamp(violation.at, UTC).strftime("%H:%M:%S UTC")
    kind = violation.kind.value.replace("_", " ")
    text = f"{at}: {kind}, view {violation.view}, item {violation.item}, {violation.age:,.0f} s old"
    if violation.sequence_number is None:
        return text
    return f"{text}, sequence number {violation.sequence_number}"


def notes(total: ViewTally) -> str:
    """Return in words what was not measured; empty for nothing."""
    undecided = max((answers.undecided for answers in total.within.values()), default=0)
    parts = [
        f"{undecided:,} undecided" if undecided else "",
        f"{total.skipped:,} skipped" if total.skipped else "",
        f"cache unavailable for {total.unavailable:,.1f} s" if total.unavailable else "",
    ]
    return ", ".join(part for part in parts if part)


def lines(tally: Tally) -> Iterator[str]:
    """Yield an inspection as lines of text."""
    total = tally.total
    yield headline(tally)
    yield "within " + ", ".join(f"{name} {share}" for name, share in within(total))
    if missed := notes(total):
        yield missed
    for violation in reversed(tally.recent[-_LATEST:]):
        yield f"violation {violation_text(violation)}"
