"""The faults that a viewer may inject into the demo's mirror."""

from collections.abc import Sequence
from time import monotonic
from typing import Final

from dynamirror.counted import counted
from dynamirror.dynamodb.client import aws_errors
from dynamirror.dynamodb.stream_reader import Record
from dynamirror.errors import DynamirrorError
from dynamirror.page.action_context import ActionContext
from dynamirror.page.fragile_item import make_fragile_item
from dynamirror.page.repairs import rebuild
from dynamirror.recovery.cache_scan import entries_of
from dynamirror.runner.event_source_mapping import Invocation
from dynamirror.views.batch_result import BatchResult, Tally

HANG_SECONDS: Final = 3
_GARBAGE = b"this value is not from the table"
_INVOCATION_SECONDS = 30.0


def stop_replicator(context: ActionContext) -> None:
    """Stop the delivery of changes."""
    context.demo.stop_replicator()
    context.log.add_event("The replicator is stopped. Changes wait in the stream.")


def deliver_twice(context: ActionContext) -> None:
    """Deliver the newest changes a second time, in one batch."""
    records = _recent(context)
    tally = _deliver(context, [records])
    context.log.add_event(f"Delivered the newest {len(records)} changes again: {_outcomes(tally)}.")


def deliver_backwards(context: ActionContext) -> None:
    """Deliver the newest changes a second time, in single batches, the newest first."""
    records = _recent(context)
    tally = _deliver(context, [[record] for record in reversed(records)])
    context.log.add_event(
        f"Delivered the newest {len(records)} changes one by one, the newest first: "
        f"{_outcomes(tally)}."
    )


def hang_cache(context: ActionContext) -> None:
    """Pause the cache's server, and wait until the mirror has caught up."""
    demo, log = context.demo, context.log
    before = demo.totals.applied
    # https://valkey.io/commands/client-pause/
    demo.cache.broadcast(b"CLIENT", b"PAUSE", HANG_SECONDS * 1000, b"ALL")
    begin = monotonic()
    log.add_event(f"The cache answers no command for {HANG_SECONDS} s.")
    context.halt.wait(HANG_SECONDS)
    if not demo.is_replicating:
        log.add_event("The cache answers again; the replicator is stopped.")
        return
    context.wait_for_delivery(monotonic())
    applied, delay = demo.totals.applied - before, monotonic() - begin - HANG_SECONDS
    log.add_event(
        f"The cache answered again. {delay:.1f} s later, all changes were applied: "
        f"{counted(applied, 'entries')}, none lost.",
        good=True,
    )


def damage_entry(context: ActionContext) -> None:
    """Overwrite the entry of an item that nobody else writes.

    The next change of any other item would correct its entry at once.
    """
    demo = context.demo
    fragile = context.fragile or make_fragile_item(demo)
    with aws_errors(f"table {demo.schema.table}"):
        demo.client.put_item(TableName=demo.schema.table, Item=dict(fragile.item))
    context.fragile = fragile
    if not demo.is_replicating:
        raise DynamirrorError("the replicator is stopped; start it, then damage an entry")
    context.wait_for_delivery(monotonic())
    key = fragile.canary_key
    demo.cache.call(key, b"SET", key.encode(), _GARBAGE)
    context.log.add_event(
        f"Overwrote {key}. No change of its item will follow, so the entry stays wrong until "
        "it is repaired."
    )


def flush_cache(context: ActionContext) -> None:
    """Delete everything in the cache, and rebuild the mirror."""
    demo = context.demo
    lost = len({entry.key for view in demo.views for entry in entries_of(demo.cache, view)})
    demo.cache.broadcast(b"FLUSHALL")
    context.log.add_event(
        f"Flushed the cache: {counted(lost, 'entries')} and the completeness marker are gone."
    )
    rebuild(context)


def _recent(context: ActionContext) -> list[Record]:
    records = context.demo.recent
    if not records:
        raise DynamirrorError("no change has been delivered yet; try again after the first one")
    return records


def _deliver(context: ActionContext, batches: Sequence[Sequence[Record]]) -> Tally:
    tally, totals = Tally(), context.demo.totals

    def observe(batch: BatchResult) -> None:
        tally.add(batch)
        totals.add(batch)

    replicator = context.demo.replicator_observed_by(observe)
    invocation = Invocation(monotonic() + _INVOCATION_SECONDS, monotonic)
    for batch in batches:
        replicator({"Records": list(batch)}, invocation)
    return tally


def _outcomes(tally: Tally) -> str:
    coalesced = f", {tally.coalesced:,} coalesced" if tally.coalesced else ""
    return f"{tally.stale:,} stale{coalesced}, {tally.applied:,} applied"
