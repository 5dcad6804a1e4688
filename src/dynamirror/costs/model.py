"""What a month of a mirror costs, part by part."""

from collections.abc import Iterator

import msgspec

from dynamirror.costs import figures, prices
from dynamirror.costs.prices import GB, HOURS, MILLION, SECONDS
from dynamirror.costs.workload import Workload

CACHE = "cache"
_MINUTES = HOURS * 60


class Part(msgspec.Struct, frozen=True):
    """One part of the costs.

    Args:
        name: what is paid for.
        dollars: dollars a month.
        quantity: how much of it.
        less: what reduces it; empty if nothing does.
    """

    name: str
    dollars: float
    quantity: str
    less: str = ""


def monthly(work: Workload) -> list[Part]:
    """Return all parts of what a month costs."""
    parts = [*_cache(work), *_replicator(work), *_monitoring(work), *_checking(work)]
    return [*parts, *_inspector(work)] if work.inspected else parts


def total(parts: list[Part]) -> float:
    """Return the sum of parts."""
    return sum(part.dollars for part in parts)


def _cache(work: Workload) -> Iterator[Part]:
    fences = work.fence_bytes / GB
    entries = max(work.entry_bytes / GB, prices.LEAST_STORED_GB - fences)
    yield Part(
        "cache: entries",
        entries * HOURS * prices.STORED.dollars,
        f"{entries:.2f} GB",
        "views with fewer attributes or items",
    )
    yield Part(
        "cache: fences",
        fences * HOURS * prices.STORED.dollars,
        f"{fences:.2f} GB of {work.fences:,.0f} items changed within 26 h",
        "shorter keys",
    )
    each = max(figures.CHANGE_ECPUS, work.item_bytes / figures.ECPU_BYTES)
    yield Part(
        "cache: changes",
        _ecpus(work.changes * SECONDS * each),
        f"{work.changes * SECONDS * each / MILLION:,.0f} million ECPUs",
        "event filters by `when`",
    )
    each = max(1.0, work.item_bytes / figures.ECPU_BYTES)
    yield Part(
        "cache: reads",
        _ecpus(work.reads * SECONDS * each),
        f"{work.reads * SECONDS * each / MILLION:,.0f} million ECPUs",
    )


def _replicator(work: Workload) -> Iterator[Part]:
    invocations = work.invocations * SECONDS
    rate = f"{work.invocations:.3g} invocations/s of {work.polling.records:,.1f} changes"
    yield Part(
        "replicator: requests",
        invocations / MILLION * prices.REQUESTS.dollars,
        rate,
        "`maxBatchingWindow`",
    )
    yield Part(
        "replicator: compute",
        _compute(invocations * work.batch_ms / 1000, work.memory_mb),
        f"{work.batch_ms:,.0f} ms each",
        "`maxBatchingWindow`",
    )
    size = work.log_bytes * SECONDS / GB
    yield Part(
        "replicator: logs",
        size * prices.LOGS.dollars,
        f"{size:,.2f} GB",
        "`logBatches=false`" if work.log_batches else "",
    )


def _monitoring(work: Workload) -> Iterator[Part]:
    metrics = (
        figures.REPLICATOR_METRICS * (work.changes > 0 or work.canary)
        + figures.AUDITOR_METRICS * (work.audit_minutes is not None)
        + figures.CANARY_METRICS * work.canary
        + figures.INSPECTOR_METRICS * bool(work.inspected)
    )
    yield Part("custom metrics", metrics * prices.METRIC.dollars, f"{metrics}", "`canary=false`")
    alarms = work.alarms
    if alarms and work.inspected:
        alarms += figures.INSPECTOR_ALARMS
    yield Part("alarms", alarms * prices.ALARM.dollars, f"{alarms}", "`alarms=false`")
    yield Part(
        "dashboard",
        work.dashboards * prices.DASHBOARD.dollars,
        f"{work.dashboards}; three are free in an account",
        "`dashboard=false`",
    )


