"""Execution of the watchdog's steps."""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from time import time
from typing import Any

from dynamirror.cache.doubt import (
    is_time_to_rebuild,
    note_evictions,
    note_reported,
    noted_evictions,
)
from dynamirror.cache.eviction import read_memory
from dynamirror.functions.step_messages import Check, Evicted, GaveUp
from dynamirror.log_lines import log
from dynamirror.metrics import catalogue as metrics
from dynamirror.metrics import emf
from dynamirror.operations.executions import execution_name, failed_in_a_row, may_rebuild
from dynamirror.operations.messages import Status
from dynamirror.operations.service import Operations
from dynamirror.recovery.given_up import GivenUp, save_given_up

logger = logging.getLogger("dynamirror")

MOST_FAILURES = 3
_HOUR = 3600
_DAY = 24 * _HOUR


def check(operations: Operations, step: Check) -> dict[str, Any]:
    """Report whether a rebuild should start, and the last execution if too many failed."""
    note_evictions(operations.cache, operations.table)
    status = operations.status()
    busy = any(may_rebuild(name, operations.table) for name in step.running)
    gap = "none" if status.gap is None else status.gap
    # Step Functions refuses a second execution of the same name: a failed rebuild restarts an hour
    # later, and a running one is not started twice.
    turn = f"{gap}-{int(time()) // _HOUR}"
    helps = status.rebuild_helps
    if not helps and _is_left_doubtful(operations, status):
        # Once a day, since a rebuild may make the cache evict again.
        helps, turn = True, f"d{int(time()) // _DAY}"
    name = execution_name("rebuild", operations.table, turn)
    failed = failed_in_a_row(
        dict(zip(step.recent, step.statuses, strict=True)), operations.table, after=status.since
    )
    gives_up = helps and not busy and len(failed) >= MOST_FAILURES
    return {
        "complete": status.complete,
        "start": helps and not busy and not gives_up,
        "name": name,
        "failed": failed[0] if gives_up else "",
    }


def _is_left_doubtful(operations: Operations, status: Status) -> bool:
    """Return whether a doubtful mirror should be rebuilt, since no auditor repairs it."""
    if status.doubtful is None:
        return False
    audited = 0.0
    if status.audited is not None:
        with suppress(ValueError):  # a damaged note
            audited = datetime.fromisoformat(status.audited.at).timestamp()
    if time() - audited < _DAY:
        return False
    cache = operations.cache
    return is_time_to_rebuild(noted_evictions(cache, operations.table), read_memory(cache))


def gave_up(operations: Operations, step: GaveUp) -> dict[str, Any]:
    """Record, log and count that the watchdog starts no further rebuild."""
    note = GivenUp(int(time()), _why(step.execution))
    emf.emit(operations.table, {metrics.REBUILD_GIVEN_UP: 1})
    log(
        logger,
        logging.ERROR,
        "the watchdog has given up",
        {"table": operations.table, "failed": MOST_FAILURES, "reason": note.why},
    )
    save_given_up(operations.cache, operations.table, note)
    return {"why": note.why}


def _why(execution: Mapping[str, Any]) -> str:
    cause = str(execution.get("Cause") or "")
    with suppress(ValueError, TypeError, KeyError):  # else it is no function's error
        cause = str(json.loads(cause)["errorMessage"])
    words = (execution.get("Status"), execution.get("Error"), cause)
    text = ": ".join(str(word) for word in words if word)
    return f"{execution.get('Name', 'execution')}: {text}"[:1000]


def evicted(operations: Operations, _step: Evicted) -> dict[str, Any]:
    """Record that CloudWatch reports evictions."""
    note_reported(operations.cache, operations.table)
    return {}
