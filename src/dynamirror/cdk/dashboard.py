"""The dashboard: is it right, is it fresh, does it keep up, what does it cost."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from dynamirror import metrics
from dynamirror.cdk.alarms import RUNBOOK
from dynamirror.cdk.measures import Watched, of_function

_WIDE, _HALF, _THIRD, _HIGH = 24, 12, 8, 6
_TRANSPARENT = cloudwatch.TextWidgetBackground.TRANSPARENT
_HOUR = Duration.hours(1)
_LINK = "https://"
_LEAST_MB = 128  # what Lambda gives where nothing is said

# Of us-east-1, Lambda on arm64, in dollars; what the README counts with.
PRICES_OF = "November 2026"
REQUEST, GB_SECOND = 0.20e-6, 0.0000133334
STORED_GB_HOUR, LEAST_STORED_GB, ECPU = 0.084, 0.1, 0.0023e-6


class Dashboard(Construct):
    """What there is to see of one mirror, the most important first.

    Args:
        scope: the stack or construct this is part of.
        id: its name there.
        watched: the mirror.
        alarms: its alarms, which stand on top.
        runbook: address of the runbook.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        watched: Watched,
        alarms: Sequence[cloudwatch.IAlarm] = (),
        runbook: str = RUNBOOK,
    ) -> None:
        super().__init__(scope, id)
        rows: list[list[cloudwatch.IWidget]] = []
        if alarms:
            rows.append(
                [
                    cloudwatch.AlarmStatusWidget(
                        title="Alarms", alarms=list(alarms), width=_WIDE, height=4
                    )
                ]
            )
        rows += [
            [_text("Is it right?", _told_by(watched), runbook, "mirror-incomplete")],
            _right(watched),
            [_text("Is it fresh?", "From the table to the cache.", runbook, "canary-late")],
            _fresh(watched),
            [_text("Does it keep up?", "What the replicator does.", runbook, "iterator-age")],
            *_keeping_up(watched),
            [_text("What does it cost?", _prices(watched), runbook, "what-it-costs")],
            _cost(watched),
        ]
        self.resource = cloudwatch.Dashboard(
            self, "Dashboard", default_interval=Duration.hours(3), widgets=rows
        )


def _text(title: str, text: str, runbook: str, section: str) -> cloudwatch.TextWidget:
    address = f"{runbook}#{section}"
    link = f"[Runbook]({address})" if runbook.startswith(_LINK) else f"Runbook: `{address}`"
    return cloudwatch.TextWidget(
        markdown=f"## {title}\n{text} {link}", width=_WIDE, height=2, background=_TRANSPARENT
    )


def _told_by(watched: Watched) -> str:
    tellers = [name for name in ("canary", "auditor") if name in watched.functions]
    return f"As the {' and the '.join(tellers)} found it." if tellers else "Nobody looks."


def _prices(watched: Watched) -> str:
    return (
        f"Dollars an hour at prices of {PRICES_OF} in us-east-1: Lambda on arm64 "
        f"${REQUEST * 1e6:g} a million requests, ${_plain(GB_SECOND)} a GB-second ("
        f"{', '.join(watched.functions)}); ElastiCache Serverless ${STORED_GB_HOUR} a GB-hour, "
        f"${ECPU * 1e6:g} a million ECPUs, those of readers, too. The table, logs and metrics come "
        "on top."
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
        height=_HIGH,
        stacked=stacked,
        left_y_axis=cloudwatch.YAxisProps(min=0, label=unit, show_units=False),
    )


def _right(watched: Watched) -> list[cloudwatch.IWidget]:
    found = (metrics.ITEMS_AUDITED, metrics.DRIFT_FOUND, metrics.DRIFT_REPAIRED)
    return [
        _graph(
            "The mirror is complete (1) or not (0)",
            # Of two that look in one minute, the worse.
            [watched.ours(metrics.MIRROR_COMPLETE, "Minimum")],
        ),
        _graph(
            "Differences found and repaired",
            [watched.ours(name, "Sum", Duration.minutes(5)) for name in found[1:]],
            right=[watched.ours(found[0], "Sum", Duration.minutes(5))],
        ),
        _graph("Items in quarantine", [watched.ours(metrics.QUARANTINE_SIZE, "Maximum")]),
    ]


