"""Write the Grafana dashboard from the catalogue of metrics: `python deploy/grafana_dashboard.py`.

Grafana's model: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dynamirror.metrics import catalogue
from dynamirror.metrics.catalogue import Kind, Metric

PATH: Final = Path(__file__).parent / "grafana/dynamirror.json"
_WIDTH, _THIRD, _HEIGHT = 24, 8, 7  # of Grafana's grid
_SELECTED: Final = '{job=~"$job", table=~"$table"}'
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph.

    Args:
        title: the title.
        targets: pairs of expression and legend.
        unit: Grafana's name of the unit.
        help: what it shows.
        red: value from which on it is wrong; None for none.
    """

    title: str
    targets: Sequence[tuple[str, str]]
    unit: str = "short"
    help: str = ""
    red: float | None = None


def rate(*metrics: Metric, by: str = "job, table") -> list[tuple[str, str]]:
    """Return what is counted in a second."""
    return [
        (
            f"sum by ({by}) (rate({metric.openmetrics_name}{_SELECTED}[$__rate_interval]))",
            f"{metric.name} {_legend(by)}",
        )
        for metric in metrics
    ]


def now(metric: Metric, *, how: str = "max", by: str = "job, table") -> list[tuple[str, str]]:
    """Return a gauge of all processes."""
    assert metric.kind is Kind.GAUGE
    return [(f"{how} by ({by}) ({metric.openmetrics_name}{_SELECTED})", _legend(by))]


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label}}}}}" for label in by.split(", "))


def quantiles(metric: Metric, *shares: float) -> list[tuple[str, str]]:
    """Return the quantiles of a histogram."""
    assert metric.kind is Kind.HISTOGRAM
    buckets = (
        "sum by (job, table, le) "
        f"(rate({metric.openmetrics_name}_bucket{_SELECTED}[$__rate_interval]))"
    )
    return [
        (f"histogram_quantile({share:g}, {buckets})", f"p{share * 100:g} {_legend('job, table')}")
        for share in shares
    ]


def within(seconds: float) -> tuple[str, str]:
    """Return the share of right answers at an age."""
    right, asked = (
        f"sum(increase({metric(seconds).openmetrics_name}{_SELECTED}[$__rate_interval]))"
        for metric in (catalogue.consistent_within, catalogue.asked_within)
    )
    return f"{right} / {asked}", f"within {seconds:g} s"


def rows() -> Iterator[tuple[str, list[Panel]]]:
    """Yield the rows, the most important first."""
    c = catalogue
    yield (
        "Is it right?",
        [
            Panel("Complete", now(c.MIRROR_COMPLETE), help=c.MIRROR_COMPLETE.help),
            Panel("Doubtful", now(c.MIRROR_DOUBTFUL), help=c.MIRROR_DOUBTFUL.help, red=1),
            Panel("In quarantine", now(c.QUARANTINE_SIZE), help=c.QUARANTINE_SIZE.help, red=1),
            Panel(
                "Right answers by age",
                [within(age) for age in c.AGES],
                unit="percentunit",
                help="Only with --inspect.",
            ),
            Panel(
                "Violations by kind",
                rate(c.CONSISTENCY_VIOLATIONS, by="job, table, kind"),
                help=c.CONSISTENCY_VIOLATIONS.help,
            ),
            Panel(
                "Checks of the inspector",
                rate(c.CONSISTENCY_CHECKS, c.CONSISTENCY_UNDECIDED, c.INSPECTION_ERRORS),
            ),
        ],
    )
    yield (
        "Is it fresh?",
        [
            Panel(
                "Seconds behind, by shard",
                now(c.SHARD_BEHIND, by="job, table, shard"),
                unit="s",
                help=c.SHARD_BEHIND.help,
                red=300,
            ),
            Panel("Lag of a batch", quantiles(c.REPLICATION_LAG, 0.5, 0.99, 1), unit="s"),
            Panel("Age when first seen", quantiles(c.STALENESS, 0.5, 0.99), unit="s"),
            Panel("Canary seen", now(c.CANARY_SEEN), help=c.CANARY_SEEN.help),
            Panel("Canary from table to cache", quantiles(c.CANARY_LATENCY, 0.5, 1), unit="s"),
        ],
    )
    yield (
        "Does it keep up?",
        [
            Panel("Records a second", rate(c.RECORDS)),
            Panel("Entries a second", rate(c.APPLIED, c.STALE, c.COALESCED)),
            Panel("Failures a second", rate(c.FAILED, c.INVOCATION_ERRORS, c.QUARANTINED)),
            Panel("Time of a batch", quantiles(c.BATCH_DURATION, 0.5, 0.99), unit="s"),
            Panel(
                "Cache memory",
                now(c.CACHE_MEMORY_SHARE),
                unit="percentunit",
                help=c.CACHE_MEMORY_SHARE.help,
                red=0.8,
            ),
        ],
    )
    yield (
        "Is it kept complete?",
        [
            Panel("Age of the last check", now(c.CHECK_AGE, how="min"), unit="s", red=1800),
            Panel("Rebuild under way", now(c.REBUILD_RUNNING), unit="s", red=86_400),
            Panel("Errors a second", rate(c.CHECK_ERRORS, c.REBUILD_ERRORS)),
            Panel("Leads", now(c.LEADER, by="job, table, instance"), help=c.LEADER.help),
        ],
    )


def dashboard() -> dict[str, Any]:
    """Return the dashboard in Grafana's model."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, graphs in rows():
        place = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place})
        top += 1
        for index, graph in enumerate(graphs):
            line, column = divmod(index, _WIDTH // _THIRD)
            place = {"h": _HEIGHT, "w": _THIRD, "x": column * _THIRD, "y": top + line * _HEIGHT}
            panels.append(_graph(len(panels) + 1, graph, place))
        top += -(-len(graphs) // (_WIDTH // _THIRD)) * _HEIGHT
    return {
        "uid": "dynamirror",
        "title": "dynamirror",
        "description": "Mirrors of DynamoDB tables, from the metrics of `dynamirror run`.",
        "tags": ["dynamirror"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_source(), _variable("job"), _variable("table", '{job=~"$job"}')]},
        "panels": panels,
    }


def _graph(number: int, graph: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if graph.red is not None:
        steps.append({"color": "red", "value": graph.red})
    style = {"mode": "line" if graph.red is not None else "off"}
    return {
        "id": number,
        "type": "timeseries",
        "title": graph.title,
        "description": graph.help,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": graph.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": {"thresholdsStyle": style},
            },
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": e, "legendFormat": name}
            for index, (e, name) in enumerate(graph.targets)
        ],
    }


def _source() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source"}


def _variable(label: str, of: str = "") -> dict[str, Any]:
    # Each process serves it from its first second on.
    query = f"label_values({catalogue.LEADER.openmetrics_name}{of}, {label})"
    return {
        "name": label,
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": label},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def written() -> str:
    """Return the dashboard as the file's text."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(written(), encoding="utf-8")
