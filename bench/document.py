"""Make docs/performance.md and its pictures from bench/results.json: `python -m bench.document`.

The prose is in document.md, beside this file. Each `{name}` in it is replaced by a part.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.cost import GB_SECOND, MILLION_REQUESTS, PRICES_AS_OF, Bill, bills
from bench.results import Results, read

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results.json"
PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
_PROSE = Path(__file__).with_name("document.md")


def make() -> None:
    """Write the page and its pictures."""
    from bench import plots  # noqa: PLC0415 - matplotlib takes half a second to import

    results = read(RESULTS)
    PAGE.write_text(render(results), encoding="utf-8")
    plots.draw(results, IMAGES)


def render(results: Results) -> str:
    """Return the page's text."""
    return re.sub(
        r"\{(\w+)\}",
        lambda found: _PARTS[found[1]](results),
        _PROSE.read_text(encoding="utf-8"),
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))


def _ratios(results: Results) -> str:
    rows = []
    for ratio in results.ratios:
        bound = f"{'≥' if ratio.at_least else '≤'} {ratio.bound:g}"
        rows.append(
            (ratio.name, bound, f"{ratio.value:g}", "yes" if ratio.is_kept else "**missed**")
        )
    return _table(("ratio", "promised", "measured", "kept"), rows)


def _apply(results: Results) -> str:
    ceiling, original = results.median("ceiling.evalsha"), "original.node"
    rows = []
    for label, name in (
        ("the server alone: SET", "ceiling.set"),
        ("the server alone: our script", "ceiling.evalsha"),
        ("different items, 10,000 a batch", "apply.uniform.10000.json"),
        ("different items, 1,000 a batch", "apply.uniform.1000.json"),
        ("different items, 100 a batch", "apply.uniform.100.json"),
        ("different items, one by one", "apply.uniform.1.json"),
        ("100 hot items, 10,000 a batch", "apply.hot.10000.json"),
        ("100 hot items, 1,000 a batch", "apply.hot.1000.json"),
        ("100 hot items, 100 a batch", "apply.hot.100.json"),
        ("unfenced, in Python: boto3's types, one pipeline", "plain.pipeline"),
        ("the original's way, in Node.js", original),
        ("the original's way, in Python", "original.python"),
    ):
        near = name if name.startswith("ceiling") else f"{name}.loopback"
        far = results.figures.get(f"{name}.1ms")
        rate = results.median(near)
        times = rate / results.median(f"{original}.loopback")
        far_times = far and far.median / results.median(f"{original}.1ms")
        rows.append(
            (
                label,
                f"{_three(rate)}",
                f"{rate / ceiling:.2f}",
                f"{times:.1f}",
                _three(far.median) if far else "",
                f"{far_times:.1f}" if far_times else "",
            )
        )
    return _table(
        ("", "a second", "of our script's", "of the original", "1 ms away", "of the original"), rows
    )


def _encodings(results: Results) -> str:
    rows = []
    for name in ("json", "dynamodb-json", "hash", "attribute"):
        rate = results.median(f"apply.uniform.10000.{name}.loopback")
        cpu = results.median(f"cpu.apply.uniform.10000.{name}.loopback")
        sizes = (f"memory.{kind}.{name}" for kind in ("value", "entry", "fence", "both"))
        rows.append(
            (
                f"`{name}`",
                _three(rate),
                f"{cpu:.1f} µs",
                *(f"{results.median(s):.0f}" for s in sizes),
            )
        )
    return _table(
        ("encoding", "a second", "CPU a record", "value", "entry", "fence", "both, with tables"),
        rows,
    )


def _reading(results: Results) -> str:
    get, mget = results.median("read.plain.get"), results.median("read.plain.mget")
    rows = [
        (label, _three(rate := results.median(name)), f"{rate / base:.2f}" if base else "")
        for label, name, base in (
            ("the plain client's GET", "read.plain.get", get),
            ("`Reader.get_item`", "read.get_item", get),
            ("the emulator's GetItem", "emulator.get_item", get),
            ("the plain client's MGET of 100", "read.plain.mget", mget),
            ("`Reader.batch_get_item` of 100", "read.batch_get_item", mget),
            ("`Reader.query` of 100", "read.query", mget),
        )
    ]
    return _table(("", "items a second", "of the plain client"), rows)


