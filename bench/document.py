"""Make docs/performance.md and its pictures from bench/results.json: `python -m bench.document`.

The prose is in document.md, beside this file. Each `{name}` in it is replaced by a part. The
promises show the worst of the recorded runs for each; all else comes from the run with the least
headroom.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.markdown import table

from bench.cost import GB_SECOND, MILLION_REQUESTS, PRICES_AS_OF, Bill, bills
from bench.flights import FLIGHTS
from bench.ratios import Ratio
from bench.reading import PAGES
from bench.results import Record, Results, read
from bench.small import BATCHES as SMALL

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results.json"
PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
_SIZES = (10_000, 1_000, 100, 1)
_PROSE = Path(__file__).with_name("document.md")


def make() -> None:
    """Write the page and its pictures."""
    from bench import plots  # noqa: PLC0415 - matplotlib takes half a second to import

    record = read(RESULTS)
    PAGE.write_text(render(record), encoding="utf-8")
    plots.draw(record, IMAGES)


def render(record: Record) -> str:
    """Return the page's text."""
    return re.sub(
        r"\{(\w+)\}", lambda found: _part(found[1], record), _PROSE.read_text(encoding="utf-8")
    )


def _part(name: str, record: Record) -> str:
    if name == "ratios":
        return _ratios(record.ratios)
    if name == "runs":
        return f"{len(record.runs)}"
    if name == "dates":
        return ", ".join(f"{run.date} UTC" for run in record.runs)
    try:
        return _PARTS[name](record.worst)
    except KeyError as missing:
        if name in _PARTS:
            return f"not measured: {missing.args[0]}"
        raise


