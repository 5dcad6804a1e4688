"""The auditor function: Lambda's entry point for the audit's schedule."""

import os
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from dynamirror.functions.environment import convert, operations
from dynamirror.functions.runtime import log_invocation
from dynamirror.functions.steps import Units
from dynamirror.metrics import catalogue as metrics
from dynamirror.metrics import emf
from dynamirror.operations.messages import Status, VerifyRequest
from dynamirror.recovery.audit import AuditResult
from dynamirror.recovery.comparison import Comparison, Part
from dynamirror.views.keyspace import audit_key


class AuditSettings(
    msgspec.Struct, frozen=True, rename=lambda name: f"DYNAMIRROR_AUDIT_{name.upper()}"
):
    """Settings of the auditor, in the environment as DYNAMIRROR_AUDIT_….

    Args:
        parts: number of parts of the table; each invocation compares one.
        repair: whether to repair differences.
        settle: seconds that a difference has to settle; late replication must not count as drift.
            Four times as long, and the comparison itself, must fit into Lambda's time.
        rate: read units a second; unset or 0 for no limit.
    """

    parts: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 288
    repair: bool = True
    settle: Annotated[float, msgspec.Meta(ge=0, le=600)] = 120.0
    rate: Units | None = None


def handler(_event: Any, context: object = None) -> dict[str, Any]:
    """Compare the next part of the table, repair it, and emit the result as metrics.

    The cache keeps the number of the next part, and the last result. An incomplete mirror is not
    compared.

    Returns:
        The audit's result.

    Raises:
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
        ConfigError: a setting is wrong.
    """
    log_invocation(context)
    mirror = operations()
    variables = {
        name: os.environ[name]
        for name in AuditSettings.__struct_encode_fields__
        if name in os.environ
    }
    settings = convert(variables, AuditSettings, "environment")
    key, status = audit_key(mirror.table), mirror.status()
    part = int(mirror.cache.call(key, b"HGET", key, b"next") or 0) % settings.parts
    comparison = None
    if status.complete:
        # Before the comparison: a part that fails must not keep the others waiting.
        mirror.cache.call(key, b"HSET", key, b"next", (part + 1) % settings.parts)
        request = VerifyRequest(
            Part(settings.parts, (part,)),
            settings.settle,
            repair=settings.repair,
            rate=settings.rate or None,
        )
        answer = mirror.perform(request)
        assert isinstance(answer, Comparison)
        comparison = answer
    at = datetime.now(UTC).isoformat(timespec="seconds")
    result = AuditResult(at, part, settings.parts, comparison)
    mirror.cache.call(key, b"HSET", key, b"last", msgspec.json.encode(result))
    emf.emit(status.table, _metrics(status, comparison))
    plain: dict[str, Any] = msgspec.to_builtins(result)
    return plain


def _metrics(status: Status, comparison: Comparison | None) -> metrics.Values:
    values: dict[metrics.Metric, float] = {
        metrics.MIRROR_COMPLETE: int(status.complete),
        metrics.QUARANTINE_SIZE: status.quarantined,
        metrics.ITEMS_AUDITED: comparison.items if comparison else 0,
    }
    if comparison:
        values[metrics.DRIFT_FOUND] = comparison.differences
        values[metrics.DRIFT_REPAIRED] = comparison.repaired
    return values
