"""Make docs/scale.md and its picture from scale/results.json: `python -m scale.document`.

The prose is in document.md, beside this file. Each `{name}` in it is replaced by a part.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tools.markdown import table

from dynamirror.costs import figures, prices, whole_table
from dynamirror.costs.whole_table import Forecast, JobCost, forecast
from dynamirror.functions.auditor import AuditSettings
from dynamirror.recovery.division import default_segments
from dynamirror.recovery.fill_rate import DOUBLING_SECONDS, FillRate
from dynamirror.recovery.limits import TableSize, lanes
from dynamirror.settings import FIRST_ECPUS
from scale.report import COLUMNS
from scale.results import Results, read

_ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = _ROOT / "docs" / "scale.md"
PICTURE: Final = _ROOT / "docs" / "images" / "scale.svg"
_PROSE: Final = Path(__file__).with_name("document.md")
_SIZES: Final = {"100 million": 100_000_000, "a billion": 1_000_000_000}
_WORKERS: Final = (8, 32, 128)
_MILLION: Final = 1_000_000
_AUDITS: Final = AuditSettings()
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


def _jobs(results: Results) -> str:
    return table(list(COLUMNS), [[text(job) for text in COLUMNS.values()] for job in results.jobs])


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
    return table(("ratio", "measured", "at most", "kept"), rows)


def _times(results: Results) -> str:
    rows = [
        (
            f"{job.name}, {label}",
            *(_time(_forecast(results, job, items, each)) for each in _WORKERS),
        )
        for job in results.costs()
        for label, items in _SIZES.items()
    ]
    return table(("job", *(f"{workers:,} at a time" for workers in _WORKERS)), rows)


def _time(found: Forecast) -> str:
    mark = "" if found.limit == "workers" else f" ({found.limit})"
    return f"{_hours(found.seconds / 3600)}{mark}"


def _costs(results: Results) -> str:
    rows = []
    for job in results.costs():
        for label, items in _SIZES.items():
            fewest, *_, most = (_forecast(results, job, items, each) for each in _WORKERS)
            rows.append(
                (
                    f"{job.name}, {label}",
                    f"{fewest.read_units / _MILLION:,.0f} M",
                    f"{fewest.ecpus / _MILLION:,.0f} M",
                    *(f"{each.gb_seconds:,.0f}" for each in (fewest, most)),
                    *(f"{each.invocations:,}" for each in (fewest, most)),
                    *(f"${each.dollars:,.2f}" for each in (fewest, most)),
                )
            )
    heads = [
        f"{unit}, {each:,} at a time"
        for unit in ("GB-seconds", "invocations", "dollars")
        for each in (_WORKERS[0], _WORKERS[-1])
    ]
    return table(("job", "read units", "ECPUs", *heads), rows)


def _forecast(results: Results, job: JobCost, items: int, workers: int) -> Forecast:
    """Return what a job takes in AWS, divided as it is there."""
    workers = min(workers, job.most_workers or workers)
    size = TableSize(items, items * results.item_bytes)
    segments = default_segments({"ItemCount": size.items, "TableSizeBytes": size.size})
    ramp = FillRate(FIRST_ECPUS).wait(items * job.ecpus, begun=0, since=0, now=0)
    return forecast(
        job,
        items,
        workers=workers,
        parts=lanes(segments) + size.ranges(workers),
        cache_seconds=ramp,
    )


def _prices(_results: Results) -> str:
    rows = [
        (f"[{price.name}]({price.source})", _decimal(price.dollars), price.unit, price.as_of)
        for price in _PRICES
    ]
    return table(("what", "dollars", "unit", "as of"), rows)


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
    "times": _times,
    "costs": _costs,
    "prices": _prices,
    "item_bytes": lambda results: f"{results.item_bytes}",
    "limit": lambda results: results.options["limit"],
    "kills": lambda results: results.options["kills"],
    "workers": lambda results: results.options["workers"],
    "cores": lambda results: results.machine["cores"],
    "cpu": lambda results: results.machine["cpu"],
    "minutes": lambda results: f"{results.seconds / 60:.0f}",
    "cpu_minutes": lambda results: f"{results.cpu_seconds / 60:.0f}",
    "date": lambda results: results.date,
    "boto3_scanned": lambda results: f"{results.boto3.scanned:.0f}",
    "boto3_looked_up": lambda results: f"{results.boto3.looked_up:.0f}",
    "script_ecpus": lambda _results: f"{figures.CHANGE_ECPUS:g}",
    "key_ecpus": lambda _results: f"{figures.SCANNED_KEY_ECPUS:g}",
    "page_wait": lambda _results: f"{whole_table.PAGE_WAIT_US / 1000:g}",
    "look_up_wait": lambda _results: f"{whole_table.LOOK_UP_WAIT_US / 1000:g}",
    "exchange_wait": lambda _results: f"{whole_table.EXCHANGE_WAIT_US / 1000:g}",
    "table_read_units": lambda _results: f"{whole_table.TABLE_READ_UNITS:,}",
    "audit_parts": lambda _results: f"{_AUDITS.parts}",
    "audit_minutes": lambda _results: f"{_AUDITS.minutes:g}",
    "audit_hours": lambda _results: f"{_AUDITS.parts * _AUDITS.minutes / 60:g}",
    "doubling_minutes": lambda _results: f"{DOUBLING_SECONDS / 60:g}",
    "first_ecpus": lambda _results: f"{FIRST_ECPUS:,}",
}


if __name__ == "__main__":
    make()
