"""Heartbeats of replicators: who was alive when, and how far behind, stored beside the data."""

from collections.abc import Sequence
from time import time
from typing import Annotated, Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import HEARTBEAT, HEARTBEATS
from dynamirror.cache.stored_record import decode_record, encode_record
from dynamirror.views.keyspace import heartbeats_key

# A replicator's first heartbeat removes those of replicators that ended so long ago.
_FORGET_SECONDS: Final = 3600
# Heartbeats of this many seconds are of replicators that run side by side.
_SIDE_BY_SIDE_SECONDS: Final = 10.0
_LATELY_SECONDS: Final = 60.0

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=10**10)]


class Heartbeat(msgspec.Struct, frozen=True):
    """The sign of life of a replicator.

    Args:
        who: the function's name, or host and process.
        behind: seconds, at the most, between the creation of a change and now that all changes
            before it were applied.
        stream: ARN of the stream that is read.
        sequence_number: that of the newest applied record; None where it is not known.
        created: creation time of that record, in seconds since 1970; None where it is not known.
        silence: seconds without a heartbeat after which the replicator has ended; None where an
            idle table makes it silent, too, as in Lambda.
    """

    who: str
    behind: _Seconds
    stream: str
    sequence_number: str | None = None
    created: _Seconds | None = None
    silence: _Seconds | None = None


class _StoredHeartbeat(Heartbeat, frozen=True, kw_only=True):
    """A heartbeat with the time of the cache's clock, in seconds since 1970."""

    at: _Seconds


class SeenReplicator(Heartbeat, frozen=True, kw_only=True):
    """The newest heartbeat, seen from now: `behind` has grown by the time since then.

    Args:
        seen: seconds since the heartbeat.
    """

    seen: float


def write_heartbeat(
    cache: Cache, table: str, name: str, heartbeat: Heartbeat, *, first: bool
) -> None:
    """Write the heartbeat of a replicator over its last one.

    Args:
        cache: the cache.
        table: the table's name.
        name: distinguishes the processes that replicate the table.
        heartbeat: the heartbeat.
        first: whether it is the first of this process.

    Raises:
        CacheError: the cache did not take it.
    """
    key = heartbeats_key(table).encode()
    fields = encode_record(heartbeat)
    forget = _FORGET_SECONDS if first else 0
    cache.execute_one(HEARTBEAT.command(key, name, fields, f"{time():.3f}", forget))


def others_beside(
    table: str, stored: Sequence[bytes], now: float, leader: str, since: float
) -> list[str]:
    """Return who else has replicated a table in the last minute, although a process leads.

    Args:
        table: the table's name.
        stored: the heartbeats, as for `replicator_in`.
        now: seconds since 1970 by the cache's clock.
        leader: the process that the lease names.
        since: when it took the lease, by the same clock.
    """
    # A leader before it may have written its last heartbeat just then.
    since = max(since + _SIDE_BY_SIDE_SECONDS, now - _LATELY_SECONDS)
    beats = _heartbeats(table, stored, now)
    return sorted({beat.who for beat in beats if beat.who != leader and beat.at > since})


def replicator_in(
    table: str, stored: Sequence[bytes], now: float, *, leader: str | None = None
) -> SeenReplicator | None:
    """Return the replicator that was seen last; None where none has left a heartbeat.

    Of several that run side by side, the one that is furthest behind counts.

    Args:
        table: the table's name.
        stored: the names and heartbeats of all replicators, in turn.
        now: seconds since 1970 by the cache's clock.
        leader: the process that the lease names, whose heartbeat alone counts if there is one.
    """
    heartbeats = _heartbeats(table, stored, now)
    heartbeats = [beat for beat in heartbeats if beat.who == leader] or heartbeats
    if not heartbeats:
        return None
    newest = max(heartbeat.at for heartbeat in heartbeats)
    side_by_side = (beat for beat in heartbeats if beat.at >= newest - _SIDE_BY_SIDE_SECONDS)
    last = max(side_by_side, key=lambda beat: beat.behind - beat.at)
    fields = msgspec.structs.asdict(last)
    fields["behind"] += max(0.0, now - fields.pop("at"))
    return SeenReplicator(**fields, seen=max(0.0, now - newest))


def read_heartbeats(cache: Cache, table: str) -> tuple[Sequence[bytes], float]:
    """Return the heartbeats as they are stored, and the time by the cache's clock.

    Raises:
        CacheError: the cache cannot be read.
    """
    clock, stored = cache.execute_one(HEARTBEATS.command(heartbeats_key(table).encode()))
    return stored, float(clock) if clock else time()


def _heartbeats(table: str, stored: Sequence[bytes], now: float) -> list[_StoredHeartbeat]:
    key = heartbeats_key(table)
    return [
        heartbeat
        for name, text in zip(stored[::2], stored[1::2], strict=True)
        if (heartbeat := decode_record(text, _StoredHeartbeat, f"{key} {name!r}"))
        # A later one is of before the clock went back, as with another node: it proves nothing.
        and heartbeat.at <= now + _SIDE_BY_SIDE_SECONDS
    ]


def why_not_live(replicator: SeenReplicator | None, max_lag: float) -> str | None:
    """Return why changes do not reach the cache within a time; None if they do.

    Args:
        replicator: the replicator that was seen last; None for none.
        max_lag: seconds that the cache may be behind the table.
    """
    if replicator is None:
        return (
            "no replicator has been seen: none has run since the cache was empty, its version "
            "leaves no heartbeat, or its clock is ahead of the cache's"
        )
    who, seen = replicator.who, duration(replicator.seen)
    if replicator.silence is not None and replicator.seen > replicator.silence:
        return f"the replicator ({who}) was last seen {seen} ago, so it has ended or hangs"
    if replicator.behind <= max_lag:
        return None
    if replicator.silence is None and replicator.seen > max_lag:
        return (
            f"the replicator ({who}) was last seen {seen} ago: it has ended, or the table is idle; "
            "a canary makes the difference"
        )
    return (
        f"the replicator ({who}) is up to {duration(replicator.behind)} behind, "
        f"more than {duration(max_lag)}"
    )


def duration(seconds: float) -> str:
    """Return seconds as text, in minutes, hours or days where there are many."""
    for unit, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
