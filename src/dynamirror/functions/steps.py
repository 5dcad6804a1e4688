"""The steps of the state machine that fills, verifies and repairs a mirror; each is plain data."""

from collections.abc import Callable
from math import ceil
from time import sleep, time
from typing import Annotated, Any

import msgspec

from dynamirror.cache.answers import Failure
from dynamirror.cache.scripts import Command
from dynamirror.dynamodb.scan import Rate
from dynamirror.operations.messages import VerifyRequest
from dynamirror.operations.service import Operations
from dynamirror.recovery.comparison import Comparison, Part
from dynamirror.recovery.rebuild import LostError, Progress, Run, read_progress
from dynamirror.replication.replicator import Context
from dynamirror.views.keyspace import verification_key

# Kept back from the time that Lambda gives: one more page may be read, written and noted in it.
_RESERVE_SECONDS = 20.0
# A verification's results are kept in the cache until it ends; it may be slow.
_RESULT_SECONDS = 7 * 86_400
_HOUR = 3600

Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
# 0 and null are no limit; CDK cannot write null.
Units = Annotated[float, msgspec.Meta(ge=0)]


class _Step(msgspec.Struct, frozen=True, tag_field="step", tag=str.lower):
    """One step of the state machine; its class's name in lower case is the `step`."""


class Check(_Step, frozen=True):
    """Tell whether the mirror is complete, and whether a rebuild should be started.

    Args:
        running: names of the executions under way; all are rebuilds whose names do not begin with
            `verify` or `repair`.
    """

    running: tuple[str, ...] = ()


class Begin(_Step, frozen=True):
    """Begin a rebuild, or go on with an unfinished one; `Rebuild.begin` says what the rest means.

    Args:
        rate: read units a second, for all segments together; 0 or null for no limit.
        concurrency: how many segments are loaded at a time.
    """

    segments: Count
    consistent: bool = True
    restart: bool = False
    rate: Units | None = None
    concurrency: Count = 1


class Load(_Step, frozen=True):
    """Load a segment, as far as there is time.

    Args:
        run: the rebuild.
        index: of the segment.
        rate: read units a second, for this segment; 0 or null for no limit.
    """

    run: Run
    index: int
    rate: Units | None = None


class Sweep(_Step, frozen=True):
    """Delete the entries whose items are gone, once all segments are loaded."""

    run: Run


class Finish(_Step, frozen=True):
    """Note that the mirror is complete."""

    run: Run


class Divide(_Step, frozen=True):
    """Divide a verification into parts.

    Args:
        action: verify or repair.
        parts: how many there are to be.
        rate: read units a second, for all parts together; 0 or null for no limit.
        concurrency: how many parts are compared at a time.
    """

    action: str
    parts: Count
    rate: Units | None = None
    concurrency: Count = 1


class Verify(_Step, frozen=True):
    """Compare a part of the table with the cache.

    Args:
        part: which.
        repair: write rows over what differs.
        settle: seconds that what differs is given to arrive.
        rate: read units a second, for this part; 0 or null for no limit.
        id: of the verification; with it, the result is kept in the cache for `Sum`.
    """

    part: Part
    repair: bool = False
    settle: float = 15.0
    rate: Units | None = None
    id: str | None = None


class Sum(_Step, frozen=True):
    """Add the results of a verification's parts.

    Args:
        id: of the verification.
        parts: how many there are.
    """

    id: str
    parts: Count


Step = Check | Begin | Load | Sweep | Finish | Divide | Verify | Sum


def take(step: Step, operations: Operations, context: Context) -> Any:
    """Take one step; returns its answer.

    Args:
        step: which.
        operations: of the mirror.
        context: Lambda's.

    Raises:
        LostError: the rebuild must begin again.
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
    """
    if isinstance(step, Load):
        return _load(operations, step, context)
    others: dict[type, Callable[[Operations, Any], Any]] = {
        Check: _check,
        Begin: _begin,
        Sweep: _sweep,
        Finish: _finish,
        Divide: _divide,
        Verify: _verify,
        Sum: _sum,
    }
    return others[type(step)](operations, step)


