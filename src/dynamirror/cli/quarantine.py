"""Commands on items that could not become entries: quarantine, redrive."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table as Grid
from rich.text import Text

from dynamirror.aws import describe_schema
from dynamirror.cache import Cache
from dynamirror.cli import options
from dynamirror.config import load_views
from dynamirror.errors import ConfigError
from dynamirror.quarantine import Listed, forget_overflow, listed, overflow, release
from dynamirror.redrive import Outcome, Redriven, redrive, seconds_to_wait
from dynamirror.rows import CONSISTENT_MARGIN, RowReader
from dynamirror.view import View, Views

# The youngest item is too fresh for as long as the margin; the rest is for clocks that differ.
_LONGEST_WAIT = CONSISTENT_MARGIN + 5
_WIDE = 240  # where there is no terminal to fit


def quarantine(
    *,
    table: options.Table,
    cache: options.CacheAddress = None,
    tls: options.Tls = None,
    forget: Annotated[
        str | None,
        typer.Option(
            metavar="ITEM",
            help="Drop this item from the list, or `all`; its entry stays as it is.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the items of a table that could not become entries; exit status 0 only if none is.

    Each is named by its key, or by its record where that does not tell the key. `redrive` heals.
    """
    if not table:
        raise ConfigError("--table: the name is empty; give the table's name")
    settings = options.read_settings(cache, tls=tls, config=None)
    target = Cache(settings)
    items, unlisted = listed(target, table), overflow(target, table)
    if forget is not None:
        _forget(target, table, forget, items, unlisted)
        return
    if as_json:
        found = [_fields(item) for item in items]
        typer.echo(options.to_json({"table": table, "items": found, "overflow": unlisted}))
    else:
        typer.echo(f"{len(items)} items of table {table} in quarantine")
        if items:
            _print(items)
        _print_overflow(table, unlisted)
    raise typer.Exit(int(bool(items or unlisted)))


def _forget(target: Cache, table: str, name: str, items: Sequence[Listed], unlisted: int) -> None:
    named = [item for item in items if name in ("all", item.name)]
    if not named and name != "all":
        raise ConfigError(f"--forget: {name} is not in the quarantine of table {table}")
    forgotten = sum(release(target, table, item) for item in named)
    if name == "all" and unlisted:
        forget_overflow(target, table, unlisted)
    typer.echo(f"{forgotten} items forgotten")


def _fields(item: Listed) -> dict[str, Any]:
    note = item.note
    return {
        "item": item.name,
        "key": item.key,
        "reason": note.reason,
        "sequence_number": note.sequence_number,
        "first": note.first,
        "last": note.last,
        "count": note.count,
    }


def _print(items: Sequence[Listed]) -> None:
    grid = Grid("item", "reason", "sequence number", "first", "last", "times", box=None)
    for item in items:
        note = item.note
        cells = (item.name, note.reason, note.sequence_number, note.first, note.last)
        grid.add_row(*map(_text, cells), str(note.count))
    console = Console()
    console.width = console.width if console.is_terminal else _WIDE
    console.print(grid)


def _text(text: str) -> Text:
    """What came from a table: never markup, and no control characters."""
    shown = (letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return Text("".join(shown), overflow="fold")


def _print_overflow(table: str, unlisted: int) -> None:
    if unlisted:
        typer.echo(
            f"{unlisted} times an item was not listed, since the quarantine was full: which ones "
            f"is not known; mend their cause, then `dynamirror verify --table {table}` tells what "
            "differs"
        )


def redrive_(
    *,
    table: options.Table,
    cache: options.CacheAddress = None,
    tls: options.Tls = None,
    config: options.Config = None,
    endpoint_url: options.EndpointUrl = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until no item is too fresh.")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Read items in quarantine from the table again, and write them; exit status 0 only if all are.

    Safe at any moment, beside a running mirror, and as often as one likes.
    """
    settings = options.read_settings(cache, tls=tls, config=config)
    client = options.read_aws(endpoint_url).dynamodb()
    schema, _description = describe_schema(client, table)
    views = Views(load_views(settings.config), lambda _table, _keys: schema).bind(schema)
    target, reader = Cache(settings), RowReader(client, table)
    kept: list[Redriven] = []
    healed = 0
    with options.interruptible(), _progress() as progress:
        items = listed(target, table)
        if wait:
            _wait(reader, items, progress)
        done = redrive(target, views, reader, items, fence_ttl=settings.fence_ttl)
        for one in progress.track(done, total=len(items), description="redriving"):
            if one.outcome is Outcome.HEALED:
                healed += 1
            else:
                kept.append(one)
    unlisted = overflow(target, table)
    if as_json:
        left = [_fields(one.item) | _outcome(one) for one in kept]
        summary = {"table": table, "healed": healed, "left": left, "overflow": unlisted}
        typer.echo(options.to_json(summary))
    else:
        _summarize(table, healed, kept, views)
        _print_overflow(table, unlisted)
    raise typer.Exit(int(bool(kept or unlisted)))


def _wait(reader: RowReader, items: Sequence[Listed], progress: Progress) -> None:
    if not items:
        return
    seconds = min(seconds_to_wait(items, reader.horizon()), _LONGEST_WAIT)
    if seconds:
        for _ in progress.track(range(seconds), description="waiting until none is too fresh"):
            time.sleep(1)
        reader.horizon()  # the rows are to be as new as now


def _outcome(one: Redriven) -> dict[str, str]:
    return {"outcome": one.outcome.value, "reason": one.reason}


def _summarize(table: str, healed: int, kept: Sequence[Redriven], views: Sequence[View]) -> None:
    typer.echo(f"{healed} items of table {table} healed, {len(kept)} left in quarantine")
    for one in kept:
        typer.echo(_text(f"  {one.item.name}: {one.outcome.replace('_', ' ')}: {one.reason}").plain)
    for view in views:
        if view.needs_old_image and healed:
            typer.echo(
                f"the keys of view {view.name} can change: an entry under an old key may be left; "
                f"`dynamirror verify --table {table}` finds it"
            )


def _progress() -> Progress:
    """A line on a terminal, nothing elsewhere; always on standard error."""
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:,.0f} of {task.total:,.0f}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
