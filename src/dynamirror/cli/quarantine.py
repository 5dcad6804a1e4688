"""Commands on items that could not become entries: quarantine, redrive."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from dynamirror.cli import options
from dynamirror.cli.option_groups import with_option_groups
from dynamirror.cli.output import print_json
from dynamirror.cli.printable import printable
from dynamirror.cli.table_mirror import TableMirror, work_on
from dynamirror.counted import counted
from dynamirror.errors import OptionError
from dynamirror.operations.messages import (
    Quarantine,
    QuarantinedItem,
    QuarantineRequest,
    Redrive,
    RedriveRequest,
)
from dynamirror.operations.service import OnProgress, Operations

_WIDE = 240  # where there is no terminal to fit


@with_option_groups
def quarantine(
    *,
    mirror: options.MirrorOptions,
    discard: Annotated[
        str | None,
        typer.Option(
            metavar="ITEM",
            help="Drop this item, or `all`, from the list; entries do not change.",
        ),
    ] = None,
    as_json: options.JsonPerTable = False,
) -> None:
    """List the quarantined items of tables; exit with 0 only if there are none.

    These items could not become entries. Each is named by its key, or by its record without one.
    """
    mirrors = mirror.mirrors()
    if discard is not None and len(mirrors) > 1:
        names = ", ".join(str(mirror.table) for mirror in mirrors)
        raise OptionError(f"--discard: is for one table; name it with --table, one of {names}")

    def read(mirror: TableMirror, on_progress: OnProgress) -> Quarantine:
        return mirror.perform(QuarantineRequest(discard=discard), Quarantine, on_progress)

    def show(listing: Quarantine, _mirror: TableMirror) -> int:
        if listing.discarded is not None:
            if as_json:
                print_json({"table": listing.table, "discarded": listing.discarded})
            else:
                typer.echo(f"{counted(listing.discarded, 'items')} discarded")
            return 0
        _print_listing(listing, as_json=as_json)
        return int(bool(listing.items or listing.overflow))

    work_on(mirrors, read, show, as_json=as_json)


def _print_listing(listing: Quarantine, *, as_json: bool) -> None:
    if as_json:
        fields = {"table": listing.table, "items": listing.items, "overflow": listing.overflow}
        print_json(fields | ({"more": listing.more} if listing.more else {}))
        return
    count = len(listing.items) + listing.more
    typer.echo(f"{counted(count, 'items')} of table {listing.table} in quarantine")
    if listing.items:
        _print_items(listing.items)
    if listing.more:
        typer.echo(f"and {listing.more} more")
    _print_overflow(listing.table, listing.overflow)


def _print_items(items: Sequence[QuarantinedItem]) -> None:
    grid = Grid("item", "reason", "sequence number", "first", "last", "times", box=None)
    for item in items:
        cells = (item.item, item.reason, item.sequence_number, item.first, item.last)
        # Text, because a string would be read as markup.
        grid.add_row(*(Text(printable(cell), overflow="fold") for cell in cells), str(item.count))
    console = Console()
    console.width = console.width if console.is_terminal else _WIDE
    console.print(grid)


def _print_overflow(table: str, unlisted: int) -> None:
    if unlisted:
        typer.echo(
            f"{unlisted} times an item was not listed, because the quarantine was full; fix the "
            f"cause, then find the items with `dynamirror verify --table {table}`"
        )


@with_option_groups
def redrive(
    *,
    mirror: options.MirrorOptions,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until no item is too fresh.")
    ] = True,
    new_views: options.NewViews = False,
    as_json: options.JsonPerTable = False,
) -> None:
    """Read quarantined items from the table, and apply them; exit with 0 only if none is left.

    Run at any time, any number of times, also beside a live mirror.
    """

    def before(operations: Operations) -> None:
        if not new_views:
            operations.check_views()

    def work(mirror: TableMirror, on_progress: OnProgress) -> Redrive:
        return mirror.perform(RedriveRequest(wait=wait), Redrive, on_progress, before=before)

    def show(result: Redrive, _mirror: TableMirror) -> int:
        if as_json:
            print_json(_fields(result))
        else:
            _print_result(result)
            _print_overflow(result.table, result.overflow)
        return int(bool(result.left or result.overflow))

    work_on(mirror.mirrors(new_views=new_views), work, show, as_json=as_json)


def _fields(result: Redrive) -> dict[str, Any]:
    left = [
        msgspec.structs.asdict(left.item) | {"outcome": left.outcome, "reason": left.reason}
        for left in result.left
    ]
    return {
        "table": result.table,
        "healed": result.healed,
        "left": left,
        "overflow": result.overflow,
    }


def _print_result(result: Redrive) -> None:
    typer.echo(
        f"{counted(result.healed, 'items')} of table {result.table} healed, "
        f"{len(result.left) + result.more} left in quarantine"
    )
    for left in result.left:
        outcome = left.outcome.replace("_", " ")
        typer.echo(printable(f"  {left.item.item}: {outcome}: {left.reason}"))
    for view in result.changeable if result.healed else ():
        typer.echo(
            f"the keys of view {view} can change, so an entry under an old key may be orphaned; "
            f"find it with `dynamirror verify --table {result.table}`"
        )
