"""Execution of the state machine's steps."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from math import ceil
from time import sleep, time
from typing import Any

from dynamirror.cache.answers import Failure
from dynamirror.cache.doubt import (
    is_time_to_rebuild,
    note_evictions,
    note_reported,
    note_written,
    noted_evictions,
)
from dynamirror.cache.eviction import read_memory
from dynamirror.cache.scripts import Command
from dynamirror.cache.stored_record import decode_record, encode_record
from dynamirror.dynamodb.scan import Rate
from dynamirror.functions.step_messages import (
    Begin,
    Check,
    Divide,
    Evicted,
    Finish,
    Load,
    Step,
    Sum,
    Sweep,
    Verify,
)
from dynamirror.operations.executions import execution_name, may_rebuild
from dynamirror.operations.messages import Status, VerifyRequest
from dynamirror.operations.service import Operations
from dynamirror.recovery.comparison import Comparison
from dynamirror.recovery.rebuild_state import LostError, Progress
from dynamirror.replication.replicator import Context
from dynamirror.views.keyspace import verification_key

# The part of Lambda's time that is reserved: for one more page, and for saving its progress.
_RESERVE_SECONDS = 20.0
# A slow verification's results must stay in the cache until it ends.
_RESULT_SECONDS = 7 * 86_400
_HOUR = 3600
_DAY = 24 * _HOUR


def take(step: Step, operations: Operations, context: Context) -> Any:
    """Execute one step, and return its answer.

    Args:
        step: the step.
        operations: the operations of the mirror.
        context: Lambda's context.

    Raises:
        LostError: the rebuild must restart.
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
    """
    if isinstance(step, Load):
        return _load(operations, step, context)
    others: dict[type, Callable[[Operations, Any], Any]] = {
        Check: _check,
        Evicted: _evicted,
        Begin: _begin,
        Sweep: _sweep,
        Finish: _finish,
        Divide: _divide,
        Verify: _verify,
        Sum: _sum,
    }
    return others[type(step)](operations, step)


def _evicted(operations: Operations, _step: Evicted) -> dict[str, Any]:
    note_reported(operations.cache, operations.table)
    return {}


def _check(operations: Operations, step: Check) -> dict[str, Any]:
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
    return {"complete": status.complete, "start": helps and not busy, "name": name}


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


def _begin(operations: Operations, step: Begin) -> dict[str, Any]:
    rebuild = operations.rebuild()
    begun = rebuild.begin(segments=step.segments, consistent=step.consistent, restart=step.restart)
    if begun.run is None:
        return {"wait": begun.wait}
    segments = begun.run.segments
    rate = _share(step.rate, step.concurrency, segments)
    workers = min(step.concurrency, segments)
    return {
        "wait": 0,
        "run": begun.run,
        "workers": workers,
        "segments": list(range(segments)),
        "rate": rate,
    }


def _share(rate: float | None, concurrency: int, parts: int) -> float | None:
    """Return the rate of one of several parts."""
    return rate / min(concurrency, parts) if rate else None


class _PauseError(Exception):
    """The rate requires a pause that is longer than the invocation."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def _load(operations: Operations, step: Load, context: Context) -> dict[str, Any]:
    rebuild, seconds_left, pages = operations.rebuild(), _seconds_left(context), [Progress()]

    def pause(seconds: float) -> None:
        if seconds > seconds_left():
            raise _PauseError(seconds)
        sleep(seconds)

    wait = 0
    try:
        progress = rebuild.load(
            step.run,
            step.index,
            rate=Rate(step.rate or None, wait=pause),
            workers=step.workers,
            in_time=lambda: seconds_left() > 0,
            on_progress=pages.append,
        )
    except _PauseError as error:
        # A waiting state machine costs nothing.
        progress, wait = pages[-1], ceil(error.seconds)
    return {
        "done": progress.done,
        "index": step.index,
        "items": progress.items,
        "wait": wait,
    }


def _seconds_left(context: Context) -> Callable[[], float]:
    """Return a function that returns the seconds in which a new page may begin."""
    reserve = min(_RESERVE_SECONDS, context.get_remaining_time_in_millis() / 1000 / 3)
    return lambda: context.get_remaining_time_in_millis() / 1000 - reserve


def _sweep(operations: Operations, step: Sweep) -> Any:
    rebuild = operations.rebuild()
    newest = rebuild.run()
    if newest is None or newest.id != step.run.id:
        raise LostError("another rebuild has begun, or the cache has lost this one")
    if not rebuild.progress(step.run).done:
        raise LostError("not all segments are loaded")
    return rebuild.sweep(step.run)


def _finish(operations: Operations, step: Finish) -> dict[str, Any]:
    rebuild = operations.rebuild()
    rebuild.finish(step.run)
    return {"run": rebuild.run(), "progress": rebuild.progress(step.run)}


def _divide(_operations: Operations, step: Divide) -> dict[str, Any]:
    rate = _share(step.rate, step.concurrency, step.parts)
    return {"parts": list(range(step.parts)), "rate": rate, "repair": step.action == "repair"}


def _verify(operations: Operations, step: Verify) -> Comparison:
    request = VerifyRequest(step.part, step.settle, repair=step.repair, rate=step.rate or None)
    answer = operations.perform(request)
    assert isinstance(answer, Comparison)
    if step.id is not None:
        # The state machine's own state is limited to 256 KB.
        for index in step.part.chosen:
            key = verification_key(operations.table, step.id, index)
            operations.cache.call(key, b"SET", key, encode_record(answer), b"EX", _RESULT_SECONDS)
    return answer


def _sum(operations: Operations, step: Sum) -> Comparison:
    keys = [verification_key(operations.table, step.id, index) for index in range(step.parts)]
    commands = [Command(key.encode(), (b"GET", key)) for key in keys]
    total = Comparison()
    # The results expire by themselves, so that a repeated step finds them.
    for key, text in zip(keys, operations.cache.execute(commands), strict=True):
        if isinstance(text, Failure):
            raise operations.cache.error(text.reason)
        comparison = decode_record(text, Comparison, key)
        if comparison is None:
            raise LostError("the cache has lost results of the verification; verify again")
        total.add(comparison)
    if step.began is not None and total.is_true:
        began = datetime.fromisoformat(step.began).timestamp()
        note_written(operations.cache, operations.table, int(began))
    return total
