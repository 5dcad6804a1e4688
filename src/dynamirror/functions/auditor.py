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

from dynamirror.dynamodb.client import Aws
from dynamirror.errors import ConfigError
from dynamirror.functions.runtime import log_invocation
from dynamirror.functions.steps import Units
from dynamirror.metrics import catalogue as metrics
from dynamirror.operations.messages import Status, VerifyRequest
from dynamirror.operations.service import Operations
from dynamirror.recovery.audit import Audited
from dynamirror.recovery.comparison import Comparison, Part
from dynamirror.settings import Settings
from dynamirror.views.keyspace import audit_key

logger = logging.getLogger("dynamirror")


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
    from dynamirror.metrics import emf  # noqa: PLC0415

    emf.tell(table, values)
