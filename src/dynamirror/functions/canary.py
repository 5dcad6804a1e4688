"""The canary function: Lambda's entry point for the canary's schedule."""

import functools
import logging
from typing import Any

import msgspec

from dynamirror.errors import CacheError
from dynamirror.functions.environment import operations_of
from dynamirror.functions.runtime import log_invocation
from dynamirror.metrics import catalogue as metrics
from dynamirror.metrics import emf
from dynamirror.operations.service import Operations
from dynamirror.replication.canary_probe import SECONDS, CanaryProbe
from dynamirror.replication.replicator import Context

logger = logging.getLogger("dynamirror")

# The share of Lambda's time that the probe may take. The rest is for the vitals, where a cache that
# hangs costs one timeout for each address of its nodes.
_PROBE_SHARE = 2 / 3


@functools.cache
def _probe(mirror: Operations) -> CanaryProbe:
    return CanaryProbe(mirror.cache, mirror.client, mirror.keys)


def handler(event: Any, context: Context) -> dict[str, Any]:
    """Check that a write arrives in the cache, and emit the result as metrics.

    A failed probe is reported, not raised: Lambda would only try again, beside the next minute's.

    Args:
        event: its `table` names the table; without it, the first one.
        context: Lambda's context.

    Returns:
        The probe's result.

    Raises:
        ConfigError: the environment is wrong.
    """
    log_invocation(context)
    mirror = operations_of(event)
    probe = _probe(mirror)
    seconds_left = context.get_remaining_time_in_millis() / 1000
    result = probe.probe(SECONDS, within=seconds_left * _PROBE_SHARE)
    table = mirror.table
    values: dict[metrics.Metric, float] = {metrics.CANARY_SEEN: int(result.seen)}
    if result.latency is not None:
        values[metrics.CANARY_LATENCY] = result.latency * 1000
    else:
        logger.error("canary not seen", extra={"table": table, "reason": result.error})
    try:
        vitals = mirror.vitals()
    except CacheError as error:
        # One sentence is enough.
        logger.error("mirror not seen", extra={"table": table, "reason": str(error)})  # noqa: TRY400
    else:
        values[metrics.MIRROR_COMPLETE] = int(vitals.complete)
        values[metrics.QUARANTINE_SIZE] = vitals.quarantined
    emf.emit(table, values)
    answer: dict[str, Any] = msgspec.to_builtins(result)
    return answer
