"""The CloudWatch dashboard of a mirror."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from dynamirror.cdk.alarms import RUNBOOK
from dynamirror.cdk.monitored_mirror import (
    MonitoredMirror,
    MonitoredTable,
    function_metric,
    log_metric,
)
from dynamirror.costs import prices
from dynamirror.metrics import catalogue as metrics

_FULL, _HALF, _THIRD, _HEIGHT = 24, 12, 8, 6  # of CloudWatch's grid
# CloudWatch refuses a widget of more alarms.
_ALARMS_OF_WIDGET = 100
_TRANSPARENT = cloudwatch.TextWidgetBackground.TRANSPARENT
_HOUR = Duration.hours(1)
_FIVE_MINUTES = Duration.minutes(5)
_LINK = "https://"
_DEFAULT_MB = 128  # Lambda's default memory
_LATENCIES = ("p50", "p99", "Maximum")


class Dashboard(Construct):
    """Create the dashboard of one mirror, the most important graphs first.

    Args:
        mirror: the mirror to show.
        alarms: alarms to show on top.
        runbook: address of the runbook, for links.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        mirror: MonitoredMirror,
        alarms: Sequence[cloudwatch.IAlarm] = (),
        runbook: str = RUNBOOK,
    ) -> None:
        super().__init__(scope, id)
        rows: list[list[cloudwatch.IWidget]] = [
            [
                cloudwatch.AlarmStatusWidget(
                    title="Alarms",
                    alarms=list(alarms[first : first + _ALARMS_OF_WIDGET]),
                    width=_FULL,
                    height=4,
                )
            ]
            for first in range(0, len(alarms), _ALARMS_OF_WIDGET)
        ]
        rows += [
            [_text("Is it right?", _checked_by(mirror), runbook, "mirror-incomplete")],
            *(_right(mirror, table) for table in mirror.tables),
            *(_inspected(mirror, table) for table in mirror.tables if mirror.inspector),
            [_text("Is it fresh?", "From the table to the cache.", runbook, "canary-late")],
            *(_fresh(mirror, table) for table in mirror.tables),
            [_text("Does it keep up?", "The replicator's work.", runbook, "iterator-age")],
            *_keeping_up(mirror),
            [_text("What does it cost?", _prices(mirror), runbook, "what-it-costs")],
            _cost(mirror),
        ]
        self.resource = cloudwatch.Dashboard(
            self, "Dashboard", default_interval=Duration.hours(3), widgets=rows
        )


def _text(title: str, text: str, runbook: str, section: str) -> cloudwatch.TextWidget:
    address = f"{runbook}#{section}"
    link = f"[Runbook]({address})" if runbook.startswith(_LINK) else f"Runbook: `{address}`"
    return cloudwatch.TextWidget(
        markdown=f"## {title}\n{text} {link}", width=_FULL, height=2, background=_TRANSPARENT
    )


def _checked_by(mirror: MonitoredMirror) -> str:
    names = ("canary", "auditor", "inspector")
    checkers = [name for name in names if name in mirror.functions]
    return f"As the {' and the '.join(checkers)} found it." if checkers else "Nothing checks it."


def _prices(mirror: MonitoredMirror) -> str:
    used = [prices.REQUESTS, _gb_seconds(mirror.replicator), prices.LOGS]
    if mirror.cache:
        used += [prices.STORED, prices.ECPUS]
    listed = ", ".join(
        f"{price.name} ${_decimal(price.dollars)} a {price.unit} ({price.as_of})" for price in used
    )
    extra = [
        "the table",
        *(() if mirror.cache else ("the nodes of the cache",)),
        *(("the queue of the inspector",) if mirror.inspector else ()),
        "custom metrics",
        "alarms",
    ]
    readers = "; ECPUs include those of readers" if mirror.cache else ""
    return (
        f"Dollars an hour at list prices in {prices.REGION}: {listed}. The functions are "
        f"{', '.join(mirror.functions)}{readers}. This dashboard costs extra, and so do "
        f"{', '.join(extra[:-1])} and {extra[-1]}."
    )


def _graph(
    title: str,
    left: Sequence[cloudwatch.IMetric],
    *,
    width: int = _THIRD,
    unit: str = "",
    stacked: bool = False,
    right: Sequence[cloudwatch.IMetric] = (),
) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(
        title=title,
        left=list(left),
        right=list(right),
        width=width,
        height=_HEIGHT,
        stacked=stacked,
        left_y_axis=cloudwatch.YAxisProps(min=0, label=unit, show_units=False),
    )


def _title(mirror: MonitoredMirror, table: MonitoredTable, title: str) -> str:
    """Return the title of a table's graph, which names the table if there are several."""
    return title if len(mirror.tables) == 1 else f"{table.name}: {title}"


