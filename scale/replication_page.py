"""What a simulation of replication came to, as rows, as sentences, and as a page."""

from pathlib import Path
from typing import Final

from scale.event_source import ACCOUNT_LIMIT
from scale.replication import Report

PAGE: Final = Path(__file__).parent.parent / "docs" / "scale-replication.md"
_TEMPLATE: Final = Path(__file__).with_name("replication.md")

HEADINGS: Final = (
    *("", "calls/s", "records each", "repeated", "throttled", "concurrent", "peak"),
    *("backlog", "at end", "caught up", "lag p50", "p99", "longest", "wrong"),
)


def rows(report: Report) -> list[tuple[str, ...]]:
    """Return the results as text, a row for each scenario under `HEADINGS`."""
    return [
        (
            *(each.scenario.name, f"{out.calls / out.seconds:,.0f}"),
            *(f"{out.records_each:,.1f}", f"{out.failed:,}", f"{out.throttled:,}"),
            *(f"{out.concurrency:,.0f}", f"{out.peak_concurrency:,}", f"{out.peak_backlog:,}"),
            *(f"{out.backlog:,}", f"{out.caught_up:.1f} s", f"{out.lag_p50:.2f} s"),
            *(f"{out.lag_p99:.2f} s", f"{out.lag_max:.2f} s"),
            f"{each.differences + out.out_of_order}",
        )
        for each in report.results
        for out in (each.outcome,)
    ]


def sentences(report: Report) -> list[str]:
    """Return where the default limits end, a sentence each."""
    fleet, found, times = report.fleet, report.limits, report.times
    real = sum(each.real_records for each in report.results)
    return [
        (
            f"{fleet.shards:,} shards get {fleet.rate:g} changes a second each for "
            f"{fleet.seconds:g} s. Trouble is in the second third of that time."
        ),
        (
            f"The real handler applied {real:,} of these changes. A batch of 100 takes "
            f"{times.cpu_of(100) * 1000:.1f} ms of one CPU. It fails after "
            f"{times.hung_seconds:.1f} s if the cache does not answer."
        ),
        (
            f"{ACCOUNT_LIMIT:,} invocations at a time are {found.requests:,.0f} a second at most. "
            f"{found.lanes_by_requests:,.0f} busy shards reach that without a window, and "
            f"{found.lanes_by_requests_window:,.0f} with one of 1 s."
        ),
        (
            f"While all goes well, {found.lanes_by_concurrency:,.0f} shards would run "
            f"{ACCOUNT_LIMIT:,} invocations at a time. While the cache hangs, "
            f"{found.lanes_hung:,.0f} shards may, or as many batches of fewer shards."
        ),
        (
            f"All changes take {found.ecpus:,.0f} processing units a second. A new serverless "
            f"cache takes them after {found.cache_ramp_seconds / 60:.0f} minutes."
        ),
    ]


def markdown(report: Report) -> str:
    """Return the page docs/scale-replication.md."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *rows(report)]
    return _TEMPLATE.read_text(encoding="utf-8").format(
        memory=report.fleet.memory_mb,
        sentences="\n".join(f"- {sentence}" for sentence in sentences(report)),
        table="\n".join(f"| {' | '.join(line)} |" for line in lines),
    )
