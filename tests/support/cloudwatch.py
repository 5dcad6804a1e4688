"""What CloudWatch makes of metrics, by an alarm's own definition."""

import json
import operator
from collections.abc import Callable, Mapping
from typing import Any

Definition = Mapping[str, Any]
Key = tuple[str, str, str]  # namespace, name, dimensions
Statistic = Callable[[list[float]], float]

_STATISTICS: dict[str, Statistic] = {"Maximum": max, "Minimum": min, "Sum": sum}
_COMPARISONS = {"GreaterThanThreshold": operator.gt, "LessThanThreshold": operator.lt}


class Points:
    """Values of metrics by the minute they were told in; the minutes are the test's own."""

    def __init__(self) -> None:
        self._values: dict[Key, list[tuple[int, float]]] = {}

    def add(
        self, namespace: str, name: str, dimensions: Mapping[str, str], value: float, minute: int
    ) -> None:
        """Keep one value."""
        key = (namespace, name, json.dumps(sorted(dimensions.items())))
        self._values.setdefault(key, []).append((minute, value))

    def read(self, output: str, minute: int) -> None:
        """Keep what a function's log tells in embedded metric format."""
        for line in output.splitlines():
            told = json.loads(line)
            for directive in told.get("_aws", {}).get("CloudWatchMetrics", ()):
                for names in directive["Dimensions"]:
                    dimensions = {name: told[name] for name in names}
                    for metric in directive["Metrics"]:
                        values = told[metric["Name"]]
                        for value in values if isinstance(values, list) else [values]:
                            self.add(
                                directive["Namespace"], metric["Name"], dimensions, value, minute
                            )

    def of(self, namespace: str, name: str, dimensions: Mapping[str, str]) -> Any:
        """The values of one metric, with their minutes."""
        return self._values.get((namespace, name, json.dumps(sorted(dimensions.items()))), [])


def state(
    alarm: Definition, points: Points, names: Mapping[str, str], *, now: int, before: str
) -> str:
    """The state that an alarm is in.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
    CloudWatch may look back further than the periods it evaluates where data is missing; this does
    not, and where missing periods leave it open, the state stays as it was.

    Args:
        alarm: its properties in the template.
        points: what was told.
        names: what a dimension is called in truth, by its name.
        now: the minute that has just ended.
        before: the state it was in.
    """
    dimensions = {each["Name"]: names[each["Name"]] for each in alarm["Dimensions"]}
    values = points.of(alarm["Namespace"], alarm["MetricName"], dimensions)
    minutes = alarm["Period"] // 60
    looks: list[bool | None] = []
    for period in range(alarm["EvaluationPeriods"]):
        end = now - period * minutes
        found = [value for minute, value in values if end - minutes < minute <= end]
        looks.append(_is_bad(alarm, found) if found else _missing(alarm))
    needed = alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"])
    bad, unknown = looks.count(True), looks.count(None)
    if bad >= needed:
        return "ALARM"
    if unknown == len(looks) and alarm["TreatMissingData"] == "missing":
        return "INSUFFICIENT_DATA"
    return before if bad + unknown >= needed else "OK"


def _is_bad(alarm: Definition, found: list[float]) -> bool:
    compare = _COMPARISONS[alarm["ComparisonOperator"]]
    return bool(compare(_STATISTICS[alarm["Statistic"]](found), alarm["Threshold"]))


def _missing(alarm: Definition) -> bool | None:
    return {"breaching": True, "notBreaching": False}.get(alarm["TreatMissingData"])
