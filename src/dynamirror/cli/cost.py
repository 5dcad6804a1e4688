"""The command that estimates what a mirror costs."""

from collections.abc import Sequence
from time import strptime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid

from dynamirror.cli import options
from dynamirror.cli.output import fitted, print_json
from dynamirror.costs import prices
from dynamirror.costs.alternatives import alternatives
from dynamirror.costs.figures import FRESH_SHARDS
from dynamirror.costs.model import monthly, total
from dynamirror.costs.workload import Workload
from dynamirror.dynamodb.client import describe_schema

_NARROW = 72  # columns below which texts stand below the names
_WIDE = 120  # where there is no terminal to fit
_ITEM_BYTES = 400.0
_MOST = 1e12


def cost(
    *,
    changes: Annotated[
        float, typer.Option(min=0, max=1e7, help="Changes of the table a second.")
    ] = 0.0,
    items: Annotated[
        float | None, typer.Option(min=0, max=_MOST, help="Items of the table. [default: 0]")
    ] = None,
    item_bytes: Annotated[
        float | None,
        typer.Option(
            "--bytes", min=1, max=409_600, help="Mean size of an item in bytes. [default: 400]"
        ),
    ] = None,
    shards: Annotated[
        int, typer.Option(min=1, max=100_000, help="Shards of the table's stream.")
    ] = FRESH_SHARDS,
    window: Annotated[
        float, typer.Option(min=0, max=10, help="Seconds of maxBatchingWindow.")
    ] = 0.0,
    reads: Annotated[
        float, typer.Option(min=0, max=1e9, help="Entries that applications read a second.")
    ] = 0.0,
    audit_every: Annotated[
        int, typer.Option(min=0, max=1_440, help="Minutes of auditEvery; 0 for no auditor.")
    ] = 5,
    audit_units: Annotated[
        float | None,
        typer.Option(
            min=1, max=1e12, help="Read units a day of auditUnits. [default: a round a day]"
        ),
    ] = None,
    log_batches: Annotated[
        bool, typer.Option("--log-batches", help="Count the lines of logBatches.")
    ] = False,
    inspect: Annotated[
        float,
        typer.Option("--inspect", min=0, max=1, help="Share of inspectorShare; 0 for none."),
    ] = 0.0,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            "-t",
            metavar="NAME",
            help="Existing table; its description gives items and bytes.",
        ),
    ] = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Estimate what a mirror costs a month, by part, beside nodes of DAX and ElastiCache.

    The prices are list prices in us-east-1. docs/costs.md has the assumptions.
    """
    for option, value, needed, present in (
        ("--endpoint-url", endpoint_url, "--table", table is not None),
        ("--audit-units", audit_units, "an --audit-every above 0", audit_every > 0),
    ):
        options.check_applies(option, given=value is not None, needed=needed, present=present)
    if table:
        found_items, found_bytes = _described(table, endpoint_url)
        items = found_items if items is None else items
        item_bytes = found_bytes if item_bytes is None else item_bytes
    work = Workload(
        changes=changes,
        items=items or 0.0,
        item_bytes=item_bytes or _ITEM_BYTES,
        shards=shards,
        window=window,
        reads=reads,
        audit_minutes=audit_every or None,
        audit_units=audit_units,
        log_batches=log_batches,
        inspected=inspect,
    )
    if as_json:
        print_json(_fields(work))
    else:
        _print(work)


def _described(table: str, endpoint_url: str | None) -> tuple[float, float | None]:
    """Return the number of items of a table and their mean size; DynamoDB counts every six hours.

    Raises:
        SourceError: the table cannot be described.
    """
    _, description = describe_schema(options.read_aws(endpoint_url).dynamodb(), table)
    items, size = description.get("ItemCount", 0), description.get("TableSizeBytes", 0)
    return items, size / items if items and size else None


def _fields(work: Workload) -> dict[str, Any]:
    parts = monthly(work)
    return {
        "workload": work,
        "lag": {"mean": work.polling.wait, "most": work.polling.longest_wait},
        "parts": parts,
        "total": total(parts),
        "alternatives": alternatives(work),
        "region": prices.REGION,
        "prices": [*prices.PRICES],
    }


def _print(work: Workload) -> None:
    parts = monthly(work)
    console = Console()
    console.width = console.width if console.is_terminal else _WIDE
    rows = [(part.name, part.dollars, part.quantity, part.less.replace("`", "")) for part in parts]
    rows.append(("sum", total(parts), "", ""))
    _print_table(console, ("part", "of", "less by"), rows)
    others = [(other.name, other.dollars, other.quantity) for other in alternatives(work)]
    _print_table(console, ("beside", "of"), others)
    polling = work.polling
    notes = (
        f"A change waits {polling.wait:.2f} s for Lambda on average, "
        f"{polling.longest_wait:.2f} s at most.\n"
        f"List prices in {prices.REGION}, {_dates()}; `--json` lists each. Without the free tier, "
        "the table itself, rebuilds and traffic between zones."
    )
    typer.echo(fitted(notes, 0))


def _print_table(
    console: Console, names: Sequence[str], rows: Sequence[tuple[str, float, *tuple[str, ...]]]
) -> None:
    """Print rows of a name, dollars and texts, which stand below on a narrow terminal."""
    first, *others = names
    is_wide = console.width >= _NARROW
    grid = Grid(first, box=None)
    grid.add_column("$ a month", justify="right")
    for name in others if is_wide else ():
        grid.add_column(name)
    for label, dollars, *texts in rows:
        style = "bold" if label == "sum" else None
        grid.add_row(label, f"{dollars:,.2f}", *texts if is_wide else (), style=style)
        for name, text in zip(others, texts, strict=True):
            if text and not is_wide:
                grid.add_row(Padding(f"{name} {text}", (0, 0, 0, 2)), style="dim")
    console.print(grid)
    console.print()


def _dates() -> str:
    nodes = (prices.CACHE_NODES_AS_OF, prices.DAX_NODES_AS_OF)
    dates = {*nodes, *(price.as_of for price in prices.PRICES)}
    months = sorted(dates, key=lambda date: strptime(date, "%B %Y"))
    return f"{months[0]} to {months[-1]}"
