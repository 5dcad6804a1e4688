"""The page's picture, in SVG: text stays text, and the same results make the same bytes."""

import hashlib
from pathlib import Path
from typing import Any

import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure

from soak.results import Outcome, Results, staleness_labels

_STYLE: Any = {"svg.hashsalt": "dynamirror", "svg.fonttype": "none", "font.size": 9}
_OURS, _THEIRS = "#1f6feb", "#bc4c00"


def draw(results: Results, path: Path) -> None:
    """Draw the histogram of staleness, ours beside the original's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = staleness_labels()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, 3), layout="constrained")
        axes = figure.add_subplot()
        pairs = (("dynamirror", results.ours, _OURS), ("original", results.original, _THEIRS))
        for offset, (name, outcome, colour) in zip((-0.2, 0.2), pairs, strict=True):
            places = [place + offset for place in range(len(labels))]
            axes.bar(places, _shares(outcome), 0.4, color=colour, label=name)
        axes.set(
            yscale="log",
            xlabel="age at which a check was first seen consistent, in seconds",
            ylabel="share of the checks, %",
        )
        axes.set_xticks(range(len(labels)), labels)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        figure.savefig(
            path,
            transparent=False,
            metadata={"Date": None, "Creator": None, "Identifier": fingerprint(results)},
        )


def fingerprint(results: Results) -> str:
    """Return what stands in the picture for the record of its run."""
    return hashlib.sha256(msgspec.json.encode(results)).hexdigest()[:16]


def _shares(outcome: Outcome) -> list[float]:
    return [100 * count / max(1, outcome.checks) for count in outcome.staleness]
