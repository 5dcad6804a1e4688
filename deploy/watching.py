"""What watches the deployed mirror, in use: canary, alarms and dashboard."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dynamirror.aws import aws_errors
from dynamirror.errors import DynamirrorError

# With so little time, a canary waits six seconds for its item, and not 45.
_HURRY = 9


def watching(client: Callable[[str], Any], stack: str, outputs: Mapping[str, str]) -> Iterator[str]:
    """Use what watches the mirror; gives what was seen, step by step.

    Args:
        client: makes one of boto3's clients.
        stack: the stack's name.
        outputs: of the stack.

    Raises:
        DynamirrorError: something is not as it must be.
    """
    functions, canary = client("lambda"), outputs["CanaryName"]
    beat = _invoke(functions, canary)
    if not beat["seen"]:
        raise DynamirrorError(f"function {canary}: answered {beat}")
    yield f"canary: seen after {beat['latency'] * 1000:.0f} ms"
    yield f"canary-missing: {_stop_in_silence(functions, canary, outputs['FunctionName'])}"
    cloudwatch = client("cloudwatch")
    widgets = _count_widgets(cloudwatch, outputs["DashboardName"])
    yield f"alarms: {_check_alarms(cloudwatch, stack)}, and {widgets} widgets on the dashboard"


def _stop_in_silence(functions: Any, canary: str, replicator: str) -> str:
    """Switch the mapping off, which raises no error anywhere: only the canary sees it."""
    with aws_errors(f"function {canary}"):
        before = functions.get_function_configuration(FunctionName=canary)["Timeout"]
        found = functions.list_event_source_mappings(FunctionName=replicator)
        (mapping,) = (one["UUID"] for one in found["EventSourceMappings"])
        _set_timeout(functions, canary, _HURRY)
        functions.update_event_source_mapping(UUID=mapping, Enabled=False)
        stopped = _invoke(functions, canary)
        # As the runbook has it.
        functions.update_event_source_mapping(UUID=mapping, Enabled=True)
        _set_timeout(functions, canary, before)
    mended = _invoke(functions, canary)
    if stopped["seen"] or not mended["seen"]:
        raise DynamirrorError(f"function {canary}: answered {stopped}, and mended {mended}")
    return f"while the mapping is off, {stopped['error']}; switched on, it is seen"


def _set_timeout(functions: Any, name: str, seconds: int) -> None:
    functions.update_function_configuration(FunctionName=name, Timeout=seconds)
    functions.get_waiter("function_updated_v2").wait(FunctionName=name)


def _invoke(functions: Any, name: str) -> Any:
    with aws_errors(f"function {name}"):
        answer = functions.invoke(FunctionName=name, Payload=b"{}")
    text = answer["Payload"].read().decode()
    if "FunctionError" in answer:
        raise DynamirrorError(f"function {name}: answered {text[:500]}")
    return json.loads(text)


def _check_alarms(cloudwatch: Any, stack: str) -> int:
    """Check that every alarm tells somebody, and where to read on; gives how many there are."""
    with aws_errors("alarms"):
        pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{stack}-")
        alarms = [alarm for page in pages for alarm in page["MetricAlarms"]]
    silent = [
        alarm["AlarmName"]
        for alarm in alarms
        if not alarm["AlarmActions"] or "docs/runbook.md#" not in alarm["AlarmDescription"]
    ]
    if silent or not alarms:
        raise DynamirrorError(f"{len(alarms)} alarms, of which these tell nobody: {silent}")
    return len(alarms)


def _count_widgets(cloudwatch: Any, dashboard: str) -> int:
    with aws_errors(f"dashboard {dashboard}"):
        found = cloudwatch.get_dashboard(DashboardName=dashboard)
    return len(json.loads(found["DashboardBody"])["widgets"])
