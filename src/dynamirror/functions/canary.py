"""Lambda's entry point of the canary."""

from functools import cache as once
from typing import Any

import msgspec

from dynamirror.errors import CacheError
from dynamirror.functions.auditor import _operations, _tell, logger
from dynamirror.functions.runtime import log_invocation
from dynamirror.metrics import catalogue as metrics
from dynamirror.replication.canary_probe import SECONDS, Canary
from dynamirror.replication.replicator import Context

# Of the time that Lambda gives, what the canary may take until it tells what came of it. The rest
# is for looks at a cache that hangs: each waits once for every address of its nodes.
_BEATING = 2 / 3


@once
def _canary() -> Canary:
    operations = _operations()
    return Canary(operations.cache, operations.client, operations.keys)


def canary(_event: Any, context: Context) -> dict[str, Any]:
    """Lambda's entry point for the schedule: see a write come through, tell CloudWatch.

    What goes wrong is told, not raised: Lambda would only try again, beside the next minute's.

    Returns:
        The `heartbeat.Beat`.

    Raises:
        ConfigError: the environment is wrong.
    """
    log_invocation(context)
    operations, beats = _operations(), _canary()
    left = context.get_remaining_time_in_millis() / 1000
    beat = beats.beat(SECONDS, within=left * _BEATING)
    table = operations.table
    values: dict[metrics.Metric, float] = {metrics.CANARY_SEEN: int(beat.seen)}
    if beat.latency is not None:
        values[metrics.CANARY_LATENCY] = beat.latency * 1000
    else:
        logger.error("canary not seen", extra={"table": table, "reason": beat.error})
    try:
        vitals = operations.vitals()
    except CacheError as error:
        logger.error("mirror not seen", extra={"table": table, "reason": str(error)})
    else:
        values[metrics.MIRROR_COMPLETE] = int(vitals.complete)
        values[metrics.QUARANTINE_SIZE] = vitals.quarantined
    _tell(table, values)
    result: dict[str, Any] = msgspec.to_builtins(beat)
    return result
