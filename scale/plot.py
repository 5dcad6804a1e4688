"""The page's picture, in SVG: text stays text, and the same results make the same bytes."""

from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from scale.results import Results

_STYLE: Any = {"svg.hashsalt": "dynamirror", "svg.fonttype": "none", "font.size": 9}
_COLOURS = ("#1f6feb", "#8250df", "#bc4c00", "#0b7568", "#6e7781")


def draw(results: Results, path: Path) -> None:
    """Draw the microseconds and the peak memory of each job by the size of the table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = Counter(job.name for job in results.single)
    names = [name for name, count in counts.items() if count > 1]
    sizes = sorted({job.items for job in results.single})
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, 3.2), layout="constrained")
        times, memory = figure.subplots(1, 2)
        for name, colour in zip(names, _COLOURS, strict=False):
            jobs = [job for job in results.single if job.name == name]
            times.plot(
                sizes, [job.cpu_microseconds for job in jobs], "o-", color=colour, label=name
            )
            memory.plot(sizes, [job.peak_mb for job in jobs], "o-", color=colour)
        for axes, label in ((times, "CPU time, µs an item"), (memory, "peak RSS of a worker, MB")):
            axes.set(xscale="log", xlabel="items", ylabel=label)
            axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.minorticks_off()
            axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(
            path,
            transparent=False,
            metadata={"Date": None, "Creator": None, "Identifier": results.fingerprint()},
        )
