"""What a stack costs: the window, the logs, and the dashboard's graph of dollars."""

import json
import re
from typing import Any

import pytest
from aws_cdk.assertions import Template
from tests.support.templates import Synth, functions, resources

from dynamirror.cdk.stack_monitoring import _thresholds
from dynamirror.costs import figures, prices
from dynamirror.costs.model import monthly
from dynamirror.costs.workload import Workload
from dynamirror.deployment.file import read_deployment
from dynamirror.settings import Settings

REPLICATOR = "dynamirror.handler.handler"
CHOSEN = {"maxBatchingWindow": "5", "logBatches": "true", "architecture": "x86_64"}


def alarm(template: Template, section: str) -> dict[str, Any]:
    (found,) = (
        alarm
        for alarm in resources(template, "AWS::CloudWatch::Alarm")
        if f"#{section}" in json.dumps(alarm["AlarmDescription"])
    )
    return found


def test_lambda_does_not_wait_by_default(template: Template) -> None:
    (mapping,) = resources(template, "AWS::Lambda::EventSourceMapping")
    assert mapping["MaximumBatchingWindowInSeconds"] == 0
    assert alarm(template, "canary-late")["Threshold"] == 10_000


def test_the_window_is_an_option_that_the_canary_allows_for(synth: Synth) -> None:
    template = synth(**CHOSEN)
    (mapping,) = resources(template, "AWS::Lambda::EventSourceMapping")
    assert mapping["MaximumBatchingWindowInSeconds"] == 5
    assert alarm(template, "canary-late")["Threshold"] == 15_000
    chosen = read_deployment(None, {"maxBatchingWindow": "5", "canaryLateSeconds": "7"})
    assert _thresholds(chosen.alarms, 5).canary_late_seconds == 7


def test_the_replicator_logs_only_what_is_not_routine(template: Template) -> None:
    replicator = functions(template)[REPLICATOR]
    config = replicator["LoggingConfig"]
    assert (config["LogFormat"], config["SystemLogLevel"]) == ("JSON", "WARN")
    assert config["ApplicationLogLevel"] == "INFO", "metrics count as INFO"
    assert config["LogGroup"]
    for handler, function in functions(template).items():
        if handler != REPLICATOR:  # these run rarely
            assert "SystemLogLevel" not in function["LoggingConfig"], handler
    assert not settings(replicator).log_batches


def test_batches_are_logged_if_asked_for(synth: Synth) -> None:
    replicator = functions(synth(**CHOSEN))[REPLICATOR]
    assert set(replicator["LoggingConfig"]) == {"LogGroup"}, "Lambda's own default"
    assert settings(replicator).log_batches


def settings(function: dict[str, Any]) -> Settings:
    variables = function["Environment"]["Variables"]
    plain = {name: value if isinstance(value, str) else "x" for name, value in variables.items()}
    return Settings.from_env({**plain, "AWS_REGION": "eu-west-1"})


def test_the_model_counts_the_alarms_of_the_stack(template: Template) -> None:
    assert len(resources(template, "AWS::CloudWatch::Alarm")) == figures.ALARMS


def widgets(template: Template) -> list[dict[str, Any]]:
    (dashboard,) = resources(template, "AWS::CloudWatch::Dashboard")
    body = "".join(
        part if isinstance(part, str) else next(iter(part.values())) if "Ref" in part else "token"
        for part in dashboard["DashboardBody"]["Fn::Join"][1]
    )
    found: list[dict[str, Any]] = json.loads(body)["widgets"]
    return found


def graph_of_dollars(template: Template) -> list[Any]:
    (graph,) = (
        widget["properties"]["metrics"]
        for widget in widgets(template)
        if widget["properties"].get("title") == "Dollars an hour"
    )
    rows: list[Any] = graph
    return rows


def test_an_hour_of_the_graph_is_what_the_model_says(template: Template) -> None:
    work = Workload(changes=100, items=2_500_000)
    values = {
        "replicator_n": work.invocations * 3600,
        "replicator_ms": work.invocations * 3600 * work.batch_ms,
        "replicator_bytes": work.log_bytes * 3600,
        "stored": work.entry_bytes + work.fence_bytes,
        "units": work.changes * 3600 * figures.CHANGE_ECPUS,
    }
    rows = [row[0] for row in graph_of_dollars(template)]
    shown = {
        row["label"]: evaluated(row["expression"], values)
        for row in rows
        if isinstance(row, dict) and "label" in row
    }
    part = {part.name: part.dollars / prices.HOURS for part in monthly(work)}
    expected = {
        "Lambda": part["replicator: requests"] + part["replicator: compute"],
        "logs": part["replicator: logs"],
        "cache: storage": part["cache: entries"] + part["cache: fences"],
        "cache: ECPUs": part["cache: changes"],
    }
    assert shown == pytest.approx(expected)


def evaluated(expression: str, values: dict[str, float]) -> float:
    """Return the value of an expression of metric math; metrics without one have no data."""
    names = set(re.findall(r"[a-z]+(?:_[a-z]+)*", expression)) - values.keys()
    functions = {"FILL": lambda value, _other: value, "MAX": max, "TIME_SERIES": float}
    known = {"__builtins__": {}} | dict.fromkeys(names, 0.0) | values | functions
    return float(eval(expression, known))  # noqa: S307 - of our own template


@pytest.mark.parametrize("options", [{}, CHOSEN], ids=["arm64", "x86_64"])
def test_the_graph_of_dollars_has_the_model_s_prices(synth: Synth, options: dict[str, str]) -> None:
    rows = graph_of_dollars(synth(**options))
    expressions = {row[0]["label"]: row[0]["expression"] for row in rows if "label" in row[0]}
    metrics = {tuple(row[:2]): row for row in rows if isinstance(row[0], str)}
    assert list(expressions) == ["Lambda", "logs", "cache: storage", "cache: ECPUs"]
    used = {float(number) for text in expressions.values() for number in numbers(text)}
    million = prices.MILLION
    second = prices.GB_SECONDS[options.get("architecture", "arm64")].dollars
    assert used >= {
        *(round(prices.REQUESTS.dollars / million, 12), second, prices.STORED.dollars),
        *(prices.LEAST_STORED_GB, round(prices.ECPUS.dollars / million, 12)),
        prices.LOGS.dollars / prices.GB,
    }
    assert {name for space, name in metrics if space == "AWS/Logs"} == {"IncomingBytes"}
    groups = {row[3] for row in rows if row[0] == "AWS/Logs"}
    assert len(groups) == 4, "replicator, canary, auditor and worker"
    assert not [group for group in groups if "lambda" in group], "the groups that the stack creates"
    for text in expressions.values():
        assert not re.search(r"\de-?\d", text), "metric math knows no exponents"


def numbers(expression: str) -> list[str]:
    return re.findall(r"(?<![\w.])\d+(?:\.\d+)?", expression)
