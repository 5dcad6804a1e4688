"""The auditor function: Lambda's entry point for the audit's schedule."""

import os
from datetime import UTC, datetime
from time import time
from typing import Annotated, Any

import msgspec

from dynamirror.cache.doubt import note_evictions, note_part
from dynamirror.functions.environment import convert, operations_of
from dynamirror.functions.runtime import log_invocation
from dynamirror.functions.step_messages import Units
from dynamirror.metrics import catalogue as metrics
from dynamirror.metrics import emf
from dynamirror.operations.messages import Status, VerifyRequest
from dynamirror.recovery.audit import AuditResult, next_part, save_audit, save_next_part
from dynamirror.recovery.comparison import Comparison, Share


class AuditSettings(
    msgspec.Struct, frozen=True, rename=lambda name: f"DYNAMIRROR_AUDIT_{name.upper()}"
):
    """Settings of the auditor, in the environment as DYNAMIRROR_AUDIT_….

    Args:
        parts: number of parts of a table; each invocation compares one.
        repair: whether to repair differences.
        settle: seconds that a difference has to settle; late replication must not count as drift.
            Four times as long, and the comparison itself, must fit into Lambda's time.
        rate: read units per second; unset or 0 for no limit.
    """

    parts: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 288
    repair: bool = True
    settle: Annotated[float, msgspec.Meta(ge=0, le=600)] = 120.0
    rate: Units | None = None


def handler(event: Any, context: object = None) -> dict[str, Any]:
    """Compare the next part of a table, repair it, and emit the result as metrics.

    The cache keeps the number of the next part, and the last result. An incomplete mirror is not
    compared.

    Args:
        event: its `table` names the table; without it, the first one.
        context: Lambda's context.

    Returns:
        The audit's result.

    Raises:
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
        ConfigError: a setting is wrong.
    """
    log_invocation(context)
    mirror = operations_of(event)
    variables = {
        name: os.environ[name]
        for name in AuditSettings.__struct_encode_fields__
        if name in os.environ
    }
    settings = convert(variables, AuditSettings, "environment")
    note_evictions(mirror.cache, mirror.table)
    status = mirror.status()
    part = next_part(mirror.cache, mirror.table, settings.parts)
    comparison = None
    if status.complete:
        # Before the comparison, so that a part that fails does not block the others.
        save_next_part(mirror.cache, mirror.table, (part + 1) % settings.parts)
        request = VerifyRequest(
            Share(settings.parts, (part,)),
            settings.settle,
            repair=settings.repair,
            rate=settings.rate or None,
        )
        began = int(time())
        answer = mirror.perform(request)
        assert isinstance(answer, Comparison)
        comparison = answer
        note_part(
            mirror.cache, mirror.table, part, settings.parts, began=began, is_true=answer.is_true
        )
    at = datetime.now(UTC).isoformat(timespec="seconds")
    result = AuditResult(at, part, settings.parts, comparison)
    save_audit(mirror.cache, mirror.table, result)
    emf.emit(status.table, _metrics(status, comparison))
    plain: dict[str, Any] = msgspec.to_builtins(result)
    return plain


def _metrics(status: Status, comparison: Comparison | None) -> metrics.Values:
    values: dict[metrics.Metric, float] = {
        metrics.MIRROR_COMPLETE: int(status.complete),
        metrics.MIRROR_DOUBTFUL: int(status.doubtful is not None),
        metrics.QUARANTINE_SIZE: status.quarantined,
        metrics.ITEMS_AUDITED: comparison.items if comparison else 0,
    }
    if comparison:
        values[metrics.DRIFT_FOUND] = comparison.differences
        values[metrics.DRIFT_REPAIRED] = comparison.repaired
    return values
