"""Lambda functions beside the cache: operator, the state machine's worker, auditor, canary.

They reach the cache and the table, and no other service of AWS. Settings come from the environment
(`config.Settings`); DYNAMODB_TABLE names the table.
"""

import logging
import os
from datetime import UTC, datetime
from functools import cache as once
from typing import Annotated, Any

import msgspec

from dynamirror import metrics
from dynamirror.audit import Audited, audit_key
from dynamirror.aws import Aws
from dynamirror.config import Settings
from dynamirror.errors import CacheError, ConfigError, DynamirrorError
from dynamirror.handler import Context, log_invocation
from dynamirror.heartbeat import SECONDS, Canary
from dynamirror.operations import Operations, Request, Status, VerifyRequest
from dynamirror.steps import Step, Units, take
from dynamirror.verify import Comparison, Part

logger = logging.getLogger("dynamirror")

# Of the time that Lambda gives, what the canary may take until it tells what came of it. The rest
# is for looks at a cache that hangs: each waits once for every address of its nodes.
_BEATING = 2 / 3


class _Invocation(msgspec.Struct, frozen=True):
    """What the operator is asked."""

    request: Request


class Audit(msgspec.Struct, frozen=True, rename=lambda name: f"DYNAMIRROR_AUDIT_{name.upper()}"):
    """How the auditor goes about it; the names in the environment are DYNAMIRROR_AUDIT_….

    Args:
        parts: the table is compared in so many parts, one an invocation.
        repair: write rows over what differs.
        settle: seconds that what differs is given to arrive. What is merely late must not be told
            as drift; four times as long, and the comparison itself, take less than Lambda gives.
        rate: read units a second; unset or 0 for no limit.
    """

    parts: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 288
    repair: bool = True
    settle: Annotated[float, msgspec.Meta(ge=0, le=600)] = 120.0
    rate: Units | None = None


@once
def _operations() -> Operations:
    """What is kept between invocations: settings, views and connections."""
    table = os.environ.get("DYNAMODB_TABLE", "")
    if not table:
        raise ConfigError("environment: DYNAMODB_TABLE: is missing; set it to the table's name")
    return Operations(Settings.from_env(os.environ), Aws(), table)


def operator(event: Any, _context: object = None) -> dict[str, Any]:
    """Lambda's entry point for operators: `{"request": …}` in, `{"answer": …}` or an error out.

    Args:
        event: its `request` is one of `operations.Request`, as JSON.

    Returns:
        The answer, one of `operations.Answer`; or `{"error": …}`, one sentence.
    """
    try:
        request = _read(event, _Invocation, "event").request
        return {"answer": msgspec.to_builtins(_operations().perform(request))}
    except DynamirrorError as error:
        return {"error": str(error)}


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


def auditor(_event: Any, context: object = None) -> dict[str, Any]:
    """Lambda's entry point for the schedule: compare the next part, repair it, tell CloudWatch.

    Settings beside the others are `Audit`'s. Which part is next, and the last result, are kept in
    the cache; an incomplete mirror is not compared.

    Raises:
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
        ConfigError: a setting is wrong.
    """
    log_invocation(context)
    operations = _operations()
    given = {
        name: os.environ[name] for name in Audit.__struct_encode_fields__ if name in os.environ
    }
    audit = _read(given, Audit, "environment")
    key, status = audit_key(operations.table), operations.status()
    part = int(operations.cache.call(key, b"HGET", key, b"next") or 0) % audit.parts
    comparison = None
    if status.complete:
        # Before it is compared: a part that cannot be must not keep the others waiting.
        operations.cache.call(key, b"HSET", key, b"next", (part + 1) % audit.parts)
        request = VerifyRequest(
            Part(audit.parts, (part,)),
            audit.settle,
            repair=audit.repair,
            rate=audit.rate or None,
        )
        answer = operations.perform(request)
        assert isinstance(answer, Comparison)
        comparison = answer
    at = datetime.now(UTC).isoformat(timespec="seconds")
    audited = Audited(at, part, audit.parts, comparison)
    operations.cache.call(key, b"HSET", key, b"last", msgspec.json.encode(audited))
    _tell(status.table, _of_audit(status, comparison))
    result: dict[str, Any] = msgspec.to_builtins(audited)
    return result


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
        logger.error("mirror not seen", extra={"table": table, "reason": str(error)})  # noqa: TRY400 - one sentence is enough
    else:
        values[metrics.MIRROR_COMPLETE] = int(vitals.complete)
        values[metrics.QUARANTINE_SIZE] = vitals.quarantined
    _tell(table, values)
    result: dict[str, Any] = msgspec.to_builtins(beat)
    return result


def _read(data: Any, kind: Any, what: str) -> Any:
    """Turn plain data into what it stands for.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return msgspec.convert(data, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{what}: cannot be read: {error}") from None


def _of_audit(status: Status, comparison: Comparison | None) -> metrics.Values:
    values: dict[metrics.Metric, float] = {
        metrics.MIRROR_COMPLETE: int(status.complete),
        metrics.QUARANTINE_SIZE: status.quarantined,
        metrics.ITEMS_AUDITED: comparison.items if comparison else 0,
    }
    if comparison:
        values[metrics.DRIFT_FOUND] = comparison.differences
        values[metrics.DRIFT_REPAIRED] = comparison.repaired
    return values


def _tell(table: str, values: metrics.Values) -> None:
    # Takes long to import, and neither operator nor worker needs it.
    from dynamirror import emf  # noqa: PLC0415

    emf.tell(table, values)
