"""Lambda's entry point for the state machine."""

from typing import Any

import msgspec

from dynamirror.functions.auditor import _operations, _read
from dynamirror.functions.steps import Step, take
from dynamirror.replication.replicator import Context


def worker(event: Any, context: Context) -> dict[str, Any]:
    """Lambda's entry point for the state machine: one step.

    Args:
        event: one of `steps.Step`, as JSON.
        context: Lambda's.

    Raises:
        LostError: the rebuild must begin anew.
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
        ConfigError: the settings or the event are wrong.
    """
    step = _read(event, Step, "step")
    answer: dict[str, Any] = msgspec.to_builtins(take(step, _operations(), context))
    return answer