def _whole(results: Results) -> str:
    rows = [
        (label, _three(results.median(name)))
        for label, name in (
            ("rows of a backfill, from memory", "rows.memory"),
            ("the emulator's Scan, nothing else", "emulator.scan"),
            ("backfill, from the emulator", "backfill.emulator"),
            ("verify, from the emulator", "verify.emulator"),
        )
    ]
    return _table(("", "items a second"), rows)


def _start(results: Results) -> str:
    node = results.median("start.node")
    rows = []
    for label, name in (
        ("ours, as packaged", "start.packaged"),
        ("ours, source only", "start.source"),
        ("ours, all compiled beforehand", "start.compiled"),
        ("the original's, bundled, Node.js", "start.node"),
        ("Python alone", "start.python"),
        ("Node.js alone", "start.node.alone"),
    ):
        one = results.figures[name]
        spread = f"{one.low:.0f} to {one.high:.0f}"
        rows.append((label, f"{one.median:.0f} ms", spread, f"{one.median / node:.2f}"))
    return _table(("", "median", "range", "of the original's"), rows)


def _imports(results: Results) -> str:
    source, compiled = results.imports["source"], results.imports["compiled"]
    names = list(dict.fromkeys([*source, *compiled]))
    rows = [
        (
            f"`{name}`" if " " not in name else name,
            *(f"{kind[name]:.1f}" if name in kind else "< 1" for kind in (source, compiled)),
        )
        for name in names
    ]
    return _table(("package", "source, ms", "compiled, ms"), rows)


def _cost(results: Results) -> str:
    return _table(
        ("", "memory", "requests", "billed each", "GB-s", "arm64", "x86_64"),
        [_bill(bill) for bill in bills(results)],
    )


def _bill(bill: Bill) -> Sequence[str]:
    return (
        f"{bill.way}, {bill.batch:,} a batch",
        f"{bill.memory_mb:,} MB",
        f"{bill.requests:,.0f}",
        f"{bill.milliseconds:,} ms",
        f"{bill.gb_seconds:,.1f}",
        *(f"${bill.dollars(architecture):.4f}" for architecture in GB_SECOND),
    )


def _prices(_results: Results) -> str:
    arm, x86 = GB_SECOND["arm64"], GB_SECOND["x86_64"]
    return (
        f"${MILLION_REQUESTS:.2f} a million requests, ${arm:.10f} a GB-second on arm64 and "
        f"${x86:.10f} on x86_64 ({PRICES_AS_OF}, us-east-1)"
    )


def _machine(results: Results) -> str:
    machine, options = results.machine, results.options
    rows = [
        ("date", f"{results.date} UTC"),
        ("processor", machine["cpu"]),
        ("cores", machine["cores"]),
        ("load before", machine["load before"]),
        ("rounds", f"{options['rounds']}"),
        ("starts", f"{options['starts']}"),
        ("records", f"{options['records']:,}"),
        ("seed", f"{options['seed']}"),
        *results.versions.items(),
    ]
    return _table(("", "value or version"), rows)


def _one(name: str, form: str) -> Callable[[Results], str]:
    return lambda results: format(results.median(name), form)


def _three(value: float) -> str:
    """Return a value with three digits; the others are noise."""
    return f"{float(f'{value:.3g}'):,.0f}"


_PARTS: dict[str, Callable[[Results], str]] = {
    "ratios": _ratios,
    "apply": _apply,
    "encodings": _encodings,
    "reading": _reading,
    "whole": _whole,
    "start": _start,
    "imports": _imports,
    "cost": _cost,
    "prices": _prices,
    "machine": _machine,
    "event_bytes": _one("event.bytes", ".0f"),
    "event_records": _one("rss.event.records", ",.0f"),
    "rss_event": _one("rss.event", ".1f"),
    "rss_before": _one("rss.before", ".0f"),
    "rss_peak": _one("rss.peak", ".0f"),
    "ping_near": _one("ping.loopback", ".2f"),
    "ping_far": _one("ping.1ms", ".2f"),
}


if __name__ == "__main__":
    make()
