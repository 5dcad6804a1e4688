"""The answer to `status`: marker, rebuild, lag, quarantine and audit of a mirror."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from dynamirror.cache import doubt, eviction
from dynamirror.cache.checkpoints import Checkpoint, Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import CompletenessMarker, other_views, read_marker
from dynamirror.cache.heartbeat import others_beside, read_heartbeats, replicator_in, why_not_live
from dynamirror.cache.lease import Lease, read_lease
from dynamirror.cache.quarantine import count, overflow
from dynamirror.inspection.stored import stored_tally
from dynamirror.operations.messages import DEFAULT_MAX_LAG, Status
from dynamirror.recovery.audit import last_audit
from dynamirror.recovery.given_up import given_up
from dynamirror.recovery.long_job import long_jobs
from dynamirror.recovery.rebuild_state import RebuildState
from dynamirror.recovery.room import room
from dynamirror.replication import canary_probe
from dynamirror.views.view import View, fingerprint


def read_status(
    cache: Cache,
    table: str,
    views: Sequence[View],
    description: Any,
    *,
    max_lag: float = DEFAULT_MAX_LAG,
) -> Status:
    """Return the state of a mirror.

    Args:
        cache: the cache.
        table: the table's name.
        views: all views of the table.
        description: the table's description by AWS.
        max_lag: seconds that a live mirror may be behind the table.

    Raises:
        CacheError: the cache cannot be reached.
    """
    marker, state = read_marker(cache, table), RebuildState(cache, table)
    run = state.run()
    is_on = description.get("StreamSpecification", {}).get("StreamEnabled")
    stream = description.get("LatestStreamArn", "") if is_on else ""
    other_stream = not stream or marker.stream != stream
    has_other_views = marker.views != fingerprint(views)
    canary = canary_probe.last(cache, table)
    written = canary.at / 1000 if canary else None
    checkpoints = Checkpoints(cache, stream).load() if stream else {}
    at = time.time()  # after both reads, so that neither is later
    leader = read_lease(cache, table)
    heartbeats, now = read_heartbeats(cache, table)
    replicator = replicator_in(table, heartbeats, now, leader=leader.who if leader else None)
    not_live = why_not_live(replicator, max_lag)
    nodes = eviction.read_memory(cache)
    policy = eviction.policy(nodes)
    evictions = doubt.read_evictions(cache, table, nodes)
    limit = eviction.limit(nodes) if cache.max_bytes is None else cache.max_bytes
    warnings = (
        eviction.warning(policy),
        doubt.doubt(evictions),
        _given_up(cache, table, marker),
        room(views, description, limit).sentence,
        _beside(table, heartbeats, now, leader),
        *(note.why for note in long_jobs(cache, table)),
    )
    return Status(
        table=table,
        complete=marker.is_complete and not other_stream and not has_other_views,
        # A rebuild cannot complete a mirror whose stream is not followed.
        rebuild_helps=not marker.is_complete or has_other_views,
        since=marker.complete if marker.complete >= 0 else None,
        gap=marker.gap,
        reason=_reason(marker, views, other_stream=other_stream),
        stream=marker.stream,
        table_stream=stream,
        rebuild=run,
        progress=state.progress(run) if run else None,
        swept=state.swept(run) if run else None,
        table_items=int(description.get("ItemCount", 0)),
        quarantined=count(cache, table),
        overflow=overflow(cache, table),
        at=at,
        canary=written,
        lag=_lag(at, written, checkpoints.values()),
        positions=checkpoints,
        audited=last_audit(cache, table),
        eviction=policy,
        warnings=[warning for warning in warnings if warning is not None],
        doubtful=evictions.at if evictions.is_doubtful else None,
        live=not_live is None,
        not_live=not_live,
        max_lag=max_lag,
        replicator=replicator,
        inspection=stored_tally(cache, table),
        leader=leader,
    )


def _reason(marker: CompletenessMarker, views: Sequence[View], *, other_stream: bool) -> str:
    if marker.is_complete and other_stream:
        return "the table's stream is off, or another than the one that the mirror follows"
    if marker.is_complete and (sentence := other_views(marker, views)):
        return f"the views have changed: {sentence}"
    return marker.reason


def _beside(
    table: str, heartbeats: Sequence[bytes], now: float, leader: Lease | None
) -> str | None:
    """Return a sentence if others replicate the table beside the leader."""
    if leader is None:
        return None
    others = others_beside(table, heartbeats, now, leader.who, leader.since)
    if not others:
        return None
    return f"beside the leader, {', '.join(others)} does the same work without --ha"


def _given_up(cache: Cache, table: str, marker: CompletenessMarker) -> str | None:
    """Return a sentence if the watchdog has given up, and no rebuild has ended well since."""
    note = None if marker.is_complete else given_up(cache, table)
    return None if note is None else note.sentence


def _lag(at: float, canary: float | None, checkpoints: Iterable[Checkpoint]) -> float | None:
    """Return the seconds since the newest change that arrived; None if none is known."""
    times = [checkpoint.created for checkpoint in checkpoints]
    newest = max((created for created in (*times, canary) if created is not None), default=None)
    return None if newest is None else max(0.0, at - newest)
