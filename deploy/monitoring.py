"""The monitoring of the deployed mirror: canary, alarms and dashboard."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dynamirror.dynamodb.client import aws_errors
from dynamirror.errors import DynamirrorError

# With this timeout in seconds, the canary waits 6 s for its item instead of 45 s.
_SHORT_TIMEOUT = 9


def check_monitoring(
    client: Callable[[str], Any], stack: str, outputs: Mapping[str, str]
) -> Iterator[str]:
    """Check the monitoring, and yield a sentence after each step.

    Args:
        client: returns the boto3 client of a service.
        stack: name of the stack.
        outputs: outputs of the stack.

    Raises:
        DynamirrorError: a part of the monitoring does not work.
    """
    functions, canary = client("lambda"), outputs["CanaryName"]
    result = _invoke(functions, canary)
    if not result["seen"]:
        raise DynamirrorError(f"function {canary}: answered {result}")
    yield f"canary: seen after {result['latency'] * 1000:.0f} ms"
    yield f"canary-missing: {_stop_in_silence(functions, canary, outputs['FunctionName'])}"
    cloudwatch = client("cloudwatch")
    widgets = _count_widgets(cloudwatch, outputs["DashboardName"])
    yield f"alarms: {_check_alarms(cloudwatch, stack)}, and {widgets} widgets on the dashboard"


def _stop_in_silence(functions: Any, canary: str, replicator: str) -> str:
    """Disable the event source mapping, which raises no error: only the canary sees it."""
    with aws_errors(f"function {canary}"):
        before = functions.get_function_configuration(FunctionName=canary)["Timeout"]
        answer = functions.list_event_source_mappings(FunctionName=replicator)
        (mapping,) = (described["UUID"] for described in answer["EventSourceMappings"])
        _set_timeout(functions, canary, _SHORT_TIMEOUT)
        functions.update_event_source_mapping(UUID=mapping, Enabled=False)
        stopped = _invoke(functions, canary)
        # The runbook's fix.
        functions.update_event_source_mapping(UUID=mapping, Enabled=True)
        _set_timeout(functions, canary, before)
    fixed = _invoke(functions, canary)
    if stopped["seen"] or not fixed["seen"]:
        raise DynamirrorError(
            f"function {canary}: answered {stopped} while the mapping was disabled, then {fixed}"
        )
    return f"while the mapping is disabled, {stopped['error']}; enabled, the item is seen"


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
    """Check that every alarm has a topic and a link to the runbook, and return their number."""
    with aws_errors("alarms"):
        pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{stack}-")
        alarms = [alarm for page in pages for alarm in page["MetricAlarms"]]
    incomplete = [
        alarm["AlarmName"]
        for alarm in alarms
        if not alarm["AlarmActions"] or "docs/runbook.md#" not in alarm["AlarmDescription"]
    ]
    if incomplete or not alarms:
        raise DynamirrorError(
            f"of {len(alarms)} alarms, these lack a topic or a link to the runbook: {incomplete}"
        )
    return len(alarms)


def _count_widgets(cloudwatch: Any, dashboard: str) -> int:
    with aws_errors(f"dashboard {dashboard}"):
        found = cloudwatch.get_dashboard(DashboardName=dashboard)
    return len(json.loads(found["DashboardBody"])["widgets"])
