"""The auditor function: Lambda's entry point for the audit's schedule."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec

from dynamirror.cache.doubt import note_evictions, note_part
from dynamirror.cache.slot_scan import MovingError
from dynamirror.dynamodb.rate import Rate
from dynamirror.functions.announcement import reporting_refusal
from dynamirror.functions.environment import convert, operations_of
from dynamirror.functions.invocation_time import InvocationTime, PauseError
from dynamirror.functions.runtime import log_invocation
from dynamirror.functions.step_messages import Units
from dynamirror.metrics import catalogue as metrics
from dynamirror.metrics import emf
from dynamirror.operations.messages import Status
from dynamirror.operations.service import Operations
from dynamirror.recovery.audit import (
    AuditResult,
    AuditTurn,
    begin_turn,
    last_turn,
    save_audit,
)
from dynamirror.recovery.audit_lease import is_busy, lease
from dynamirror.recovery.comparison import Comparison
from dynamirror.recovery.follow_up import PATIENCE
from dynamirror.recovery.limits import check_pace
from dynamirror.recovery.long_job import Job, drop_long_job

if TYPE_CHECKING:
    from dynamirror.replication.replicator import Context

_MINUTES_A_DAY = 1440
# Lambda's limit, where there is no context.
_LONGEST_SECONDS = 900.0


class AuditSettings(
    msgspec.Struct, frozen=True, rename=lambda name: f"DYNAMIRROR_AUDIT_{name.upper()}"
):
    """Settings of the auditor, in the environment as DYNAMIRROR_AUDIT_….

    Args:
        parts: number of parts of a table and its cache; each turn compares one.
        units: read units a day, from which the number of parts follows instead; unset or 0 for
            `parts`.
        minutes: minutes between two turns.
        repair: whether to repair differences.
        settle: seconds that a difference has to settle; late replication must not count as drift.
            Four times as long must fit into Lambda's time.
        rate: read units per second; unset or 0 for no limit.
    """

    parts: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 288
    units: Units = 0.0
    minutes: Annotated[float, msgspec.Meta(gt=0)] = 5.0
    repair: bool = True
    settle: Annotated[float, msgspec.Meta(ge=0, le=600)] = 120.0
    rate: Units | None = None


def handler(event: Any, context: object = None) -> dict[str, Any]:
    """Compare the next part of a table and its cache, repair it, and emit the result as metrics.

    The cache keeps the progress, and the last result. A part that takes longer than one invocation
    is resumed by the next. An incomplete mirror is not compared, nor one that another invocation
    is comparing.

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
    parts = _parts(mirror, settings)
    before = AuditTurn(0, parts, int(time()))
    after = before
    is_audited = status.complete and not is_busy(mirror.cache, mirror.table)
    if is_audited:
        before, after = _audit(mirror, settings, parts, context)
    comparison = after.comparison if is_audited else None
    at = datetime.now(UTC).isoformat(timespec="seconds")
    seconds = parts * settings.minutes * 60
    result = AuditResult(at, after.part, parts, comparison, seconds)
    if after.done:
        note_part(
            mirror.cache,
            mirror.table,
            after.part,
            parts,
            began=after.began,
            is_true=after.comparison.is_true,
        )
    if after.done or not status.complete:
        save_audit(mirror.cache, mirror.table, result)
    emf.emit(status.table, _metrics(status, before.comparison, comparison))
    plain: dict[str, Any] = msgspec.to_builtins(result)
    return plain


def _parts(mirror: Operations, settings: AuditSettings) -> int:
    """Return the number of parts, which is the same for a whole round."""
    if not settings.units:
        return settings.parts
    last = last_turn(mirror.cache, mirror.table)
    if last and not (last.done and last.part == last.of - 1):
        return last.of
    return mirror.size().audit_parts(settings.units, _MINUTES_A_DAY / settings.minutes)


def _audit(
    mirror: Operations, settings: AuditSettings, parts: int, context: object
) -> tuple[AuditTurn, AuditTurn]:
    """Go on with the turn, and return it as it was before and is then."""
    rate, seconds_left = _limits(settings, context)
    seconds, settle = seconds_left(), PATIENCE * settings.settle
    with reporting_refusal(mirror, Job.AUDIT):
        check_pace(mirror.size(), settings.rate, seconds=seconds, settle=settle)
    drop_long_job(mirror.cache, mirror.table, Job.AUDIT)
    with lease(mirror.cache, mirror.table):
        before = begin_turn(mirror.cache, mirror.table, parts)
        try:
            after = mirror.audit(
                before,
                settle=settings.settle,
                repair=settings.repair,
                rate=rate,
                in_time=lambda: seconds_left() > settle,
            )
        except (PauseError, MovingError):  # the next turn goes on
            after = last_turn(mirror.cache, mirror.table) or before
    return before, after


def _limits(settings: AuditSettings, context: object) -> tuple[Rate, Callable[[], float]]:
    if context is None:
        return Rate(settings.rate or None), lambda: _LONGEST_SECONDS
    invocation = InvocationTime(cast("Context", context))
    return invocation.rate(settings.rate), invocation.seconds_left


def _metrics(status: Status, before: Comparison, comparison: Comparison | None) -> metrics.Values:
    values: dict[metrics.Metric, float] = {
        metrics.MIRROR_COMPLETE: int(status.complete),
        metrics.MIRROR_DOUBTFUL: int(status.doubtful is not None),
        metrics.QUARANTINE_SIZE: status.quarantined,
        metrics.ITEMS_AUDITED: comparison.items - before.items if comparison else 0,
    }
    if comparison:
        values[metrics.DRIFT_FOUND] = comparison.differences - before.differences
        values[metrics.DRIFT_REPAIRED] = comparison.repaired - before.repaired
    return values
