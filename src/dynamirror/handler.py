"""The replicator function: Lambda's entry point for the table's stream."""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

from dynamirror.functions.runtime import log_invocation
from dynamirror.metrics import traces_wanted
from dynamirror.replication.batch_heartbeat import BatchHeartbeat
from dynamirror.replication.replicator import Context, Replicator, build
from dynamirror.settings import Settings
from dynamirror.views.batch_result import BatchResult


@functools.cache
def replicator() -> Replicator:
    """Return the replicator, kept between invocations."""
    from dynamirror.metrics.emf import BatchMetrics  # noqa: PLC0415 - only in Lambda

    settings = Settings.from_env(os.environ)
    observe: Callable[[BatchResult], None] = BatchMetrics(sequences=settings.log_sequences).add
    if traces_wanted(os.environ):
        observe = _with_spans(observe)
    return build(settings, observe=observe, heartbeat=_heartbeat())


def _with_spans(observe: Callable[[BatchResult], None]) -> Callable[[BatchResult], None]:
    from dynamirror.metrics.tracing import batch_spans  # noqa: PLC0415 - only by choice

    # A sandbox sleeps after its answer.
    spans = batch_spans(os.environ, at_once=True)
    if spans is None:
        return observe

    def both(batch: BatchResult) -> None:
        observe(batch)
        spans.observe(batch)

    return both


def _heartbeat() -> BatchHeartbeat:
    function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "replicator")
    # Each sandbox has a log stream of its own.
    return BatchHeartbeat(function, os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", function))


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Apply one batch of stream records; returns Lambda's partial batch response.

    Settings come from the environment (`settings.Settings`).

    Raises:
        ConfigError: settings, views or the stream's set-up are wrong.
        CacheError: no node of the cache can be reached.
        RecordError: the event is not one of a DynamoDB stream.
    """
    log_invocation(context)
    return replicator()(event, context)
