"""The counts of an inspection as text."""

from collections.abc import Iterator

from dynamirror.inspection import statistics
from dynamirror.inspection.tally import Tally, ViewTally


def summary(counts: ViewTally) -> str:
    """Return counts in one sentence: the ratio at each threshold, violations, and the nines."""
    within = sorted(counts.within.items(), key=lambda each: float(each[0]))
    ratios = (
        f"{name} s: {_percent(answers.consistent, answers.asked)}"
        for name, answers in within
        if answers.asked
    )
    parts = [f"{counts.checks:,} {'check' if counts.checks == 1 else 'checks'}"]
    if shown := ", ".join(ratios):
        parts.append(f"consistent within {shown}")
    parts.append(violations(counts))
    decided = [answers for _name, answers in within if answers.asked]
    if decided:
        last = decided[-1]
        parts.append(statistics.sentence(last.asked - last.consistent, last.asked))
    if counts.skipped:
        parts.append(f"{counts.skipped:,} skipped")
    if counts.unavailable:
        parts.append(f"{counts.unavailable:,.1f} s without the cache")
    return "; ".join(parts)


def violations(counts: ViewTally) -> str:
    """Return the violations by kind."""
    total = sum(counts.violations.values())
    if not total:
        return "no violation"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.violations.items()))
    return f"{total:,} {'violation' if total == 1 else 'violations'} ({kinds})"


def lines(tally: Tally) -> Iterator[str]:
    """Yield the counts of each view."""
    for table, views in tally.tables.items():
        for view, counts in views.items():
            yield f"table {table}, view {view}: {summary(counts)}"


def _percent(consistent: int, asked: int) -> str:
    """Return a ratio that is shown as 100% only if it is."""
    if consistent == asked:
        return "100%"
    text = f"{100 * consistent / asked:.4f}"
    return "99.9999%" if text == "100.0000" else f"{text}%"
