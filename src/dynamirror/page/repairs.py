"""The repairs that a viewer may start in the demo's mirror."""

from time import monotonic

from dynamirror.counted import counted
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.dynamodb.scan import Scan
from dynamirror.page.action_context import ActionContext
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.recovery.verify import Verification
from dynamirror.runner.healer import Healer

_SETTLE_SECONDS = 1.0
# The emulator stamps changes and answers by one clock, rounded to the second.
_MARGIN_SECONDS = 1


def start_replicator(context: ActionContext) -> None:
    """Start the delivery of changes, and wait until the mirror has caught up."""
    demo = context.demo
    before, begin = demo.totals.applied, monotonic()
    demo.start_replicator()
    context.wait_for_delivery(begin)
    applied, took = demo.totals.applied - before, monotonic() - begin
    context.log.add_event(
        "Started: all waiting changes were applied, "
        f"{counted(applied, 'entries')} in {took:.1f} s.",
        good=True,
    )


def rebuild(context: ActionContext) -> None:
    """Rebuild the mirror as `dynamirror run` does."""
    demo, begin = context.demo, monotonic()
    reports: list[str] = []
    steps = Rebuild(
        demo.cache,
        demo.views,
        demo.client,
        fence_ttl=demo.replicator.fence_ttl,
        stream_arn=demo.stream_arn,
        margin=_MARGIN_SECONDS,
    )
    healer = Healer(steps, stream_arn=lambda: demo.stream_arn, notify=reports.append)
    healer.start()
    try:
        context.wait_until(lambda: bool(healer.complete), "rebuilt")
    finally:
        healer.stop()
    if len(reports) <= 1:
        context.log.add_event("Nothing to rebuild: the mirror is complete.", good=True)
        return
    context.log.add_event(f"Healed in {monotonic() - begin:.1f} s: {reports[-1]}.", good=True)


def repair(context: ActionContext) -> None:
    """Compare everything, and repair what differs."""
    demo, begin = context.demo, monotonic()
    result = Verification(
        cache=demo.cache,
        views=demo.views,
        scan=Scan(demo.client, demo.schema.table, margin=_MARGIN_SECONDS),
        reader=SnapshotReader(demo.client, demo.schema.table, margin=_MARGIN_SECONDS),
        settle=_SETTLE_SECONDS,
        repair=True,
        fence_ttl=demo.replicator.fence_ttl,
    ).run()
    differences = "nothing differed"
    if result.differences:
        differences = (
            f"{counted(result.differences, 'entries')} differed, {result.repaired:,} repaired"
        )
    context.log.add_event(
        f"Compared {counted(result.items, 'items')} with {counted(result.entries, 'entries')} in "
        f"{monotonic() - begin:.1f} s: {differences}.",
        good=True,
    )