def _check(operations: Operations, step: Check) -> dict[str, Any]:
    status = operations.status()
    busy = any(not name.startswith(("verify", "repair")) for name in step.running)
    gap = "none" if status.gap is None else status.gap
    # So named, what failed is started again an hour later, and what runs is not started twice.
    name = f"rebuild-{gap}-{int(time()) // _HOUR}"
    return {"complete": status.complete, "start": status.rebuild_helps and not busy, "name": name}


def _begin(operations: Operations, step: Begin) -> dict[str, Any]:
    rebuild = operations.rebuild()
    begun = rebuild.begin(segments=step.segments, consistent=step.consistent, restart=step.restart)
    if begun.run is None:
        return {"wait": begun.wait}
    segments = begun.run.segments
    rate = _share(step.rate, step.concurrency, segments)
    return {"wait": 0, "run": begun.run, "segments": list(range(segments)), "rate": rate}


def _share(rate: float | None, concurrency: int, parts: int) -> float | None:
    """What one of several may spend."""
    return rate / min(concurrency, parts) if rate else None


class _PauseError(Exception):
    """The rate asks for a pause that outlasts the invocation."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def _load(operations: Operations, step: Load, context: Context) -> dict[str, Any]:
    rebuild, seconds, known = operations.rebuild(), _seconds(context), [Progress()]

    def pause(wanted: float) -> None:
        if wanted > seconds():
            raise _PauseError(wanted)
        sleep(wanted)

    wait = 0
    try:
        progress = rebuild.load(
            step.run,
            step.index,
            rate=Rate(step.rate or None, wait=pause),
            in_time=lambda: seconds() > 0,
            on_progress=known.append,
        )
    except _PauseError as error:
        # Nobody pays for a state machine that waits.
        progress, wait = known[-1], ceil(error.seconds)
    return {
        "done": progress.done,
        "index": step.index,
        "items": progress.items,
        "wait": wait,
    }


def _seconds(context: Context) -> Callable[[], float]:
    """Tells how many seconds are left to begin something in."""
    given = context.get_remaining_time_in_millis() / 1000
    reserve = min(_RESERVE_SECONDS, given / 3)
    return lambda: context.get_remaining_time_in_millis() / 1000 - reserve


def _sweep(operations: Operations, step: Sweep) -> Any:
    rebuild = operations.rebuild()
    newest = rebuild.run()
    if newest is None or newest.id != step.run.id:
        raise LostError("another rebuild has begun, or the cache has lost this one")
    if not read_progress(operations.cache, operations.table, step.run).done:
        raise LostError("not all segments are loaded")
    return rebuild.sweep(step.run)


def _finish(operations: Operations, step: Finish) -> dict[str, Any]:
    rebuild = operations.rebuild()
    rebuild.finish(step.run)
    progress = read_progress(operations.cache, operations.table, step.run)
    return {"run": rebuild.run(), "progress": progress}


def _divide(_operations: Operations, step: Divide) -> dict[str, Any]:
    rate = _share(step.rate, step.concurrency, step.parts)
    return {"parts": list(range(step.parts)), "rate": rate, "repair": step.action == "repair"}


def _verify(operations: Operations, step: Verify) -> Comparison:
    request = VerifyRequest(step.part, step.settle, repair=step.repair, rate=step.rate or None)
    answer = operations.perform(request)
    assert isinstance(answer, Comparison)
    if step.id is not None:
        # Not in the state machine's own state, which has room for 256 KB.
        for index in step.part.chosen:
            key = verification_key(operations.table, step.id, index)
            text = msgspec.json.encode(answer)
            operations.cache.call(key, b"SET", key, text, b"EX", _RESULT_SECONDS)
    return answer


def _sum(operations: Operations, step: Sum) -> Comparison:
    keys = [verification_key(operations.table, step.id, index) for index in range(step.parts)]
    commands = [Command(key.encode(), (b"GET", key)) for key in keys]
    total = Comparison()
    # They are left to expire: whoever has to ask a second time finds them.
    for text in operations.cache.execute(commands):
        if isinstance(text, Failure):
            raise operations.cache.error(text.reason)
        if text is None:
            raise LostError("the cache has lost results of the verification; verify again")
        total.add(msgspec.json.decode(text, type=Comparison))
    return total
