"""Make what the page shows of an inspection from its counts."""

from dynamirror.inspection import report
from dynamirror.inspection.tally import Tally
from dynamirror.page.state import Figure, Measurement

_LATEST = 5


def measurement_of(tally: Tally) -> Measurement:
    """Return what the page shows of an inspection."""
    total = tally.total
    staleness = report.staleness(total)
    most = max((count for _label, count in staleness), default=0) or 1
    return Measurement(
        claim=report.headline(tally),
        violations=tally.violations,
        within=tuple(Figure(name, share) for name, share in report.within(total)),
        staleness=tuple(Figure(label, f"{count:,}", count / most) for label, count in staleness),
        latest=tuple(map(report.violation_text, tally.recent[: -_LATEST - 1 : -1])),
        note=report.notes(total),
    )
