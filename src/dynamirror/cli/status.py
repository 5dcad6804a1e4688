"""The state of a mirror, shown once or repeatedly."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from dynamirror.cache.heartbeat import SeenReplicator, duration
from dynamirror.cli import options
from dynamirror.cli.interrupts import interruptible
from dynamirror.cli.option_groups import with_option_groups
from dynamirror.cli.output import fitted, print_json
from dynamirror.cli.table_mirror import (
    TableMirror,
    closing_caches,
    named,
    print_json_of,
    work_on,
)
from dynamirror.counted import counted
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.inspection import report
from dynamirror.inspection.tally import Tally
from dynamirror.operations.messages import DEFAULT_MAX_LAG, Status, StatusRequest
from dynamirror.operations.service import OnProgress
from dynamirror.recovery.rebuild_state import TotalProgress
from dynamirror.recovery.sweep import TotalSwept

_INTERVAL_SECONDS = 2.0
_INDENT = 14  # columns before the values


@with_option_groups
def status(
    *,
    mirror: options.MirrorOptions,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until stopped.")] = False,
    interval: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=options.DAY,
            metavar="SECONDS",
            help="Time between reports of --watch. [default: 2]",
        ),
    ] = None,
    max_lag: Annotated[
        float,
        typer.Option(
            min=0,
            max=options.YEAR,
            metavar="SECONDS",
            help="How far behind the table a live mirror may be.",
        ),
    ] = DEFAULT_MAX_LAG,
    as_json: options.JsonPerTable = False,
) -> None:
    """Show whether the mirror of each table is complete and live; exit with 0 only if all are both.

    It is complete if every change is in the cache, or on its way in the stream. It is live if its
    replicator was seen lately, and keeps the cache at most --max-lag behind the table.

    With --watch, Ctrl-C ends the command with exit status 130.
    """
    options.check_applies("--interval", given=interval is not None, needed="--watch", present=watch)
    mirrors = mirror.mirrors()

    def read(mirror: TableMirror, on_progress: OnProgress) -> Status:
        return mirror.perform(StatusRequest(max_lag), Status, on_progress)

    def show(state: Status, _mirror: TableMirror) -> int:
        if as_json:
            print_json(_json(state))
        else:
            typer.echo(fitted("\n".join(lines(state)), _INDENT))
        return int(not (state.complete and state.live))

    if watch:
        with interruptible(), closing_caches(mirrors):
            _watch(mirrors, max_lag, interval or _INTERVAL_SECONDS, as_json=as_json)
    work_on(mirrors, read, show, as_json=as_json)


def _watch(
    mirrors: Sequence[TableMirror], max_lag: float, interval: float, *, as_json: bool
) -> NoReturn:
    """Show the status until interrupted: redrawn on a terminal, line by line elsewhere."""

    def read(mirror: TableMirror) -> Status | DynamirrorError:
        """Return the error where there is no status: an outage must not end the watch."""
        try:
            return mirror.perform(StatusRequest(max_lag), Status)
        except DynamirrorError as error:
            if isinstance(error, ConfigError) and len(mirrors) == 1:
                raise
            return error

    console = Console()
    if as_json or not console.is_terminal:
        while True:
            for mirror in mirrors:
                _print_state(read(mirror), mirror, as_json=as_json)
            time.sleep(interval)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            blocks = ("\n".join(_timed_lines(read(mirror), mirror)) for mirror in mirrors)
            # Text, because names from the table would be read as markup.
            live.update(Text("\n\n".join(blocks)), refresh=True)
            time.sleep(interval)


def _print_state(state: Status | DynamirrorError, mirror: TableMirror, *, as_json: bool) -> None:
    if not as_json:
        typer.echo("\n".join(_timed_lines(state, mirror)))
    elif isinstance(state, DynamirrorError):
        print_json_of(mirror.table, {"error": named(mirror.table, state)})
    else:
        print_json(_json(state))


def _json(state: Status) -> dict[str, Any]:
    """Return a status for programs, with an inspection in the form of all commands."""
    fields: dict[str, Any] = msgspec.to_builtins(state)
    if state.inspection is not None:
        fields["inspection"] = state.inspection.to_json()
    return fields


def _timed_lines(state: Status | DynamirrorError, mirror: TableMirror) -> Iterator[str]:
    at = datetime.now(UTC).strftime("%H:%M:%S UTC")
    if isinstance(state, DynamirrorError):
        yield f"{at}: {named(mirror.table, state)}"
    else:
        first, *rest = lines(state)
        yield f"{at}: {first}"
        yield from rest


def lines(state: Status) -> Iterator[str]:
    """Yield a status as lines of text."""
    if state.complete:
        live = "and live" if state.live else f"but not live: {state.not_live}"
        yield f"table {state.table}: the mirror is complete, since {_time(state.since)}, {live}"
    else:
        yield f"table {state.table}: the mirror is incomplete: {state.reason}"
        yield f"  live        {'yes' if state.live else f'no: {state.not_live}'}"
    yield from _who_runs(state)
    yield f"  stream      {state.stream or 'none yet'}"
    if state.table_stream != state.stream:
        yield f"  the table's {state.table_stream or 'is off'}"
    for shard, checkpoint in sorted(state.positions.items()):
        read = "read to its end" if checkpoint.finished else f"read up to {checkpoint.after or '-'}"
        written = "" if checkpoint.created is None else f", written {_time(checkpoint.created)}"
        yield f"  shard       {shard}: {read}{written}"
    yield from _rebuild(state)
    if state.canary is not None:
        age = max(0.0, state.at - state.canary)
        yield f"  canary      written {_time(state.canary)}, {age:,.0f} s ago, applied"
    if state.lag is not None:
        yield f"  lag         {state.lag:,.0f} s since the newest applied change was written"
    if state.audited is not None:
        yield f"  audit       {_audit(state)}"
    if state.inspection is not None:
        yield from _inspection(state.inspection)
    overflow = f", and {state.overflow} times one was not listed" if state.overflow else ""
    yield f"  quarantine  {counted(state.quarantined, 'items')}{overflow}"
    yield f"  eviction    {state.eviction or 'unknown'}"
    for warning in state.warnings:
        yield f"  warning     {warning}"


def _inspection(tally: Tally) -> Iterator[str]:
    label = "inspection"
    for line in report.lines(tally):
        yield f"  {label:<11} {line}"
        label = ""


def _rebuild(state: Status) -> Iterator[str]:
    """Yield the lines of the newest rebuild, with its sweep once all items are loaded."""
    progress, swept = state.progress, state.swept
    if state.rebuild is None or progress is None:
        return
    finished = state.rebuild.finished
    yield (
        f"  rebuild     begun {state.rebuild.begun}, "
        f"{f'finished {finished}' if finished else 'not finished'}: "
        f"{_parts(progress)}{counted(progress.items, 'items')} read, "
        f"{counted(progress.applied, 'entries')} applied"
    )
    if swept is not None and progress.done:
        yield (
            f"  sweep       {'finished' if swept.done else 'not finished'}: "
            f"{_parts(swept)}{counted(swept.entries, 'entries')} seen, "
            f"{swept.deleted:,} orphaned and deleted"
        )


def _parts(total: TotalProgress | TotalSwept) -> str:
    """Return how many parts are done; empty where their number is not known."""
    return f"{total.parts_done:,} of {total.parts:,} parts, " if total.parts else ""


def _who_runs(state: Status) -> Iterator[str]:
    if state.replicator is not None:
        yield f"  replicator  {_replicator(state.replicator)}"
    if state.leader is not None:
        yield f"  leader      {state.leader.who}, since {_time(state.leader.since)}"


def _replicator(replicator: SeenReplicator) -> str:
    text = (
        f"{replicator.who}, seen {duration(replicator.seen)} ago, "
        f"at most {duration(replicator.behind)} behind"
    )
    if replicator.sequence_number is not None:
        text += f", applied {replicator.sequence_number}"
    if replicator.created is not None:
        text += f", written {_time(replicator.created)}"
    return text


def _audit(state: Status) -> str:
    audit = state.audited
    assert audit is not None
    part = f"part {audit.part + 1} of {audit.of}, {audit.at}"
    if audit.round_seconds is not None:
        part += f", a round takes {duration(audit.round_seconds)}"
    comparison = audit.comparison
    if comparison is None:
        return f"{part}: not compared, because the mirror was incomplete"
    return (
        f"{part}: {counted(comparison.items, 'items')}, "
        f"{counted(comparison.differences, 'differences')}, {comparison.repaired:,} repaired"
    )


def _time(seconds: float | None) -> str:
    if not seconds or seconds == 1:
        return "the table was created"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
