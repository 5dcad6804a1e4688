"""Make docs/consistency.md and its picture from soak/results.json: `python -m soak.document`.

The prose is in document.md, beside this file. Each `{name}` in it is replaced by a part.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools.markdown import table

from dynamirror.inspection import statistics
from dynamirror.inspection.tally import Within, threshold_text
from soak.results import Outcome, Results, read, share_text

_ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = _ROOT / "docs" / "consistency.md"
PICTURE: Final = _ROOT / "docs" / "images" / "consistency.svg"
_PROSE: Final = Path(__file__).with_name("document.md")
_TEN_NINES: Final = 3e10
_YEAR: Final = 365.25 * 86_400
_KINDS: Final = {
    "wrong_value": "the value or the expiry is another",
    "missing": "there is no entry",
    "should_be_gone": "there is an entry, and there should be none",
    "wrong_index": "the member of the index is missing, is in another place, or should be gone",
    "went_backwards": "the entry is older than it was seen before",
}


def make() -> None:
    """Write the page and its picture."""
    from soak import plot  # noqa: PLC0415 - matplotlib takes half a second to import

    results = read()
    PAGE.write_text(render(results), encoding="utf-8")
    plot.draw(results, PICTURE)


def render(results: Results) -> str:
    """Return the page's text."""
    text = _PROSE.read_text(encoding="utf-8")
    return re.sub(r"\{(\w+)\}", lambda found: _PARTS[found[1]](results), text)


def _proven(answers: Within) -> str:
    failures = answers.asked - answers.consistent
    return f"{statistics.proven_nines(failures, answers.asked):.1f}"


def _thresholds(results: Results) -> str:
    ours = results.ours
    rows = []
    for threshold in ours.thresholds:
        name = threshold_text(threshold)
        outside, inside = ours.outside.get(name, Within()), ours.inside.get(name, Within())
        rows.append(
            (
                f"within {name} s",
                f"{outside.asked:,}",
                f"{outside.asked - outside.consistent:,}",
                share_text(outside),
                _proven(outside),
                f"{inside.asked:,}",
                share_text(inside),
                f"{ours.within(threshold).undecided:,}",
            )
        )
    heads = ("age", "asked", "not consistent", "consistent", "nines, at least")
    return table((*heads, "asked in outages", "consistent there", "undecided"), rows)


def _scope(results: Results) -> str:
    """Return what the run did not reach of the target, if anything."""
    missed = results.ours.missed(is_whole=True)
    if not missed:
        return "This run kept all that `make soak ARGS=--strict` promises."
    return f"This run fell short of what `make soak ARGS=--strict` promises: {'; '.join(missed)}."


def _violations(results: Results) -> str:
    rows = [
        (f"`{kind}`", f"{count:,}", _KINDS[kind]) for kind, count in results.ours.violations.items()
    ]
    return table(("violation", "times", "meaning"), rows).replace("---: | ---:", "---: | ---")


def _faults(results: Results) -> str:
    rows = [(name, f"{count}") for name, count in sorted(results.ours.faults.items())]
    return table(("fault", "times"), rows)


def _costs(results: Results) -> str:
    ours = results.ours
    rows = [
        (name, f"{1e6 * seconds / ours.written:.0f}") for name, seconds in ours.cpu_seconds.items()
    ]
    return table(("part", "µs"), rows)


def _comparison(results: Results) -> str:
    rows = []
    for name, outcome in (("dynamirror", results.ours), ("the original's way", results.original)):
        last = outcome.within(outcome.thresholds[-1])
        rows.append(
            (
                name,
                f"{outcome.decided:,}",
                f"{outcome.violated:,}",
                share_text(outcome.within(outcome.thresholds[0])),
                share_text(last),
                f"{outcome.nines:.1f}",
                f"{outcome.differences:,} of {outcome.items:,}",
            )
        )
    heads = ("", "checks", "violations", "within 1 s", "within the last age", "nines, at least")
    return table((*heads, "differences in the end"), rows)


def _counted(faults: Mapping[str, int]) -> str:
    return (
        "\n".join(f"  - {name} ({count})" for name, count in sorted(faults.items())) or "  - none"
    )


def _checks_per_second(outcome: Outcome) -> float:
    return outcome.decided / outcome.seconds


_PARTS: Final[dict[str, Callable[[Results], str]]] = {
    "sentence": lambda results: results.ours.sentence(),
    "scope": _scope,
    "thresholds": _thresholds,
    "violations": _violations,
    "faults": _faults,
    "costs": _costs,
    "comparison": _comparison,
    "in_outages": lambda results: f"{results.ours.violated_in_outages:,}",
    "outages": lambda results: f"{results.ours.outages}",
    "outage_seconds": lambda results: f"{results.ours.outage_seconds:,.0f}",
    "took": lambda results: f"{results.ours.took:,.0f}",
    "items": lambda results: f"{results.ours.items:,}",
    "differences": lambda results: f"{results.ours.differences:,}",
    "rate": lambda results: f"{results.ours.rate:,.0f}",
    "seconds": lambda results: f"{results.ours.seconds:,.0f}",
    "written": lambda results: f"{results.ours.written:,}",
    "workers": lambda _results: "three",
    "delivered": lambda results: f"{results.ours.delivered.records:,}",
    "batches": lambda results: f"{results.ours.delivered.batches:,}",
    "failures": lambda results: f"{results.ours.delivered.failures:,}",
    "original_seconds": lambda results: f"{results.original.seconds:,.0f}",
    "original_given_up": lambda results: f"{results.original.delivered.given_up:,}",
    "original_faults": lambda results: _counted(results.original.faults),
    "original_last": lambda results: threshold_text(results.original.thresholds[-1]),
    "checks_per_second": lambda results: f"{_checks_per_second(results.ours):,.0f}",
    "years": lambda results: f"{_TEN_NINES / _checks_per_second(results.ours) / _YEAR:.1f}",
    "days": lambda _results: f"{_TEN_NINES / 10_000 / 86_400:.0f}",
    "cores": lambda results: results.machine["cores"],
    "cpu": lambda results: results.machine["cpu"],
    "python": lambda results: results.machine["python"],
    "load": lambda results: results.machine["load"],
    "date": lambda results: results.date,
}


if __name__ == "__main__":
    make()