def _checking(work: Workload) -> Iterator[Part]:
    yield Part("stream, network", 0.0, "free for Lambda; a gateway endpoint and no NAT")
    runs = _MINUTES / figures.WATCHDOG_MINUTES
    yield Part(
        "watchdog",
        runs / MILLION * (prices.EXPRESS.dollars + prices.REQUESTS.dollars)
        + _compute(runs * figures.WATCHDOG_SECONDS, figures.OPERATOR_MB),
        f"{runs:,.0f} checks",
        "`heal=false`",
    )
    runs = _MINUTES * work.canary
    yield Part(
        "canary",
        runs / MILLION * (prices.REQUESTS.dollars + prices.WRITE_UNITS.dollars)
        + runs * figures.CANARY_LINES / GB * prices.LOGS.dollars
        + _compute(runs * figures.CANARY_SECONDS, figures.CANARY_MB),
        f"{runs:,.0f} writes",
        "`canary=false`",
    )
    if work.audit_minutes is not None:
        yield from _auditor(work, work.audit_minutes)


def _auditor(work: Workload, minutes: int) -> Iterator[Part]:
    """Yield the parts of an auditor.

    An audit visits the keys of its part of the cache, and compares the items of its part of the
    table.
    """
    audits = _MINUTES / minutes
    parts = work.audit_parts
    keys, audited = (work.items + work.fences) / parts, work.items / parts
    seconds = (
        audited * figures.SCANNED_ENTRY_US
        + keys * figures.SCANNED_KEY_US
        + audited * figures.AUDITED_ITEM_US
    ) / MILLION + figures.WATCHDOG_SECONDS
    yield Part(
        "auditor: compute",
        audits / MILLION * prices.REQUESTS.dollars
        + _compute(audits * seconds, figures.OPERATOR_MB),
        f"{audits:,.0f} audits of {seconds:,.0f} s",
        "`auditEvery`",
    )
    units = audits / parts * work.round_units
    yield Part(
        "auditor: reads of the table",
        units / MILLION * prices.READ_UNITS.dollars,
        f"{units / MILLION:,.0f} million read units",
        "`auditUnits`, or `auditEvery` with the same `auditParts`",
    )
    ecpus = audits * (keys * figures.SCANNED_KEY_ECPUS + audited * figures.CHANGE_ECPUS)
    yield Part(
        "auditor: scans of the cache",
        _ecpus(ecpus),
        f"{ecpus / MILLION:,.0f} million ECPUs",
        "`auditEvery`",
    )


def _inspector(work: Workload) -> Iterator[Part]:
    """Yield the parts of the inspector beside its metrics and alarms."""
    share = "`inspectorShare`"
    runs = work.shards * work.sampling.invocations * SECONDS
    # Less memory is a smaller share of a CPU.
    cpu = figures.ONE_VCPU_MB / figures.INSPECTOR_MB
    seconds = work.changes * SECONDS * figures.INSPECTOR_RECORD_US * cpu / MILLION
    seconds += runs * figures.BATCH_WAIT_US / MILLION
    yield Part(
        "inspector: sampling",
        runs / MILLION * prices.REQUESTS.dollars + _compute(seconds, figures.INSPECTOR_MB),
        f"{runs / MILLION:,.1f} million invocations",
        "`inspectorFilter`",
    )
    messages = work.questions * figures.INSPECTOR_AGES * SECONDS
    each = (figures.INSPECTOR_INVOCATION_US + 2 * figures.JUDGE_US) / MILLION
    yield Part(
        "inspector: questions",
        2 * messages / MILLION * prices.REQUESTS.dollars
        + _compute(messages * each, figures.INSPECTOR_MB)
        + messages * figures.JUDGE_LINE / GB * prices.LOGS.dollars,
        f"{messages / MILLION:,.1f} million messages",
        share,
    )
    requests = messages * figures.QUESTION_REQUESTS + figures.QUEUE_POLLS * SECONDS
    yield Part(
        "inspector: queue",
        requests / MILLION * prices.QUEUE_REQUESTS.dollars,
        f"{requests / MILLION:,.1f} million requests",
        share,
    )
    asked = work.changes * work.inspected * figures.INSPECTOR_AGES * SECONDS
    each = figures.QUESTION_ECPUS + max(0.0, work.item_bytes / figures.ECPU_BYTES - 1)
    yield Part(
        "inspector: reads of the cache",
        _ecpus(asked * each),
        f"{asked * each / MILLION:,.0f} million ECPUs",
        share,
    )


def _ecpus(count: float) -> float:
    return count / MILLION * prices.ECPUS.dollars


def _compute(seconds: float, memory_mb: int) -> float:
    return seconds * memory_mb / 1024 * prices.GB_SECONDS_ARM64.dollars
