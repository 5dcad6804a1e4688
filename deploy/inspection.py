"""The inspector of the deployed mirror: a planted violation, and the metric that it raises."""

import json
import time
from collections.abc import Mapping
from typing import Any

from deployed_mirror import DeployedMirror
from dynamirror.dynamodb.client import aws_errors
from dynamirror.errors import DynamirrorError
from dynamirror.metrics.catalogue import CONSISTENCY_CHECKS, CONSISTENCY_VIOLATIONS
from emulated_aws import Emulator

# Changes are asked for after 1 and 3 seconds instead of 1 to 600, and all of them.
_SHORT = {"DYNAMIRROR_INSPECTOR_THRESHOLDS": "1,3", "DYNAMIRROR_INSPECTOR_SHARE": "1"}
_SECONDS = 240.0


def check_inspector(emulator: Emulator, outputs: Mapping[str, str], mirror: DeployedMirror) -> str:
    """Lose an entry behind the mirror's back, and wait for the metric.

    Args:
        emulator: emulated AWS with the stack.
        outputs: outputs of the stack.
        mirror: the deployed mirror.

    Returns:
        What was seen.

    Raises:
        DynamirrorError: the inspector did not find it.
    """
    functions = emulator.client("lambda")
    names = outputs["InspectorName"], outputs["JudgeName"]
    before = {name: _set_variables(functions, name, _SHORT) for name in names}
    logs, group = emulator.client("logs"), outputs["InspectorLogGroup"]
    mirror.put("inspected")
    mirror.wait_until_mirrored()
    mirror.lose_entry()
    end = time.monotonic() + _SECONDS
    while not (found := _violations(logs, group)):
        if time.monotonic() > end:
            raise DynamirrorError(f"log group {group}: no violation in {_SECONDS:g} s")
        time.sleep(0.2)
    mirror.put("inspected and repaired")
    mirror.wait_until_mirrored()
    for name, variables in before.items():
        _set_variables(functions, name, variables)
    checks = sum(sum(line.get(CONSISTENCY_CHECKS.name, ())) for line in _metrics(logs, group))
    return f"{checks:g} checks, and violations of kind {', '.join(sorted(found))}"


def _violations(logs: Any, group: str) -> set[str]:
    """Return the kinds of violations that the metrics count."""
    return {
        line["kind"]
        for line in _metrics(logs, group)
        if line.get(CONSISTENCY_VIOLATIONS.name) and "kind" in line
    }


def _metrics(logs: Any, group: str) -> list[dict[str, Any]]:
    with aws_errors(f"log group {group}"):
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        messages = [event["message"] for page in pages for event in page["events"]]
    lines = (json.loads(message) for message in messages if message.startswith("{"))
    return [line for line in lines if "_aws" in line]


def _set_variables(
    functions: Any, name: str, variables: Mapping[str, str | None]
) -> dict[str, str | None]:
    """Set environment variables of a function, and return what they were; None for unset."""
    with aws_errors(f"function {name}"):
        found = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        before = {variable: found.get(variable) for variable in variables}
        chosen = {k: v for k, v in {**found, **variables}.items() if v is not None}
        functions.update_function_configuration(
            FunctionName=name, Environment={"Variables": chosen}
        )
        functions.get_waiter("function_updated_v2").wait(FunctionName=name)
    return before
