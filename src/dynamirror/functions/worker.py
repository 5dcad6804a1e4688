"""The worker function: Lambda's entry point for the state machine."""

import logging
from typing import Any

import msgspec

from dynamirror.functions.environment import convert, operations_of
from dynamirror.functions.runtime import log_invocation
from dynamirror.functions.step_messages import Step
from dynamirror.functions.steps import take
from dynamirror.log_lines import log
from dynamirror.replication.replicator import Context

logger = logging.getLogger("dynamirror")


def handler(event: Any, context: Context) -> dict[str, Any]:
    """Execute one step of the state machine, and return its answer.

    Args:
        event: one of `step_messages.Step`, as JSON. Its `table` names a table of the mirror;
            without it, the first one.
        context: Lambda's context.

    Raises:
        LostError: the rebuild must restart.
        StalledError: the rate does not suffice for any progress.
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
        ConfigError: the settings or the event are wrong.
    """
    step = convert(event, Step, "step")
    log_invocation(context)
    operations = operations_of(event)
    answer: dict[str, Any] = msgspec.to_builtins(take(step, operations, context))
    fields = {"table": operations.table, "step": type(step).__name__.lower()}
    log(logger, logging.INFO, "step", fields | {"done": answer.get("done")})
    return answer
