"""The audit: one part of table and cache at each turn, and its state in the cache."""

import re
from collections.abc import Callable
from math import ceil
from time import time
from typing import Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.stored_record import decode_record, encode_record
from dynamirror.errors import CacheError
from dynamirror.recovery.comparison import (
    CachePart,
    Comparison,
    PartProgress,
    Share,
    TablePart,
)
from dynamirror.recovery.verify import Verification
from dynamirror.views.keyspace import audit_key

_KEYS: Final = re.compile(rb"^db0:keys=(\d+)", re.MULTILINE)
# A part that fails so often without progress does not block the others.
_MOST_ATTEMPTS: Final = 3


class AuditResult(msgspec.Struct, frozen=True):
    """The result of one audit.

    Args:
        at: the time of its end, in ISO 8601.
        part: the number of the audited part, from 0.
        of: the number of parts.
        comparison: the differences; None if the mirror was incomplete.
        round_seconds: how long a round of all parts takes at least; None if that is not known.
    """

    at: str
    part: int
    of: int
    comparison: Comparison | None
    round_seconds: float | None = None


def last_audit(cache: Cache, table: str) -> AuditResult | None:
    """Return the result of the last audit, or None if there is none or it is damaged.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = audit_key(table)
    return decode_record(cache.call(key, b"HGET", key, b"last"), AuditResult, f"{key} last")


def save_audit(cache: Cache, table: str, result: AuditResult) -> None:
    """Write the result of an audit.

    Raises:
        CacheError: the cache cannot be reached.
    """
    key = audit_key(table)
    cache.call(key, b"HSET", key, b"last", encode_record(result))


def next_part(cache: Cache, table: str, parts: int) -> int:
    """Return the number of the part to audit next; 0 if it is not stored or damaged.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = audit_key(table)
    number = decode_record(cache.call(key, b"HGET", key, b"next"), int, f"{key} next")
    return (number or 0) % parts


class AuditTurn(msgspec.Struct, frozen=True):
    """The audit of one part, which may take several invocations.

    Args:
        part: the number of the part, from 0.
        of: the number of parts.
        began: when its audit began, in seconds since 1970.
        done: whether it is compared.
        attempts: how often it was begun since it last made progress.
        table: the progress in its segment of the table.
        cache: the progress in its share of the cache. In a cache that is no cluster, it begins
            where the turn before ended.
    """

    part: int
    of: int
    began: int
    done: bool = False
    attempts: int = 0
    table: PartProgress = msgspec.field(default_factory=PartProgress)
    cache: PartProgress = msgspec.field(default_factory=PartProgress)

    @property
    def comparison(self) -> Comparison:
        """The differences so far."""
        total = self.table.comparison.copy()
        total.add(self.cache.comparison)
        return total


def begin_turn(
    cache: Cache, table: str, parts: int, *, now: Callable[[], float] = time
) -> AuditTurn:
    """Return the unfinished turn of an audit, or else the next, after recording its begin.

    Args:
        cache: the cache.
        table: the table's name.
        parts: the number of parts.
        now: returns seconds since 1970.

    Raises:
        CacheError: the cache cannot be reached.
    """
    last = last_turn(cache, table)
    if last is None or last.of != parts:
        turn = AuditTurn(next_part(cache, table, parts), parts, int(now()))
    elif not last.done and last.attempts < _MOST_ATTEMPTS:
        turn = last
    else:
        part = (last.part + 1) % parts
        cache.cluster.refresh()
        goes_on = part > 0 and not cache.cluster.is_clustered
        start = PartProgress(checkpoint=last.cache.checkpoint) if goes_on else PartProgress()
        turn = AuditTurn(part, parts, int(now()), cache=start)
    turn = msgspec.structs.replace(turn, attempts=turn.attempts + 1)
    save_turn(cache, table, turn)
    return turn


def last_turn(cache: Cache, table: str) -> AuditTurn | None:
    """Return the turn under way, or the last one; None if there is none or it is damaged.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = audit_key(table)
    return decode_record(cache.call(key, b"HGET", key, b"turn"), AuditTurn, f"{key} turn")


def save_turn(cache: Cache, table: str, turn: AuditTurn) -> None:
    """Write the turn under way, or the last one.

    Raises:
        CacheError: the cache cannot be reached.
    """
    key = audit_key(table)
    cache.call(key, b"HSET", key, b"turn", encode_record(turn))


def audit(
    verification: Verification,
    turn: AuditTurn,
    *,
    in_time: Callable[[], bool] = lambda: True,
    save: Callable[[AuditTurn], object] = lambda _turn: None,
) -> AuditTurn:
    """Compare the part of a turn from its checkpoint on, and return the turn as it is then.

    Args:
        verification: compares.
        turn: the turn.
        in_time: returns whether there is time for more; see `Verification.run_part`.
        save: called with the turn wherever it can resume.

    Raises:
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
    """

    def record(**changes: PartProgress) -> None:
        nonlocal turn
        turn = msgspec.structs.replace(turn, attempts=0, **changes)
        save(turn)

    segment = TablePart(turn.part, turn.of)
    verification.run_part(
        segment, turn.table, in_time=in_time, save=lambda progress: record(table=progress)
    )
    if not turn.table.done:
        return turn
    if verification.cache.cluster.is_clustered:
        slots = [part for part in Share(turn.of, (turn.part,)).parts() if part != segment]
        end = None
    else:
        slots, end = [CachePart()], _end_of_turn(verification.cache, turn)

    def is_short() -> bool:
        checkpoint = turn.cache.checkpoint
        return end is None or checkpoint is None or checkpoint.scanned < end

    for part in slots if is_short() else ():
        verification.run_part(
            part,
            turn.cache,
            in_time=lambda: in_time() and is_short(),
            save=lambda progress: record(cache=progress),
        )
        if not turn.cache.done and is_short():
            return turn
    turn = msgspec.structs.replace(turn, done=True)
    save(turn)
    return turn


def _end_of_turn(cache: Cache, turn: AuditTurn) -> int | None:
    """Return how many keys of a single server are visited by the end of a turn; None for all.

    The round ends with all of them in any case.
    """
    if turn.part == turn.of - 1:
        return None
    try:
        (report,) = cache.broadcast(b"INFO", b"keyspace")
    except CacheError:
        return None  # the user lacks the right, and the first turn visits all
    found = _KEYS.search(report)
    return ceil(int(found[1]) * (turn.part + 1) / turn.of) if found else None
