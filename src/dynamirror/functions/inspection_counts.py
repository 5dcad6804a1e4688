"""The counts of one invocation of the judge."""

from collections import Counter

from dynamirror.inspection.tally import Violation
from dynamirror.inspection.violations import log_violation
from dynamirror.metrics import catalogue as metrics
from dynamirror.metrics import emf


class InspectionCounts:
    """The counts of one invocation for one table, written as metrics.

    Args:
        table: name of the table.
    """

    def __init__(self, table: str) -> None:
        self.table = table
        self._sums: Counter[metrics.Metric] = Counter()
        self._staleness: list[float] = []
        self._kinds: Counter[str] = Counter()

    def add(self, metric: metrics.Metric, count: int = 1) -> None:
        """Add to a count."""
        self._sums[metric] += count

    def answer(self, threshold: float, *, is_consistent: bool) -> None:
        """Count an answer at a threshold."""
        self.add(metrics.asked_within(threshold))
        if is_consistent:
            self.add(metrics.consistent_within(threshold))

    def show(self, age: float) -> None:
        """Count a change that is first seen at an age, in seconds."""
        self._staleness.append(round(max(0.0, age), 3))

    def violate(self, violation: Violation) -> None:
        """Count and log a violation."""
        self._kinds[violation.kind.value] += 1
        log_violation(violation)

    def write(self) -> None:
        """Write the metrics: one line, and one for each kind of violation."""
        values: dict[metrics.Metric, float | list[float]] = {
            metric: count for metric, count in self._sums.items() if count
        }
        if self._staleness:
            values[metrics.STALENESS] = self._staleness
        emf.emit(self.table, values)
        for kind, count in self._kinds.items():
            emf.emit(self.table, {metrics.CONSISTENCY_VIOLATIONS: count}, {metrics.KIND: kind})
