"""CDK constructs that deploy a mirror next to a DynamoDB table, one concern each.

Each name is imported on first use: building the Lambda asset then needs no aws_cdk.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dynamirror.extras import extra_needed

if TYPE_CHECKING:
    from dynamirror.cdk.alarm_rules import Thresholds
    from dynamirror.cdk.alarms import Alarms
    from dynamirror.cdk.cache import Cache
    from dynamirror.cdk.cache_endpoint import CacheEndpoint, MirrorCache
    from dynamirror.cdk.canary import Canary
    from dynamirror.cdk.changes_simulator import ChangesSimulator
    from dynamirror.cdk.context import deployment_of
    from dynamirror.cdk.dashboard import Dashboard
    from dynamirror.cdk.existing_cache import ExistingCache
    from dynamirror.cdk.function import LambdaCode
    from dynamirror.cdk.function_context import FunctionContext, MirrorFunction
    from dynamirror.cdk.identity_guard import IdentityGuard
    from dynamirror.cdk.inspector import Inspector
    from dynamirror.cdk.mirror import Mirror
    from dynamirror.cdk.mirrored_table import MirroredTable
    from dynamirror.cdk.monitored_mirror import MonitoredMirror, MonitoredTable
    from dynamirror.cdk.network import Network
    from dynamirror.cdk.node_cache import NodeCache
    from dynamirror.cdk.rebuild_machine import RebuildMachine
    from dynamirror.cdk.recovery import Auditor, Recovery
    from dynamirror.cdk.stack import DynamirrorStack
    from dynamirror.cdk.state_machine import LoggedStateMachine
    from dynamirror.cdk.topic import AlarmTopic
    from dynamirror.cdk.watchdog import Watchdog

__all__ = [
    "AlarmTopic",
    "Alarms",
    "Auditor",
    "Cache",
    "CacheEndpoint",
    "Canary",
    "ChangesSimulator",
    "Dashboard",
    "DynamirrorStack",
    "ExistingCache",
    "FunctionContext",
    "IdentityGuard",
    "Inspector",
    "LambdaCode",
    "LoggedStateMachine",
    "Mirror",
    "MirrorCache",
    "MirrorFunction",
    "MirroredTable",
    "MonitoredMirror",
    "MonitoredTable",
    "Network",
    "NodeCache",
    "RebuildMachine",
    "Recovery",
    "Thresholds",
    "Watchdog",
    "deployment_of",
]

_MODULES = {
    "AlarmTopic": "topic",
    "Alarms": "alarms",
    "Auditor": "recovery",
    "Cache": "cache",
    "CacheEndpoint": "cache_endpoint",
    "Canary": "canary",
    "ChangesSimulator": "changes_simulator",
    "Dashboard": "dashboard",
    "DynamirrorStack": "stack",
    "ExistingCache": "existing_cache",
    "FunctionContext": "function_context",
    "IdentityGuard": "identity_guard",
    "Inspector": "inspector",
    "LambdaCode": "function",
    "LoggedStateMachine": "state_machine",
    "Mirror": "mirror",
    "MirrorCache": "cache_endpoint",
    "MirrorFunction": "function_context",
    "MirroredTable": "mirrored_table",
    "MonitoredMirror": "monitored_mirror",
    "MonitoredTable": "monitored_mirror",
    "Network": "network",
    "NodeCache": "node_cache",
    "RebuildMachine": "rebuild_machine",
    "Recovery": "recovery",
    "Thresholds": "alarm_rules",
    "Watchdog": "watchdog",
    "deployment_of": "context",
}


def __getattr__(name: str) -> Any:
    """Import the module of a construct and return the construct.

    Raises:
        MissingExtraError: CDK is not installed.
        AttributeError: the package has no such name.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with extra_needed(f"{__name__}.{name}", "cdk"):
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
