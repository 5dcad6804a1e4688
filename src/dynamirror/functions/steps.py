"""Execution of the state machine's steps."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from dynamirror.cache.doubt import note_written
from dynamirror.cache.slot_scan import MovingError, SlotRange, ranges
from dynamirror.functions.announcement import announce, reporting_refusal
from dynamirror.functions.invocation_time import InvocationTime, PauseError, StalledError
from dynamirror.functions.step_messages import (
    Begin,
    Check,
    Divide,
    Evicted,
    Finish,
    GaveUp,
    Load,
    Ranges,
    Step,
    Sum,
    Sweep,
    Verify,
)
from dynamirror.functions.watch_steps import check, evicted, gave_up
from dynamirror.log_lines import log
from dynamirror.operations.service import Operations
from dynamirror.recovery.comparison import CachePart, Comparison, Part, PartProgress, TablePart
from dynamirror.recovery.follow_up import PATIENCE
from dynamirror.recovery.limits import (
    check_end,
    check_pace,
    lanes,
    rebuild_time,
    verification_time,
)
from dynamirror.recovery.long_job import Job, drop_long_job
from dynamirror.recovery.rebuild_state import LostError
from dynamirror.recovery.verification_state import VerificationState
from dynamirror.replication.replicator import Context

logger = logging.getLogger("dynamirror")

# A slot with millions of keys that moves key by key takes a while.
_MOVING_SECONDS = 30


def take(step: Step, operations: Operations, context: Context) -> Any:
    """Execute one step, and return its answer.

    Args:
        step: the step.
        operations: the operations of the mirror.
        context: Lambda's context.

    Raises:
        LostError: the rebuild or the verification must restart.
        StalledError: the rate does not suffice for any progress.
        ConfigError: the job cannot end.
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
    """
    timed: dict[type, Callable[[Operations, Any, Context], Any]] = {
        Load: _load,
        Sweep: _sweep,
        Divide: _divide,
        Verify: _verify,
    }
    if work := timed.get(type(step)):
        return work(operations, step, context)
    others: dict[type, Callable[[Operations, Any], Any]] = {
        Check: check,
        GaveUp: gave_up,
        Evicted: evicted,
        Begin: _begin,
        Ranges: _ranges,
        Finish: _finish,
        Sum: _sum,
    }
    return others[type(step)](operations, step)


def _begin(operations: Operations, step: Begin) -> dict[str, Any]:
    duration = rebuild_time(operations.size(), step.rate, consistent=step.consistent)
    with reporting_refusal(operations, Job.REBUILD):
        check_end(duration)
    segments = step.segments or operations.default_segments()
    rebuild = operations.rebuild()
    begun = rebuild.begin(segments=segments, consistent=step.consistent, restart=step.restart)
    if begun.run is None:
        return {"wait": begun.wait}
    announce(operations, duration)
    number = lanes(begun.run.segments)
    return {
        "wait": 0,
        "run": begun.run,
        "workers": min(step.concurrency, number),
        "lanes": list(range(number)),
        "rate": _share(step.rate, step.concurrency, number),
    }


def _share(rate: float | None, concurrency: int, lanes: int) -> float | None:
    """Return the rate of one of several functions."""
    return rate / min(concurrency, lanes) if rate else None


def _load(operations: Operations, step: Load, context: Context) -> dict[str, Any]:
    rebuild, time = operations.rebuild(), InvocationTime(context)
    rate = time.rate(step.rate)

    def load(index: int) -> bool:
        progress = rebuild.load(
            step.run, index, rate=rate, workers=step.workers, in_time=time.in_time
        )
        return progress.done

    return _each(load, step.index, step.lanes, step.run.segments, time.in_time)


def _each(
    work: Callable[[int], bool],
    index: int,
    lanes: int | None,
    parts: int,
    in_time: Callable[[], bool],
) -> dict[str, Any]:
    """Do the parts of a lane until time runs out, and return where to go on.

    Args:
        work: does a part from its checkpoint on, and returns whether it is done.
        index: the number of the part.
        lanes: how many parts further the next one is; None for no other.
        parts: the number of all parts.
        in_time: returns whether there is time for more.
    """
    following = parts if lanes is None else lanes
    done, wait = False, 0
    try:
        while work(index):
            if index + following >= parts:
                done = True
                break
            index += following
            if not in_time():
                break
    except (PauseError, MovingError) as error:
        wait = _wait(error)
    return {"done": done, "index": index, "wait": wait}


def _wait(error: PauseError | MovingError) -> int:
    """Return for how many seconds the state machine waits, which costs nothing."""
    if isinstance(error, PauseError):
        return error.seconds
    log(logger, logging.WARNING, "waiting for slots", {"reason": str(error)})
    return _MOVING_SECONDS


def _ranges(operations: Operations, step: Ranges) -> dict[str, Any]:
    rebuild = operations.rebuild()
    newest = rebuild.run()
    if newest is None or newest.id != step.run.id:
        raise LostError("another rebuild has begun, or the cache has lost this one")
    if not rebuild.progress(step.run).done:
        raise LostError("not all segments are loaded")
    slots = rebuild.sweep_ranges(step.run, operations.size().ranges(step.concurrency))
    return {"ranges": slots, "rate": _share(step.rate, step.concurrency, len(slots))}


def _sweep(operations: Operations, step: Sweep, context: Context) -> dict[str, Any]:
    rebuild, time = operations.rebuild(), InvocationTime(context)
    try:
        progress = rebuild.sweep(
            step.run, step.slots, rate=time.rate(step.rate), in_time=time.in_time
        )
    except (PauseError, MovingError) as error:
        return {"done": False, "wait": _wait(error)}
    return {"done": progress.done, "wait": 0}


def _finish(operations: Operations, step: Finish) -> dict[str, Any]:
    rebuild = operations.rebuild()
    rebuild.finish(step.run)
    drop_long_job(operations.cache, operations.table, Job.REBUILD)
    run = step.run
    return {
        "run": rebuild.run(),
        "progress": rebuild.progress(run),
        "swept": rebuild.swept(run),
    }


def _divide(operations: Operations, step: Divide, context: Context) -> dict[str, Any]:
    size = operations.size()
    segments = step.segments or operations.default_segments()
    slots = ranges(operations.cache, size.ranges(step.concurrency))
    parts = segments + len(slots)
    number = lanes(parts)
    duration = verification_time(size, step.rate)
    with reporting_refusal(operations, Job.VERIFICATION):
        check_end(duration)
        check_pace(
            size,
            step.rate,
            workers=min(step.concurrency, number),
            seconds=InvocationTime(context).longest_seconds,
            settle=PATIENCE * step.settle,
        )
    announce(operations, duration)
    return {
        "lanes": list(range(number)),
        "segments": segments,
        "ranges": len(slots),
        "parts": parts,
        "rate": _share(step.rate, step.concurrency, number),
        "repair": step.action == "repair",
    }


def _verify(operations: Operations, step: Verify, context: Context) -> dict[str, Any]:
    time = InvocationTime(context)
    state = VerificationState(operations.cache, operations.table, step.id)
    rate, settle = time.rate(step.rate), PATIENCE * step.settle
    slots = ranges(operations.cache, step.ranges)
    if len(slots) != step.ranges:
        raise LostError("the cache was replaced since the verification began; verify again")
    is_further = False

    def in_time() -> bool:
        return time.seconds_left() > settle

    def save(index: int, progress: PartProgress) -> None:
        nonlocal is_further
        state.save(index, progress)
        is_further = True

    def compare(index: int) -> bool:
        try:
            progress = operations.verify_part(
                _part(index, step.segments, slots),
                state.progress(index),
                settle=step.settle,
                repair=step.repair,
                rate=rate,
                in_time=in_time,
                save=partial(save, index),
            )
        except PauseError as error:
            if is_further:
                raise
            # The next invocation would come no further, and so on without end.
            raise StalledError(
                f"rate: {step.rate:g} read units a second of one function did not suffice to get "
                "from one checkpoint to the next; give more, or fewer functions (maxConcurrency)"
            ) from error
        return progress.done

    return _each(compare, step.index, step.lanes, step.segments + len(slots), in_time)


def _part(index: int, segments: int, slots: Sequence[SlotRange]) -> Part:
    return TablePart(index, segments) if index < segments else CachePart(slots[index - segments])


def _sum(operations: Operations, step: Sum) -> Comparison:
    total = VerificationState(operations.cache, operations.table, step.id).total(step.parts)
    drop_long_job(operations.cache, operations.table, Job.VERIFICATION)
    if step.began is not None and total.is_true:
        began = datetime.fromisoformat(step.began).timestamp()
        note_written(operations.cache, operations.table, int(began))
    return total
