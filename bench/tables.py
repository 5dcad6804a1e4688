"""A run on the terminal."""

from rich.console import Console
from rich.table import Table

from bench.cost import GB_SECOND, MILLION_REQUESTS, bills
from bench.results import Results


def show(results: Results, console: Console) -> None:
    """Print every figure, what a million changes cost, and what is promised."""
    figures = Table(title=f"medians; {results.machine['cpu']}, {results.machine['cores']} cores")
    for heading in ("figure", "median", "lowest", "highest", "unit", "times"):
        is_text = heading in ("figure", "unit")
        figures.add_column(heading, justify="left" if is_text else "right", overflow="fold")
    for name, figure in results.figures.items():
        values = (f"{value:,.5g}" for value in (figure.median, figure.low, figure.high))
        figures.add_row(name, *values, figure.unit, str(figure.taken))
    console.print(figures)
    if {"original.node.1ms", "apply.uniform.1.json.loopback"} <= results.figures.keys():
        console.print(_cost(results))
    promises = Table(title="what is promised")
    for heading in ("ratio", "measured", "promised", "to spare", ""):
        promises.add_column(heading, justify="left" if heading == "ratio" else "right")
    for ratio in results.ratios:
        kept = "kept" if ratio.is_kept else "[red]missed"
        promises.add_row(
            ratio.name, ratio.measured, ratio.promised, f"{ratio.headroom - 1:+.0%}", kept
        )
    console.print(promises)


def _cost(results: Results) -> Table:
    prices = ", ".join(f"{name} ${price:.10f} a GB-s" for name, price in GB_SECOND.items())
    table = Table(
        title="a million changes on Lambda, the cache 1 ms away",
        caption=f"${MILLION_REQUESTS:.2f} a million requests, {prices}",
    )
    for heading in ("", "MB", "requests", "billed each", "GB-s", *GB_SECOND):
        table.add_column(heading, justify="right" if heading else "left")
    for bill in bills(results):
        table.add_row(
            f"{bill.way}, {bill.batch:,} a batch",
            f"{bill.memory_mb:,}",
            f"{bill.requests:,.0f}",
            f"{bill.milliseconds:,} ms",
            f"{bill.gb_seconds:,.1f}",
            *(f"${bill.dollars(architecture):.4f}" for architecture in GB_SECOND),
        )
    return table
