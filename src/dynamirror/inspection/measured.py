"""The counts of a tally as metrics."""

from dynamirror.inspection.judgement import ViolationKind
from dynamirror.inspection.tally import Tally, ViewTally
from dynamirror.metrics import catalogue as metrics


def measured(tally: Tally, table: str) -> metrics.Inspected:
    """Return the counts of one table, of all its views together."""
    total = ViewTally()
    for counts in tally.tables.get(table, {}).values():
        total.add(counts)
    values: dict[metrics.Metric, float] = {
        metrics.CONSISTENCY_CHECKS: total.checks,
        metrics.CONSISTENCY_UNDECIDED: sum(each.undecided for each in total.within.values()),
    }
    for name, answers in total.within.items():
        values[metrics.asked_within(float(name))] = answers.asked
        values[metrics.consistent_within(float(name))] = answers.consistent
    violations = {kind.value: total.violations.get(kind.value, 0) for kind in ViolationKind}
    return metrics.Inspected(values, violations, total.staleness)
