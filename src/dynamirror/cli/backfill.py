"""The command that fills a cache from its table: backfill."""

from time import monotonic
from typing import Annotated, Any

import msgspec
import typer

from dynamirror.cli import options
from dynamirror.cli.notes import note_time
from dynamirror.cli.option_groups import with_option_groups
from dynamirror.cli.output import print_json
from dynamirror.cli.table_mirror import TableMirror, work_on
from dynamirror.counted import counted
from dynamirror.dynamodb.scan import MOST_SEGMENTS
from dynamirror.operations.messages import Status, StatusRequest
from dynamirror.operations.remote import Operator
from dynamirror.operations.service import OnProgress, Operations
from dynamirror.recovery.backfill import Backfill, BackfillProgress
from dynamirror.recovery.limits import rebuild_time


@with_option_groups
def backfill(
    *,
    mirror: options.MirrorOptions,
    segments: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_SEGMENTS,
            help="Segments to read the table in. [default: by its size; with --via as deployed]",
        ),
    ] = None,
    rate: options.ReadRate = None,
    eventual: Annotated[
        bool,
        typer.Option(
            "--eventual",
            help="Use eventually consistent reads: half the read units, one minute longer.",
        ),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard the progress of an interrupted backfill.")
    ] = False,
    new_views: options.NewViews = False,
    as_json: options.JsonPerTable = False,
) -> None:
    """Write all items of tables to the cache, which makes their mirrors complete.

    Run beside a live mirror or without one. Resume an interrupted backfill at its last page.
    Delete orphaned entries.
    """
    job: dict[str, Any] = {"action": "backfill", "consistent": not eventual, "restart": restart}
    if segments is not None:
        job["segments"] = segments
    if rate is not None:
        job["rate"] = rate

    def fill(mirror: TableMirror, on_progress: OnProgress) -> dict[str, Any]:
        begin = monotonic()
        if mirror.operator is not None:
            summary = _backfill_remotely(mirror, mirror.operator, job, on_progress)
        else:
            operations = mirror.operations
            assert operations is not None
            if not new_views:
                operations.check_views()
            if rate:
                note_time(rebuild_time(operations.size(), rate, consistent=not eventual))
            items = operations.status().table_items
            work = Backfill(
                operations.rebuild(),
                segments=segments or operations.default_segments(),
                consistent=not eventual,
                rate=rate,
                on_progress=lambda now: _show(on_progress, now, items),
            )
            result = work.run(restart=restart)
            assert result is not None  # only a signal stops it
            summary = _fields(operations, result)
        return summary | {"seconds": round(monotonic() - begin, 1)}

    def show(summary: dict[str, Any], _mirror: TableMirror) -> int:
        if as_json:
            print_json(summary)
        else:
            _print_summary(summary)
        return int(not summary["complete"])

    work_on(mirror.mirrors(new_views=new_views), fill, show, as_json=as_json)


def _show(on_progress: OnProgress, now: BackfillProgress, items: int) -> None:
    if now.phase == "sweeping":
        on_progress("looking for orphaned entries", now.swept.entries, now.progress.applied or None)
    else:
        phase = f"waiting {now.detail}" if now.phase == "waiting" else "loading items"
        on_progress(phase, now.progress.items, items or None)


def _backfill_remotely(
    mirror: TableMirror, operator: Operator, job: dict[str, Any], on_progress: OnProgress
) -> dict[str, Any]:
    """Run the state machine, and return its result as the mirror's status reports it."""

    def show_status() -> Status:
        status = mirror.perform(StatusRequest(), Status)
        if status.progress is not None:
            on_progress("loading items", status.progress.items, status.table_items or None)
        return status

    operator.wait(operator.start(job, mirror.table), show_status)
    status = show_status()
    progress = msgspec.structs.asdict(status.progress) if status.progress else {}
    return {"table": status.table, "complete": status.complete, **progress}


def _fields(operations: Operations, result: BackfillProgress) -> dict[str, Any]:
    return {
        "table": operations.table,
        "complete": operations.status().complete,
        **msgspec.structs.asdict(result.progress),
        "left_over": result.swept.deleted,
        "unswept": [view.name for view in operations.views if not view.owns_its_keys],
    }


def _print_summary(summary: dict[str, Any]) -> None:
    typer.echo(
        f"table {summary['table']}: {counted(summary.get('items', 0), 'items')} read, "
        f"{counted(summary.get('applied', 0), 'entries')} applied, "
        f"{summary.get('stale', 0):,} stale, {summary.get('left_over', 0):,} orphaned and deleted, "
        f"in {summary['seconds']:.1f} s"
    )
    if summary.get("quarantined"):
        typer.echo(
            f"{counted(summary['quarantined'], 'items')} could not become entries; "
            f"`dynamirror quarantine --table {summary['table']}` shows why"
        )
    for view in summary.get("unswept", ()):
        typer.echo(
            f"view {view}: orphaned entries were not looked for, because its keys have no prefix "
            "of their own; set `exclusive = true` if the cache holds nothing else"
        )
    if summary["complete"]:
        typer.echo("the mirror is complete")
    else:
        typer.echo("the mirror is still incomplete; `dynamirror status` shows why")
