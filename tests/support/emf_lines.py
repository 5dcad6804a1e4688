"""What CloudWatch reads in a function's log, held to the specification of the format.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import math
import time
from typing import Any, NamedTuple

_RATES = (
    *("Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes"),
    *("Bits", "Kilobits", "Megabits", "Gigabits", "Terabits", "Count"),
)
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html
UNITS = {
    *("Seconds", "Microseconds", "Milliseconds", "Percent", "None"),
    *_RATES,
    *(f"{rate}/Second" for rate in _RATES),
}
_NO_METRICS = {"batches", "kind", "first_sequence_number", "last_sequence_number"}
_TWO_WEEKS, _TWO_HOURS = 14 * 86400 * 1000, 2 * 3600 * 1000


class EmfLine(NamedTuple):
    """One line of metrics: its time in ms, and of a metric with several values their sum."""

    table: str
    values: dict[str, float]
    units: dict[str, str]
    samples: dict[str, list[float]]
    at: int
    batches: int = 1
    kind: str = ""


def emf_lines(output: str) -> tuple[list[EmfLine], list[Any]]:
    """The metrics and the rest of what was logged, line by line."""
    assert output.endswith("\n") or not output, "each line is whole"
    lines = [json.loads(line, parse_constant=_refuse) for line in output.split("\n")[:-1]]
    return (
        [_emf_line(line) for line in lines if "_aws" in line],
        [line for line in lines if "_aws" not in line],
    )


def _refuse(constant: str) -> None:
    raise AssertionError(f"JSON has no {constant}")


def _emf_line(line: Any) -> EmfLine:
    meta = line["_aws"]
    assert set(meta) == {"Timestamp", "CloudWatchMetrics"}
    now = time.time() * 1000
    assert isinstance(meta["Timestamp"], int)
    assert now - _TWO_WEEKS < meta["Timestamp"] < now + _TWO_HOURS
    (directive,) = meta["CloudWatchMetrics"]
    assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
    assert directive["Namespace"] == "dynamirror"
    # The specification allows 30 of them, each the name of a member that is text.
    kind = line.get("kind", "")
    expected = [["table"], ["table", "kind"]] if kind else [["table"]]
    assert directive["Dimensions"] == expected, "another dimension would be another metric"
    assert isinstance(line["table"], str)
    assert 1 <= len(line["table"]) <= 1024
    assert len(json.dumps(line)) < 256 * 1024, "a longer event is cut"
    defined = directive["Metrics"]
    assert 1 <= len(defined) <= 100
    samples: dict[str, list[float]] = {}
    for metric in defined:
        assert set(metric) == {"Name", "Unit"}
        assert 1 <= len(metric["Name"]) <= 1024
        assert metric["Unit"] in UNITS
        found = line[metric["Name"]]
        found = found if isinstance(found, list) else [found]
        assert 1 <= len(found) <= 100, "CloudWatch takes no more"
        assert all(isinstance(value, int | float) and math.isfinite(value) for value in found)
        samples[metric["Name"]] = found
    assert len(samples) == len(defined), "each once"
    assert set(line) - _NO_METRICS == {"_aws", "table", *samples}, "nothing that is no metric"
    batches = line.get("batches", 1)
    assert isinstance(batches, int)
    values = {name: sum(found) for name, found in samples.items()}
    units = {one["Name"]: one["Unit"] for one in defined}
    return EmfLine(line["table"], values, units, samples, meta["Timestamp"], batches, kind)