def _fresh(watched: Watched) -> list[cloudwatch.IWidget]:
    statistics = ("p50", "p99", "Maximum")
    five = Duration.minutes(5)
    width = _THIRD if watched.canary else _HALF
    age = of_function(watched.replicator, "IteratorAge", "Maximum")
    graphs: list[cloudwatch.IWidget] = [
        _graph(
            "Replication lag, by the oldest record of a batch",
            [watched.ours(metrics.REPLICATION_LAG, one, label=one) for one in statistics],
            unit="s",
            width=width,
        ),
        _graph("Iterator age", [age], unit="ms", width=width),
    ]
    if watched.canary:
        canary = _graph(
            "The canary's item: written to seen, and the share that was seen",
            [watched.ours(metrics.CANARY_LATENCY, one, five, label=one) for one in statistics],
            unit="ms",
            right=[watched.ours(metrics.CANARY_SEEN, "Average", five)],
        )
        graphs.insert(0, canary)
    return graphs


def _keeping_up(watched: Watched) -> list[list[cloudwatch.IWidget]]:
    outcomes = (
        metrics.APPLIED,
        metrics.COALESCED,
        metrics.STALE,
        metrics.QUARANTINED,
        metrics.FAILED,
    )
    of = watched.replicator
    return [
        [
            _graph("Records a minute", [watched.ours(metrics.RECORDS, "Sum")]),
            _graph(
                "Outcomes of entries, a minute",
                [watched.ours(one, "Sum") for one in outcomes],
                stacked=True,
            ),
            _graph(
                "Time of a batch",
                [watched.ours(metrics.BATCH_DURATION, one, label=one) for one in ("p50", "p99")],
                unit="ms",
                right=[of_function(of, "Duration", "Maximum")],
            ),
        ],
        [
            _graph(
                "Errors and throttles of the replicator",
                [of_function(of, one, "Sum") for one in ("Errors", "Throttles")],
            ),
            _graph("Replicators at a time", [of_function(of, "ConcurrentExecutions", "Maximum")]),
            _cache(watched),
        ],
    ]


def _cache(watched: Watched) -> cloudwatch.GraphWidget:
    if watched.cache is None:
        return _graph("Failed entries", [watched.ours(metrics.FAILED, "Sum")])
    return _graph(
        "The cache: bytes, and refused commands",
        [watched.of_cache("BytesUsedForCache", "Maximum")],
        right=[watched.of_cache("ThrottledCmds", "Sum")],
    )


def _cost(watched: Watched) -> list[cloudwatch.IWidget]:
    dollars = [_lambda(watched)]
    if watched.cache:
        dollars += [
            _dollars(
                "cache: storage",
                f"MAX([TIME_SERIES({LEAST_STORED_GB}),stored/1000000000])*{STORED_GB_HOUR}",
                {"stored": watched.of_cache("BytesUsedForCache", "Average", _HOUR)},
            ),
            _dollars(
                "cache: ECPUs",
                f"units*{_plain(ECPU)}",
                {"units": watched.of_cache("ElastiCacheProcessingUnits", "Sum", _HOUR)},
            ),
        ]
    graphs: list[cloudwatch.IWidget] = [
        _graph("Dollars an hour", dollars, width=_HALF, unit="$", stacked=True)
    ]
    if watched.cache:
        graphs.append(
            _graph(
                "ECPUs a minute, of all who use the cache",
                [watched.of_cache("ElastiCacheProcessingUnits", "Sum")],
                width=_HALF,
            )
        )
    return graphs


def _lambda(watched: Watched) -> cloudwatch.MathExpression:
    """Requests and GB-seconds of all functions."""
    metrics: dict[str, cloudwatch.IMetric] = {}
    terms = []
    for name, function in watched.functions.items():
        metrics[f"{name}_n"] = of_function(function, "Invocations", "Sum", _HOUR)
        metrics[f"{name}_ms"] = of_function(function, "Duration", "Sum", _HOUR)
        gb = _memory_mb(function) / 1024
        terms.append(
            f"FILL({name}_n,0)*{_plain(REQUEST)}+FILL({name}_ms,0)/1000*{gb:g}*{_plain(GB_SECOND)}"
        )
    return _dollars("Lambda", "+".join(terms), metrics)


def _memory_mb(function: lambda_.Function) -> float:
    resource = function.node.default_child
    assert isinstance(resource, lambda_.CfnFunction)
    return resource.memory_size or _LEAST_MB


def _dollars(
    label: str, expression: str, metrics: Mapping[str, cloudwatch.IMetric]
) -> cloudwatch.MathExpression:
    return cloudwatch.MathExpression(
        label=label, expression=expression, using_metrics=dict(metrics), period=_HOUR
    )


def _plain(price: float) -> str:
    """A number as metric math takes it."""
    return f"{price:.12f}".rstrip("0")
