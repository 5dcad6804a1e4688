"""The page's pictures, in SVG: text stays text, and the same results make the same bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.cost import DEFAULT_MB, bills
from bench.results import Record, Results

_OURS, _HOT, _THEIRS, _LIMIT = "#1f6feb", "#8250df", "#bc4c00", "#6e7781"
_STYLE: Any = {"svg.hashsalt": "dynamirror", "svg.fonttype": "none", "font.size": 9}


def draw(record: Record, folder: Path) -> None:
    """Draw all pictures from the worst of the recorded runs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in PLOTS.items():
        with mpl.rc_context(_STYLE):
            figure = Figure(figsize=(7, 3), layout="constrained")
            axes = figure.add_subplot()
            axes.spines[["top", "right"]].set_visible(False)
            plot(axes, record.worst)
            figure.savefig(
                folder / f"{name}.svg",
                transparent=False,
                metadata={"Date": None, "Creator": None, "Identifier": record.fingerprint()},
            )


def _apply(axes: Axes, results: Results) -> None:
    """Records a second by batch size, near and far, beside the original's way and the ceiling."""
    batches = ("100", "1000", "10000")
    places = [f"{int(batch):,}" for batch in batches]
    for kind, colour, what in (("uniform", _OURS, "different items"), ("hot", _HOT, "100 items")):
        for away, line in (("loopback", "-"), ("1ms", "--")):
            rates = [results.median(f"apply.{kind}.{batch}.json.{away}") for batch in batches]
            said = "loopback" if away == "loopback" else "1 ms away"
            axes.plot(places, rates, line, marker="o", color=colour, label=f"{what}, {said}")
    for away, line in (("loopback", "-"), ("1ms", "--")):
        said = "loopback" if away == "loopback" else "1 ms away"
        rate = results.median(f"original.node.{away}")
        axes.axhline(rate, linestyle=line, color=_THEIRS, label=f"original, {said}")
    axes.axhline(
        results.median("ceiling.evalsha"), linestyle=":", color=_LIMIT, label="EVALSHA ceiling"
    )
    axes.set(yscale="log", xlabel="records a batch", ylabel="records a second")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def _start(axes: Axes, results: Results) -> None:
    """Milliseconds until the first record is applied."""
    bars = {
        "original, Node.js": ("start.node", _THEIRS),
        "original, Node.js, TLS": ("start.node.tls", _THEIRS),
        "dynamirror": ("start.packaged", _OURS),
        "dynamirror, TLS": ("start.packaged.tls", _OURS),
    }
    bars = {label: bar for label, bar in bars.items() if bar[0] in results.figures}
    values = [results.median(name) for name, _ in bars.values()]
    drawn = axes.barh(list(bars), values, color=[colour for _, colour in bars.values()])
    axes.bar_label(drawn, labels=[f"{value:.0f} ms" for value in values], padding=3)
    axes.set(xlabel="ms from the start of the process to the first record applied")


def _cost(axes: Axes, results: Results) -> None:
    """Dollars for a million changes."""
    made = [bill for bill in bills(results) if bill.memory_mb == DEFAULT_MB]
    names = [f"{bill.way}, {bill.batch:,} a batch" for bill in made]
    values = [bill.dollars("arm64") for bill in made]
    colours = [_THEIRS if bill.way == "original" else _OURS for bill in made]
    # Points, not bars: on a logarithmic axis a bar's length says nothing.
    axes.scatter(values, names, color=colours)
    for value, name in zip(values, names, strict=True):
        axes.annotate(
            f"${value:.4f}", (value, name), (8, 0), textcoords="offset points", va="center"
        )
    axes.set(xscale="log", xlabel="dollars for a million changes, arm64, 1,024 MB")
    axes.set_xlim(min(values) / 2, max(values) * 3)
    axes.invert_yaxis()
    axes.margins(y=0.15)


PLOTS: dict[str, Callable[[Axes, Results], None]] = {
    "performance-apply": _apply,
    "performance-start": _start,
    "performance-cost": _cost,
}