def _ratios(ratios: Sequence[Ratio]) -> str:
    rows = []
    for ratio in ratios:
        kept = "yes" if ratio.is_kept else "**missed**"
        rows.append(
            (ratio.name, ratio.promised, ratio.measured, f"{ratio.headroom - 1:+.0%}", kept)
        )
    return table(("ratio", "promised", "worst run", "to spare", "kept"), rows)


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
    return table(
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
    return table(
        ("encoding", "a second", "CPU a record", "value", "entry", "fence", "both, with tables"),
        rows,
    )


def _reading(results: Results) -> str:
    rows = [
        (label, _three(results.median(name)), f"{results.median(name) / results.median(base):.2f}")
        for label, name, base in (
            ("the plain client's MGET of 100", "read.plain.mget", "read.plain.mget"),
            ("`Reader.batch_get_item` of 100", "read.batch_get_item", "read.plain.mget"),
            *(
                (label.format(count), f"{name}.{count}", f"read.plain.zrange_mget.{count}")
                for count in PAGES
                for label, name in (
                    ("the plain client's ZRANGE and MGET of {}", "read.plain.zrange_mget"),
                    ("`Reader.query` of {}", "read.query"),
                )
            ),
        )
    ]
    return table(("", "items a second", "of the plain client"), rows)


def _latency(results: Results) -> str:
    gets, rows = "read.plain.get.p50", []
    for label, name, base in (
        ("GET over the reader's own connections", "read.raw.get", gets),
        ("the plain client's GET", "read.plain.get", gets),
        ("`Reader.get_item`", "read.get_item", gets),
        ("the emulator's GetItem", "emulator.get_item", "emulator.get_item.fastest"),
        ("an attached client's GetItem", "attached.get_item", "emulator.get_item.fastest"),
        ("botocore alone", "attached.floor", "emulator.get_item.fastest"),
        ("the emulator's Query of 20", "emulator.query.20", "emulator.query.20.fastest"),
        ("an attached client's Query of 20", "attached.query.20", "emulator.query.20.fastest"),
    ):
        fastest, median, slow = (
            results.figures.get(f"{name}.{which}") for which in ("fastest", "p50", "p99")
        )
        columns = (f"{one.median:,.0f} µs" if one else "" for one in (fastest, median, slow))
        times = results.median(f"{name}.p50") / results.median(base)
        rows.append((label, *columns, f"{times:.2f}"))
    return table(("", "fastest", "median", "p99", "median, of the base"), rows)


def _flights(results: Results) -> str:
    rows = []
    for flights in FLIGHTS:
        threads, coroutines = (
            results.median(f"read.{name}.{flights}") for name in ("threads", "asyncio")
        )
        ratio = f"{coroutines / threads:.2f}"
        rows.append((f"{flights}", _three(threads), _three(coroutines), ratio))
    return table(("under way", "threads, a second", "asyncio, a second", "of threads"), rows)


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
    return table(("", "items a second"), rows)


def _tls(results: Results) -> str:
    original = results.median("original.node.tls")
    rows = []
    for label, name in (
        ("different items, 10,000 a batch", "apply.uniform.10000.json"),
        ("different items, 1,000 a batch", "apply.uniform.1000.json"),
        ("different items, 100 a batch", "apply.uniform.100.json"),
        ("the original's way, in Node.js", "original.node"),
    ):
        plain, tls = results.median(f"{name}.loopback"), results.median(f"{name}.tls")
        cpu = results.median(f"cpu.{name}.tls")
        rows.append((label, _three(plain), _three(tls), f"{cpu:.1f} µs", f"{tls / original:.1f}"))
    return table(
        ("", "a second, plain", "a second, TLS", "CPU a record, TLS", "of the original, TLS"), rows
    )


def _million(results: Results) -> str:
    """A microsecond a record is a second for a million records."""
    rows = []
    for label, name in (
        *(
            (f"different items, {batch:,} a batch", f"apply.uniform.{batch}.json")
            for batch in _SIZES
        ),
        ("the original's way, in Node.js", "original.node"),
    ):
        client = results.median(f"cpu.{name}.loopback")
        server = results.median(f"server.cpu.{name}.loopback")
        rows.append((label, f"{client:.1f} s", f"{server:.1f} s", f"{client + server:.1f} s"))
    return table(("", "client", "server", "both"), rows)


def _small(results: Results) -> str:
    original = results.median("deployed.original")
    rows = []
    for label, name, batch in (
        *((f"{batch} a batch", f"deployed.{batch}", batch) for batch in SMALL),
        ("the original's way, one by one", "deployed.original", 1),
    ):
        rate = results.median(name)
        client, server = (results.median(f"{cpu}.{name}") * batch for cpu in ("cpu", "server.cpu"))
        rows.append(
            (label, _three(rate), f"{rate / original:.2f}", f"{client:.0f} µs", f"{server:.0f} µs")
        )
    return table(
        ("", "records a second", "of the original", "CPU a batch", "server's CPU a batch"), rows
    )


def _start(results: Results) -> str:
    rows = []
    for label, name, base in (
        ("dynamirror, as packaged", "packaged", "node"),
        ("the original's, bundled, Node.js", "node", "node"),
        ("dynamirror, as packaged, TLS", "packaged.tls", "node.tls"),
        ("the original's, bundled, Node.js, TLS", "node.tls", "node.tls"),
        ("dynamirror, source only", "source", "node"),
    ):
        total, init = results.figures[f"start.{name}"], results.figures[f"init.{name}"]
        rows.append(
            (
                label,
                f"{total.median:.0f} ms",
                f"{total.low:.0f} to {total.high:.0f}",
                f"{total.median / results.median(f'start.{base}'):.2f}",
                f"{init.median:.0f} ms",
                f"{init.median / results.median(f'init.{base}'):.2f}",
            )
        )
    return table(
        ("", "all", "range", "of the original's", "the function's part", "of the original's"), rows
    )


def _imports(results: Results) -> str:
    source, packaged = results.imports["source"], results.imports["packaged"]
    names = list(dict.fromkeys([*source, *packaged]))
    rows = [
        (
            f"`{name}`" if " " not in name else name,
            *(f"{kind[name]:.1f}" if name in kind else "< 1" for kind in (source, packaged)),
        )
        for name in names
    ]
    return table(("package", "source, ms", "as packaged, ms"), rows)


def _cost(results: Results) -> str:
    return table(
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
        ("priority", machine.get("priority", "not raised")),
        ("rounds", f"{options['rounds']}"),
        ("starts", f"{options['starts']}"),
        ("records", f"{options['records']:,}"),
        ("seed", f"{options['seed']}"),
        *results.versions.items(),
    ]
    return table(("", "value or version"), rows)


def _one(name: str, form: str) -> Callable[[Results], str]:
    return lambda results: format(results.median(name), form)


def _three(value: float) -> str:
    """Return a value with three digits; the others are noise."""
    return f"{float(f'{value:.3g}'):,.0f}"


_PARTS: dict[str, Callable[[Results], str]] = {
    "apply": _apply,
    "tls": _tls,
    "million": _million,
    "small": _small,
    "encodings": _encodings,
    "reading": _reading,
    "latency": _latency,
    "flights": _flights,
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
    "ping_tls": _one("ping.tls", ".2f"),
}


if __name__ == "__main__":
    make()
