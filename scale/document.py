"""Make docs/scale.md and its picture from scale/results.json: `python -m scale.document`.

The prose is in document.md, beside this file. Each `{name}` in it is replaced by a part.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from dynamirror.costs import figures, prices, whole_table
from dynamirror.costs.whole_table import forecast
from dynamirror.settings import FIRST_ECPUS
from scale.report import COLUMNS
from scale.results import Results, read

_ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = _ROOT / "docs" / "scale.md"
PICTURE: Final = _ROOT / "docs" / "images" / "scale.svg"
_PROSE: Final = Path(__file__).with_name("document.md")
_SIZES: Final = {"100 million": 100_000_000, "a billion": 1_000_000_000}
_CONCURRENCY: Final = (8, 32, 128)
_MILLION: Final = 1_000_000
_PRICES: Final = (
    prices.REQUESTS,
    prices.GB_SECONDS_ARM64,
    prices.READ_UNITS,
    prices.ECPUS,
    prices.TRANSITIONS,
)


def make() -> None:
    """Write the page and its picture."""
    from scale import plot  # noqa: PLC0415 - matplotlib takes half a second to import

    results = read()
    PAGE.write_text(render(results), encoding="utf-8")
    plot.draw(results, PICTURE)


def render(results: Results) -> str:
    """Return the page's text."""
    text = _PROSE.read_text(encoding="utf-8")
    return re.sub(r"\{(\w+)\}", lambda found: _PARTS[found[1]](results), text)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))


def _jobs(results: Results) -> str:
    return _table(list(COLUMNS), [[text(job) for text in COLUMNS.values()] for job in results.jobs])


def _promises(results: Results) -> str:
    rows = [
        (
            promise.name,
            f"{promise.value:.3g}",
            f"{promise.bound:g}",
            "yes" if promise.is_kept else "**missed**",
        )
        for promise in results.promises()
    ]
    return _table(("ratio", "measured", "at most", "kept"), rows)


def _forecasts(results: Results) -> str:
    rows = []
    for job in results.costs():
        for label, items in _SIZES.items():
            found = forecast(job, items)
            rows.append(
                (
                    f"{job.name}, {label}",
                    *(_hours(found.hours(concurrency)) for concurrency in _CONCURRENCY),
                    f"{found.read_units / _MILLION:,.0f} M",
                    f"{found.ecpus / _MILLION:,.0f} M",
                    f"{found.gb_seconds:,.0f}",
                    f"{found.invocations:,}",
                    f"${found.dollars:,.2f}",
                )
            )
    times = (f"{concurrency:,} at a time" for concurrency in _CONCURRENCY)
    return _table(
        ("job", *times, "read units", "ECPUs", "GB-seconds", "invocations", "dollars"), rows
    )


def _rates(results: Results) -> str:
    rows = []
    for job in results.costs():
        found = forecast(job, _SIZES["a billion"])
        rows.append(
            (
                job.name,
                *(f"{found.read_units_a_second(each):,.0f}" for each in _CONCURRENCY),
                *(f"{found.ecpus_a_second(each):,.0f}" for each in _CONCURRENCY),
            )
        )
    heads = [
        f"{unit}, {each:,} at a time" for unit in ("read units", "ECPUs") for each in _CONCURRENCY
    ]
    return _table(("job", *heads), rows)


def _prices(_results: Results) -> str:
    rows = [
        (f"[{price.name}]({price.source})", _decimal(price.dollars), price.unit, price.as_of)
        for price in _PRICES
    ]
    return _table(("what", "dollars", "unit", "as of"), rows)


def _decimal(number: float) -> str:
    return f"{number:.10f}".rstrip("0").rstrip(".")


def _hours(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    minutes = hours * 60
    return f"{minutes:,.0f} min" if minutes >= 1 else f"{minutes * 60:,.0f} s"


_PARTS: Final[dict[str, Callable[[Results], str]]] = {
    "jobs": _jobs,
    "promises": _promises,
    "forecasts": _forecasts,
    "rates": _rates,
    "prices": _prices,
    "item_bytes": lambda results: f"{results.item_bytes}",
    "limit": lambda results: results.options["limit"],
    "kills": lambda results: results.options["kills"],
    "workers": lambda results: results.options["workers"],
    "cores": lambda results: results.machine["cores"],
    "cpu": lambda results: results.machine["cpu"],
    "minutes": lambda results: f"{results.seconds / 60:.0f}",
    "date": lambda results: results.date,
    "boto3_scanned": lambda results: f"{results.boto3.scanned:.0f}",
    "boto3_looked_up": lambda results: f"{results.boto3.looked_up:.0f}",
    "script_ecpus": lambda _results: f"{figures.CHANGE_ECPUS:g}",
    "key_ecpus": lambda _results: f"{figures.SCANNED_KEY_ECPUS:g}",
    "page_wait": lambda _results: f"{whole_table.PAGE_WAIT_US / 1000:g}",
    "look_up_wait": lambda _results: f"{whole_table.LOOK_UP_WAIT_US / 1000:g}",
    "cache_wait": lambda _results: f"{figures.RECORD_WAIT_US:g}",
    "first_ecpus": lambda _results: f"{FIRST_ECPUS:,}",
}


if __name__ == "__main__":
    make()
