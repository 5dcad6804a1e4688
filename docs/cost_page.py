"""Generate the tables and the picture of docs/costs.md from the cost model.

`python docs/cost_page.py` writes both. With `--check`, nothing is written, and the exit status is 1
if one is out of date.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from dynamirror.costs import figures, prices
from dynamirror.costs.alternatives import alternatives
from dynamirror.costs.model import monthly, total
from dynamirror.costs.workload import Workload
from reference import renewed

_DOCS = Path(__file__).resolve().parent
_PAGE = _DOCS / "costs.md"
_PICTURE = _DOCS / "images/window.svg"
_AT_REST = "at rest, empty"
_BUSY = Workload(changes=100, items=2_500_000)
_WORKLOADS = {
    _AT_REST: Workload(),
    "100 changes/s, 1 GB": _BUSY,
    "1,000 changes/s, 10 GB": Workload(changes=1_000, items=25_000_000),
}
_SHARES = (0.001, 0.01)
_WINDOWS = (0, 1, 2, 5, 10)
_DRAWN = (0, 1, 2, 5)
_LOGGED = (
    _BUSY,
    Workload(changes=1_000, items=25_000_000),
    Workload(changes=100_000, items=1e9, shards=1_000),
    Workload(changes=100_000, items=1e9, shards=1_000, window=1),
)
_RATES = {1_000: "1,000 changes/s", 100: "100 changes/s", 10: "10 changes/s"}
_REPLICATOR = "replicator:"
# The picture: its size, and the frame of the graph within it.
_WIDTH, _HEIGHT = 720, 330
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 40, 590, 270
_MOST_SECONDS, _MOST_DOLLARS = 3, 14
_STYLE = """
    text { font-family: ui-sans-serif, system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif }
    text { fill: #4a5565; font-size: 13px }
    .title { fill: #1c2430; font-size: 15px; font-weight: 600 }
    .grid { stroke: #d5dbe3; stroke-width: 1 }
    .curve { fill: none; stroke: currentColor; stroke-width: 2.5 }
    .label { fill: currentColor; font-weight: 600 }
    .a { color: #b5651d } .b { color: #4267d6 } .c { color: #0b7568 }
    @media (prefers-color-scheme: dark) {
      text { fill: #b4bfcd }
      .title { fill: #eef2f7 }
      .grid { stroke: #3b4656 }
      .a { color: #e39a55 } .b { color: #8fa9f5 } .c { color: #4cc2b1 }
    }
"""


def months() -> str:
    """Return the table of what a month costs."""
    columns = [monthly(work) for work in _WORKLOADS.values()]
    rows = [
        (part.name, *(_dollars(column[number].dollars) for column in columns), part.less)
        for number, part in enumerate(columns[0])
    ]
    rows.append(("**sum**", *(f"**{_dollars(total(column))}**" for column in columns), ""))
    others = [alternatives(work) for work in _WORKLOADS.values()]
    for number, other in enumerate(others[0]):
        if number:  # the first is this mirror, whose sum is above
            cells = (
                f"{_dollars(each[number].dollars)}, {each[number].quantity}" for each in others
            )
            rows.append((other.name, *cells, ""))
    return _table(("", *_WORKLOADS, "less by"), rows)


def inspection() -> str:
    """Return the table of what an inspector adds."""
    rows = []
    for work in _LOGGED[:2]:
        for share in _SHARES:
            inspected = msgspec.structs.replace(work, inspected=share)
            more = total(monthly(inspected)) - total(monthly(work))
            checks = work.changes * share * prices.SECONDS / prices.MILLION
            rows.append(
                (
                    f"{work.changes:,g} changes/s",
                    f"{share:g}",
                    f"{checks:,.2f} million",
                    _dollars(more),
                )
            )
    return _table(("", "`inspectorShare`", "checks a month", "a month"), rows)


def windows() -> str:
    """Return the table of the trade of the batching window."""
    rows = []
    for window in _WINDOWS:
        work = Workload(changes=100, items=2_500_000, window=window)
        polling = work.polling
        rows.append(
            (
                f"{window} s",
                f"{work.invocations:.1f}",
                f"{polling.records:,.0f}",
                _dollars(_replicator(work)),
                f"{polling.wait:.2f} s",
                f"{polling.longest_wait:.2f} s",
            )
        )
    heads = ("window", "invocations/s", "changes each", "a month", "mean wait", "longest wait")
    return _table(heads, rows)


def logs() -> str:
    """Return the table of what the replicator logs."""
    rows = []
    for work in _LOGGED:
        sizes = (each.log_bytes * prices.SECONDS / prices.GB for each in (work, _verbose(work)))
        cells = (f"{size:,.1f} GB, {_dollars(size * prices.LOGS.dollars)}" for size in sizes)
        requests = work.invocations * prices.SECONDS / prices.MILLION * prices.REQUESTS.dollars
        changes, shards = f"{work.changes:,.0f}", f"{work.shards:,}"
        rows.append((changes, shards, f"{work.invocations:,.0f}", *cells, _dollars(requests)))
    heads = ("changes/s", "shards", "invocations/s", "default", "`logBatches=true`", "requests")
    return _table(heads, rows)


def _verbose(work: Workload) -> Workload:
    return msgspec.structs.replace(work, log_batches=True)


def price_list() -> str:
    """Return the table of prices."""
    rows = [
        (f"[{price.name}]({price.source})", f"${_decimal(price.dollars)}", price.unit, price.as_of)
        for price in prices.PRICES
    ]
    for what, nodes, as_of, source in (
        ("Valkey node", prices.CACHE_NODES, prices.CACHE_NODES_AS_OF, prices.CACHE_NODES_SOURCE),
        ("DAX node", prices.DAX_NODES, prices.DAX_NODES_AS_OF, prices.DAX_NODES_SOURCE),
    ):
        first, last = nodes[0], nodes[-1]
        shown = f"{first.name} ${first.hourly:g} to {last.name} ${last.hourly:g}"
        rows.append((f"[{what}]({source})", shown, "hour", as_of))
    return _table(("what", "price", "unit", "as of"), rows)


def assumptions() -> str:
    """Return the list of measured figures and assumptions."""
    polls, shards = figures.POLL_SECONDS, figures.FRESH_SHARDS
    batch_ms = f"{figures.BATCH_CPU_US / 1_000:g} ms of one CPU"
    wait_ms = f"{figures.BATCH_WAIT_US / 1_000:g} ms of waiting"
    change_us = figures.RECORD_CPU_US + figures.RECORD_WAIT_US
    entry, fence = figures.ENTRY_OVERHEAD, figures.FENCE_OVERHEAD
    hours = figures.FENCE_SECONDS / 3600
    line, more = figures.METRICS_LINE, figures.METRICS_MORE
    scanned, passed = figures.SCANNED_ENTRY_US, figures.SCANNED_KEY_US
    lines = (
        f"Lambda polls each shard every {polls} s. Changes arrive at random, at all shards alike.",
        f"A table with on-demand capacity has {shards} shards at first.",
        f"A batch takes {batch_ms} and {wait_ms}. Each change adds {change_us:.0f} µs (measured).",
        (
            f"An entry takes the bytes of its item and key ({figures.KEY_BYTES}), and {entry} more "
            "(measured)."
        ),
        (
            f"A fence takes the bytes of its key and {fence} more (measured), for {hours:.0f} "
            "hours after a change. All items change equally often."
        ),
        (
            f"A change takes {figures.CHANGE_ECPUS:g} ECPUs, because our script takes 2.7 times "
            "as long as a SET (measured). Above that, and for reads, a kilobyte is one ECPU."
        ),
        (
            f"SCAN takes {figures.SCANNED_KEY_ECPUS:g} ECPUs a key, by the same measure. "
            "AWS publishes no figure."
        ),
        (
            f"A line of metrics has {line} bytes, and {more} more for each further batch within "
            f"{figures.METRICS_SECONDS:g} s, up to {figures.METRICS_VALUES} (measured)."
        ),
        (
            f"An audit takes {scanned:g} µs for each entry of its part of the cache, and "
            f"{passed:g} µs for each key with fences (measured)."
        ),
        f"It takes {figures.AUDITED_ITEM_US:g} µs for each item of its part (assumed).",
        (
            f"The inspector takes {figures.INSPECTOR_RECORD_US:g} µs for each record of a stream "
            f"(measured), and {figures.JUDGE_US / 1000:g} ms for each message (assumed)."
        ),
        f"A month has {prices.HOURS} hours. A GB is 10⁹ bytes.",
    )
    return "\n".join(f"- {line}" for line in lines)


def picture() -> str:
    """Return the picture of the trade as SVG."""
    curves = "\n".join(
        line
        for name, (rate, label) in zip("abc", _RATES.items(), strict=True)
        for line in _curve(name, rate, label)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img"\n'
        '  aria-label="Dollars a month of the replicator by the mean wait of a change. The first '
        'second of a window saves most.">\n'
        "  <!-- Generated by docs/cost_page.py. -->\n"
        f"  <style>{_STYLE}  </style>\n"
        f'  <text class="title" x="{_LEFT}" y="22">'
        f"Replicator, dollars a month, by window ({figures.FRESH_SHARDS} shards)</text>\n"
        + "\n".join((*_axes(), curves))
        + "\n</svg>\n"
    )


def _axes() -> Iterator[str]:
    for dollars in range(0, _MOST_DOLLARS + 1, 2):
        y = _y(dollars)
        yield f'  <path class="grid" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>'
        yield f'  <text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">${dollars}</text>'
    for seconds in range(_MOST_SECONDS + 1):
        yield (
            f'  <text x="{_x(seconds):.1f}" y="{_BOTTOM + 20}" text-anchor="middle">'
            f"{seconds} s</text>"
        )
    middle = (_LEFT + _RIGHT) / 2
    yield (
        f'  <text x="{middle:.0f}" y="{_BOTTOM + 44}" text-anchor="middle">'
        "mean time that a change waits for Lambda</text>"
    )


def _curve(name: str, rate: int, label: str) -> Iterator[str]:
    works = {window: Workload(changes=rate, window=window) for window in _DRAWN}
    points = {
        window: (_x(work.polling.wait), _y(_replicator(work))) for window, work in works.items()
    }
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points.values())
    yield f'  <g class="{name}">'
    yield f'    <path class="curve" d="M{path}"/>'
    for x, y in points.values():
        yield f'    <circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="currentColor"/>'
    x, y = points[max(_DRAWN)]
    below = {"a": 4, "b": -4, "c": 14}[name]  # the last two end close to each other
    yield f'    <text class="label" x="{x + 12:.1f}" y="{y + below:.1f}">{label}</text>'
    yield "  </g>"
    for window, (x, y) in points.items() if rate == max(_RATES) else ():
        words = "window 0 s" if window == 0 else f"{window} s"
        yield f'  <text x="{x:.1f}" y="{y - 10:.1f}">{words}</text>'


def _x(seconds: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * seconds / _MOST_SECONDS


def _y(dollars: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * dollars / _MOST_DOLLARS


def _replicator(work: Workload) -> float:
    return total([part for part in monthly(work) if part.name.startswith(_REPLICATOR)])


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}" if amount < 100 else f"${amount:,.0f}"  # noqa: PLR2004 - dollars


def _decimal(price: float) -> str:
    return f"{price:.10f}".rstrip("0").rstrip(".")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(heads)
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))


def main() -> int:
    """Write or check page and picture, and return the exit status."""
    page = before = _PAGE.read_text(encoding="utf-8")
    for name, text in (
        ("months", months()),
        ("inspection", inspection()),
        ("windows", windows()),
        ("logs", logs()),
        ("assumptions", assumptions()),
        ("prices", price_list()),
    ):
        page = renewed(page, name, text)
    drawn = picture()
    is_drawn = _PICTURE.exists() and _PICTURE.read_text(encoding="utf-8") == drawn
    if page == before and is_drawn:
        return 0
    if "--check" in sys.argv:
        print("out of date: docs/costs.md or its picture; run python docs/cost_page.py")
        return 1
    _PAGE.write_text(page, encoding="utf-8")
    _PICTURE.write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
