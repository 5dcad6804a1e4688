"""The figures of the model are those of the recorded bench, the handler and the stack."""

import json
from typing import Any

import pytest
from bench.document import RESULTS
from bench.results import Results, read
from tests.support.builders import Time, item, record

from bench import cost
from dynamirror.costs import figures
from dynamirror.costs.workload import Workload
from dynamirror.handler import handler
from dynamirror.metrics import emf
from dynamirror.metrics.catalogue import CATALOGUE, Origin
from dynamirror.settings import Settings
from dynamirror.views.keyspace import fence_key

# Another run may measure so much more or less.
_NOISE = 0.5


@pytest.fixture(scope="module")
def measured() -> Results:
    """Return the run that docs/performance.md shows."""
    return read(RESULTS).worst


def near(value: float) -> Any:
    return pytest.approx(value, rel=_NOISE)


def test_the_time_of_a_batch_is_the_measured_one(measured: Results) -> None:
    decode = measured.median("cpu.event.decode")
    assert near(measured.median("cpu.deployed.1")) == figures.BATCH_CPU_US
    assert (
        near(decode + measured.median("cpu.apply.uniform.1000.json.1ms")) == figures.RECORD_CPU_US
    )
    assert near(2 * measured.median("ping.1ms") * 1_000) == figures.BATCH_WAIT_US


@pytest.mark.parametrize("memory_mb", [cost.DEFAULT_MB, figures.ONE_VCPU_MB])
@pytest.mark.parametrize("batch", [100, 1_000])
def test_the_billed_time_is_that_of_the_performance_page(
    measured: Results, batch: int, memory_mb: int
) -> None:
    (bill,) = (
        bill
        for bill in cost.bills(measured)
        if (bill.way, bill.batch, bill.memory_mb) == ("dynamirror", batch, memory_mb)
    )
    # Four polls a second that find so many records each.
    work = Workload(changes=4 * batch, shards=1, memory_mb=memory_mb)
    assert work.polling.records == pytest.approx(batch, rel=0.01)
    assert near(bill.milliseconds) == work.batch_ms


def test_the_memory_of_entries_is_the_measured_one(measured: Results) -> None:
    entry, fence, both, value = (
        measured.median(f"memory.{name}.json") for name in ("entry", "fence", "both", "value")
    )
    tables = (both - entry - fence) / 2
    key = len("user:000000")
    assert pytest.approx(entry - value - key + tables, rel=0.2) == figures.ENTRY_OVERHEAD
    assert pytest.approx(fence - key + tables, rel=0.2) == figures.FENCE_OVERHEAD


def test_a_record_in_an_event_is_as_large_as_measured(measured: Results) -> None:
    assert measured.median("event.bytes") == pytest.approx(400 + figures.RECORD_BYTES, rel=0.1)


def test_a_change_takes_the_processing_of_three_sets(measured: Results) -> None:
    ratio = measured.median("ceiling.set") / measured.median("ceiling.evalsha")
    assert near(ratio) == figures.CHANGE_ECPUS


def test_fences_live_as_long_as_the_settings_have_them() -> None:
    assert Settings(host="x").fence_ttl == figures.FENCE_SECONDS
    assert len(fence_key("")) < figures.FENCE_OVERHEAD


def test_metrics_wait_as_long_as_in_the_handler() -> None:
    assert emf.SECONDS == figures.METRICS_SECONDS
    assert emf.MOST_VALUES == figures.METRICS_VALUES


def test_a_mirror_that_is_well_sends_as_many_metrics() -> None:
    origins = [metric.origin for metric in CATALOGUE]
    assert origins.count(Origin.AUDITOR) + origins.count(Origin.BOTH) == figures.AUDITOR_METRICS
    assert origins.count(Origin.CANARY) == figures.CANARY_METRICS


@pytest.mark.parametrize("log_batches", [False, True])
def test_the_handler_logs_as_many_bytes(
    lambda_env: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    log_batches: bool,  # noqa: FBT001 - pytest's parameter
) -> None:
    assert lambda_env
    monkeypatch.setenv("DYNAMIRROR_LOG_BATCHES", str(log_batches).lower())
    now = [1_795_688_069.5]
    monkeypatch.setattr(emf, "time", lambda: now[0])

    def logged(number: int, seconds: float) -> int:
        now[0] += seconds
        changed = item("1")
        handler({"Records": [record(number, changed, ApproximateCreationDateTime=now[0])]}, Call())
        return len(capsys.readouterr().out)

    logged(1, 0)  # reports that the mirror is incomplete, too
    first = logged(2, 60)
    more = [logged(number, figures.METRICS_SECONDS / 39.9) for number in range(3, 43)]
    lines = figures.BATCH_LINE if log_batches else 0
    assert first == pytest.approx(figures.METRICS_LINE + lines, rel=0.05)
    expected = figures.METRICS_LINE + 40 * lines
    expected += (figures.METRICS_VALUES - 1) * figures.METRICS_MORE
    assert sum(more) == pytest.approx(expected, rel=0.1)
    # A line for each batch costs less than the request, too: at any rate, and in any sandbox.
    assert figures.METRICS_LINE * 0.5 / 1e9 < 0.2 / 1e6


class Call(Time):
    """A context with a request id, as Lambda gives it."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"


def test_a_batch_sends_the_metrics_that_are_counted(
    lambda_env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lambda_env
    handler({"Records": [record(1, item("1"))]}, Call())
    line = json.loads(capsys.readouterr().out.splitlines()[0])
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert len(directive["Metrics"]) == figures.REPLICATOR_METRICS