def _right(mirror: MonitoredMirror, table: MonitoredTable) -> list[cloudwatch.IWidget]:
    differences = (metrics.DRIFT_FOUND, metrics.DRIFT_REPAIRED)
    return [
        _graph(
            _title(
                mirror, table, "The mirror is complete (1) or not (0), doubtful or given up (1)"
            ),
            # Canary and auditor may both check in one minute; the worse result counts.
            [
                table.own_metric(metrics.MIRROR_COMPLETE, "Minimum"),
                table.own_metric(metrics.MIRROR_DOUBTFUL, "Maximum"),
                table.own_metric(metrics.REBUILD_GIVEN_UP, "Maximum"),
                table.own_metric(metrics.LONG_JOBS, "Sum"),
            ],
        ),
        _graph(
            _title(mirror, table, "Differences found and repaired"),
            [table.own_metric(metric, "Sum", _FIVE_MINUTES) for metric in differences],
            right=[table.own_metric(metrics.ITEMS_AUDITED, "Sum", _FIVE_MINUTES)],
        ),
        _graph(
            _title(mirror, table, "Items in quarantine"),
            [table.own_metric(metrics.QUARANTINE_SIZE, "Maximum")],
        ),
    ]


def _inspected(mirror: MonitoredMirror, table: MonitoredTable) -> list[cloudwatch.IWidget]:
    """Return what the inspector found: the share of right answers by age, and what was wrong."""
    return [
        _graph(
            _title(mirror, table, "Consistent within each age"),
            [
                cloudwatch.MathExpression(
                    label=f"within {age} s",
                    expression=f"100*right{age}/asked{age}",
                    using_metrics={
                        f"right{age}": table.own_metric(metrics.consistent_within(age), "Sum"),
                        f"asked{age}": table.own_metric(metrics.asked_within(age), "Sum"),
                    },
                    period=_FIVE_MINUTES,
                )
                for age in metrics.AGES
            ],
            unit="%",
        ),
        _graph(
            _title(mirror, table, "Checks, and what they found wrong or could not decide"),
            [
                table.own_metric(metric, "Sum", _FIVE_MINUTES)
                for metric in (metrics.CONSISTENCY_VIOLATIONS, metrics.CONSISTENCY_UNDECIDED)
            ],
            right=[table.own_metric(metrics.CONSISTENCY_CHECKS, "Sum", _FIVE_MINUTES)],
        ),
        _graph(
            _title(mirror, table, "Age of a change when it was first seen"),
            [
                table.own_metric(metrics.STALENESS, statistic, _FIVE_MINUTES, label=statistic)
                for statistic in _LATENCIES
            ],
            unit="s",
        ),
    ]


def _fresh(mirror: MonitoredMirror, table: MonitoredTable) -> list[cloudwatch.IWidget]:
    width = _THIRD if table.canary else _HALF
    age = function_metric(mirror.replicator_of(table), "IteratorAge", "Maximum")
    graphs: list[cloudwatch.IWidget] = [
        _graph(
            _title(mirror, table, "Replication lag, by the oldest record of a batch"),
            [
                table.own_metric(metrics.REPLICATION_LAG, statistic, label=statistic)
                for statistic in _LATENCIES
            ],
            unit="s",
            width=width,
        ),
        _graph("Iterator age", [age], unit="ms", width=width),
    ]
    if table.canary:
        canary = _graph(
            _title(
                mirror, table, "The canary's item: written to seen, and the share that was seen"
            ),
            [
                table.own_metric(metrics.CANARY_LATENCY, statistic, _FIVE_MINUTES, label=statistic)
                for statistic in _LATENCIES
            ],
            unit="ms",
            width=width,
            right=[table.own_metric(metrics.CANARY_SEEN, "Average", _FIVE_MINUTES)],
        )
        graphs.insert(0, canary)
    return graphs


def _of_replicators(
    mirror: MonitoredMirror, names: Sequence[str], statistic: str
) -> list[cloudwatch.IMetric]:
    return [
        function_metric(replicator, name, statistic)
        for replicator in mirror.replicators.values()
        for name in names
    ]


def _keeping_up(mirror: MonitoredMirror) -> list[list[cloudwatch.IWidget]]:
    return [
        *(_work(mirror, table) for table in mirror.tables),
        [
            _graph(
                "Errors and throttles of the replicator",
                _of_replicators(mirror, ("Errors", "Throttles"), "Sum"),
            ),
            _graph(
                "Concurrent replicators",
                _of_replicators(mirror, ("ConcurrentExecutions",), "Maximum"),
            ),
            _cache(mirror),
        ],
    ]


