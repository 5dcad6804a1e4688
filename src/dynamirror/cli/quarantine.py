"""Commands on items that could not become entries: quarantine, redrive."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from dynamirror.cli import options
from dynamirror.operations import (
    Quarantine,
    QuarantinedItem,
    QuarantineRequest,
    Redrive,
    RedriveRequest,
)

_WIDE = 240  # where there is no terminal to fit


def quarantine(
    *,
    table: options.TableUnlessVia = None,
    cache: options.CacheAddress = None,
    tls: options.Tls = None,
    endpoint_url: options.EndpointUrl = None,
    via: options.Via = None,
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
    found = options.perform(
        QuarantineRequest(forget=forget),
        Quarantine,
        via=via,
        table=table,
        cache=cache,
        tls=tls,
        endpoint_url=endpoint_url,
    )
    if found.forgotten is not None:
        typer.echo(f"{found.forgotten} items forgotten")
        return
    if as_json:
        shown = {"table": found.table, "items": found.items, "overflow": found.overflow}
        typer.echo(options.to_json(shown | ({"more": found.more} if found.more else {})))
    else:
        count = len(found.items) + found.more
        typer.echo(f"{count} items of table {found.table} in quarantine")
        if found.items:
            _print(found.items)
        if found.more:
            typer.echo(f"and {found.more} more")
        _print_overflow(found.table, found.overflow)
    raise typer.Exit(int(bool(found.items or found.overflow)))


def _print(items: Sequence[QuarantinedItem]) -> None:
    grid = Grid("item", "reason", "sequence number", "first", "last", "times", box=None)
    for item in items:
        cells = (item.item, item.reason, item.sequence_number, item.first, item.last)
        grid.add_row(*map(_text, cells), str(item.count))
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
    table: options.TableUnlessVia = None,
    cache: options.CacheAddress = None,
    tls: options.Tls = None,
    config: options.Config = None,
    endpoint_url: options.EndpointUrl = None,
    via: options.Via = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until no item is too fresh.")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Read items in quarantine from the table again, and write them; exit status 0 only if all are.

    Safe at any moment, beside a running mirror, and as often as one likes.
    """
    done = options.perform(
        RedriveRequest(wait=wait),
        Redrive,
        via=via,
        table=table,
        cache=cache,
        tls=tls,
        config=config,
        endpoint_url=endpoint_url,
    )
    if as_json:
        typer.echo(options.to_json(_fields(done)))
    else:
        _summarize(done)
        _print_overflow(done.table, done.overflow)
    raise typer.Exit(int(bool(done.left or done.overflow)))


def _fields(done: Redrive) -> dict[str, Any]:
    left = [
        msgspec.structs.asdict(one.item) | {"outcome": one.outcome, "reason": one.reason}
        for one in done.left
    ]
    return {"table": done.table, "healed": done.healed, "left": left, "overflow": done.overflow}


def _summarize(done: Redrive) -> None:
    typer.echo(
        f"{done.healed} items of table {done.table} healed, "
        f"{len(done.left) + done.more} left in quarantine"
    )
    for one in done.left:
        typer.echo(_text(f"  {one.item.item}: {one.outcome.replace('_', ' ')}: {one.reason}").plain)
    for view in done.changeable if done.healed else ():
        typer.echo(
            f"the keys of view {view} can change: an entry under an old key may be left; "
            f"`dynamirror verify --table {done.table}` finds it"
        )
