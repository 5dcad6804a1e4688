"""A run on the terminal."""

from rich.console import Console
from rich.table import Table

from results import Results


def show(results: Results, console: Console) -> None:
    """Print every figure, and what is promised."""
    figures = Table(title=f"medians; {results.machine['cpu']}, {results.machine['cores']} cores")
    for heading in ("figure", "median", "lowest", "highest", "unit", "times"):
        figures.add_column(heading, justify="left" if heading in ("figure", "unit") else "right")
    for name, figure in results.figures.items():
        values = (f"{value:,.5g}" for value in (figure.median, figure.low, figure.high))
        figures.add_row(name, *values, figure.unit, str(figure.taken))
    console.print(figures)
    promises = Table(title="what is promised")
    for heading in ("ratio", "measured", "promised", ""):
        promises.add_column(heading, justify="left" if heading == "ratio" else "right")
    for ratio in results.ratios:
        bound = f"{'at least' if ratio.at_least else 'at most'} {ratio.bound:g}"
        promises.add_row(
            ratio.name, f"{ratio.value:g}", bound, "kept" if ratio.is_kept else "[red]missed"
        )
    console.print(promises)