def _work(mirror: MonitoredMirror, table: MonitoredTable) -> list[cloudwatch.IWidget]:
    outcomes = (
        metrics.APPLIED,
        metrics.COALESCED,
        metrics.STALE,
        metrics.QUARANTINED,
        metrics.FAILED,
    )
    return [
        _graph(
            _title(mirror, table, "Records a minute"), [table.own_metric(metrics.RECORDS, "Sum")]
        ),
        _graph(
            _title(mirror, table, "Outcomes of entries, a minute"),
            [table.own_metric(outcome, "Sum") for outcome in outcomes],
            stacked=True,
        ),
        _graph(
            _title(mirror, table, "Time of a batch"),
            [
                table.own_metric(metrics.BATCH_DURATION, statistic, label=statistic)
                for statistic in ("p50", "p99")
            ],
            unit="ms",
            right=_of_replicators(mirror, ("Duration",), "Maximum"),
        ),
    ]


def _cache(mirror: MonitoredMirror) -> cloudwatch.GraphWidget:
    if mirror.cache is None:
        failed = [table.own_metric(metrics.FAILED, "Sum") for table in mirror.tables]
        return _graph("Failed entries", failed)
    return _graph(
        "The cache: bytes, and refused commands",
        [mirror.cache_metric("BytesUsedForCache", "Maximum")],
        right=[mirror.cache_metric("ThrottledCmds", "Sum")],
    )


def _cost(mirror: MonitoredMirror) -> list[cloudwatch.IWidget]:
    dollars = [_lambda_cost(mirror), _log_cost(mirror)]
    if mirror.cache:
        dollars += [
            _dollars(
                "cache: storage",
                f"MAX([TIME_SERIES({prices.LEAST_STORED_GB}),stored/{prices.GB}])"
                f"*{_decimal(prices.STORED.dollars)}",
                {"stored": mirror.cache_metric("BytesUsedForCache", "Average", _HOUR)},
            ),
            _dollars(
                "cache: ECPUs",
                f"units*{_decimal(prices.ECPUS.dollars / prices.MILLION)}",
                {"units": mirror.cache_metric("ElastiCacheProcessingUnits", "Sum", _HOUR)},
            ),
        ]
    graphs: list[cloudwatch.IWidget] = [
        _graph("Dollars an hour", dollars, width=_HALF, unit="$", stacked=True)
    ]
    if mirror.cache:
        graphs.append(
            _graph(
                "ECPUs a minute, of all users of the cache",
                [mirror.cache_metric("ElastiCacheProcessingUnits", "Sum")],
                width=_HALF,
            )
        )
    return graphs


def _lambda_cost(mirror: MonitoredMirror) -> cloudwatch.MathExpression:
    """Return the cost of the requests and GB-seconds of all functions."""
    inputs: dict[str, cloudwatch.IMetric] = {}
    terms = []
    for name, function in mirror.functions.items():
        inputs[f"{name}_n"] = function_metric(function, "Invocations", "Sum", _HOUR)
        inputs[f"{name}_ms"] = function_metric(function, "Duration", "Sum", _HOUR)
        gb = _memory_mb(function) / 1024
        second = _decimal(_gb_seconds(function).dollars)
        request = _decimal(prices.REQUESTS.dollars / prices.MILLION)
        terms.append(f"FILL({name}_n,0)*{request}+FILL({name}_ms,0)/1000*{gb:g}*{second}")
    return _dollars("Lambda", "+".join(terms), inputs)


def _log_cost(mirror: MonitoredMirror) -> cloudwatch.MathExpression:
    """Return the cost of what all functions log, including metrics."""
    inputs: dict[str, cloudwatch.IMetric] = {
        f"{name}_bytes": log_metric(function, "IncomingBytes", "Sum", _HOUR)
        for name, function in mirror.functions.items()
    }
    size = "+".join(f"FILL({name},0)" for name in inputs)
    return _dollars("logs", f"({size})*{_decimal(prices.LOGS.dollars / prices.GB)}", inputs)


def _gb_seconds(function: lambda_.Function) -> prices.Price:
    is_arm64 = function.architecture.name == lambda_.Architecture.ARM_64.name
    return prices.GB_SECONDS["arm64" if is_arm64 else "x86_64"]


def _memory_mb(function: lambda_.Function) -> float:
    resource = function.node.default_child
    assert isinstance(resource, lambda_.CfnFunction)
    return resource.memory_size or _DEFAULT_MB


def _dollars(
    label: str, expression: str, inputs: Mapping[str, cloudwatch.IMetric]
) -> cloudwatch.MathExpression:
    return cloudwatch.MathExpression(
        label=label, expression=expression, using_metrics=dict(inputs), period=_HOUR
    )


def _decimal(price: float) -> str:
    """Return a number without an exponent, which metric math does not accept."""
    return f"{price:.12f}".rstrip("0").rstrip(".")
