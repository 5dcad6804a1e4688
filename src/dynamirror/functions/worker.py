"""The worker function: Lambda's entry point for the state machine."""

from typing import Any

import msgspec

from dynamirror.functions.environment import convert, operations
from dynamirror.functions.steps import Step, take
from dynamirror.replication.replicator import Context


def handler(event: Any, context: Context) -> dict[str, Any]:
    """Take one step of the state machine; returns its answer.

    Args:
        event: one of `steps.Step`, as JSON.
        context: Lambda's.

    Raises:
        LostError: the rebuild must begin again.
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
        ConfigError: the settings or the event are wrong.
    """
    step = convert(event, Step, "step")
    answer: dict[str, Any] = msgspec.to_builtins(take(step, operations(), context))
    return answer
