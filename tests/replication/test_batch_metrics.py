"""The metrics of a sandbox's batches: several batches a line, at the right time, none lost."""

import json
import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.emf_lines import EmfLine, emf_lines

from dynamirror.metrics import emf
from dynamirror.metrics.catalogue import of_batch
from dynamirror.metrics.emf import BATCHES, MOST_VALUES, SECONDS, BatchMetrics
from dynamirror.views.batch_result import BatchResult, Report

NOW = 1_795_688_069.0


def batch(
    applied: int = 1, *, table: str = "users", failed: int = 0, parked: int = 0
) -> BatchResult:
    return BatchResult(
        table=table,
        records=applied + failed + parked,
        report=Report(applied=applied),
        parked=parked,
        failed=failed,
        oldest=NOW,
        ended=NOW + 0.5,
        seconds=0.001 * applied,
    )


Send = Callable[..., list[EmfLine]]


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Send:
    """Give a batch to one sandbox some seconds after NOW, and return the lines that it writes."""
    metrics, clock = BatchMetrics(), [NOW]
    monkeypatch.setattr(emf, "time", lambda: clock[0])

    def send_(seconds: float, result: BatchResult) -> list[EmfLine]:
        clock[0] = NOW + seconds
        metrics.add(result)
        lines, logged = emf_lines(capsys.readouterr().out)
        assert logged == []
        return lines

    return send_


@pytest.fixture(autouse=True)
def any_time_is_recent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.emf_lines.time.time", lambda: NOW)


def test_the_first_batch_after_a_pause_is_written_at_once(send: Send) -> None:
    for seconds in (0, SECONDS, 2 * SECONDS, 3600):
        (line,) = send(seconds, batch(2))
        assert (line.values["Records"], line.values["Applied"]) == (2, 2)
        assert line.at == (NOW + seconds) * 1000


def sent(send: Send, batches: int) -> EmfLine:
    """Give a sandbox batches of 1, 2, 3 … entries, and return their line."""
    assert len(send(0, batch())) == 1
    for number in range(1, batches):
        assert send(number * SECONDS / batches, batch(number)) == []
    (line,) = send(SECONDS, batch(batches))
    return line


def test_batches_in_between_share_a_line_with_a_value_each(send: Send) -> None:
    line = sent(send, 20)
    assert line.batches == 20
    assert line.values["Applied"] == sum(range(1, 21))
    assert line.samples["Applied"] == [line.values["Applied"]], "one sum, so that Sum is right"
    assert line.samples["BatchDuration"] == [*range(1, 21)], "percentiles need each value"
    assert line.samples["ReplicationLag"] == [0.5] * 20


def test_of_many_batches_a_line_has_the_lowest_the_highest_and_some_between(send: Send) -> None:
    """A busy sandbox has 240 a minute, and each value is paid for."""
    line = sent(send, 239)
    assert line.batches == 239, "tells of how many the values are a sample"
    assert line.values["Applied"] == sum(range(1, 240)), "counts are of all"
    durations = line.samples["BatchDuration"]
    assert len(durations) == MOST_VALUES
    assert (durations[0], durations[-1]) == (1, 239)
    assert sum(durations) / MOST_VALUES == pytest.approx(120, rel=0.01), "none is preferred"


def test_a_line_of_one_batch_does_not_count_it(send: Send) -> None:
    (line,) = send(0, batch())
    assert line.batches == 1


@pytest.mark.parametrize("trouble", [batch(failed=3), batch(parked=2)], ids=["failed", "parked"])
def test_an_alarm_does_not_wait(send: Send, trouble: BatchResult) -> None:
    send(0, batch())
    assert send(1, batch(5)) == []
    (line,) = send(2, trouble)
    assert line.values["Applied"] == 6
    assert line.values.get("Failed", 0) + line.values.get("Quarantined", 0) in (2, 3)


def test_what_waited_over_a_pause_keeps_its_time(send: Send) -> None:
    send(0, batch())
    assert send(3, batch(7)) == []
    before, after = send(600, batch(9))
    assert (before.at, before.values["Applied"]) == ((NOW + 3) * 1000, 7)
    assert (after.at, after.values["Applied"]) == ((NOW + 600) * 1000, 9)


def test_another_table_s_batch_writes_what_waited_too_long(send: Send) -> None:
    send(0, batch(table="users"))
    assert send(1, batch(7, table="users")) == []
    old, new = send(SECONDS + 1, batch(table="orders"))
    assert (old.table, old.values["Applied"], old.at) == ("users", 7, (NOW + 1) * 1000)
    assert new.table == "orders"


def test_a_line_holds_no_more_values_than_cloudwatch_takes(send: Send) -> None:
    lines = [line for number in range(401) for line in send(number / 1000, batch())]
    lines += send(SECONDS, batch())
    assert sum(line.values["Records"] for line in lines) == 402
    assert max(len(line.samples["BatchDuration"]) for line in lines) <= 100


def test_a_clock_that_is_set_back_delays_nothing(send: Send) -> None:
    send(0, batch())
    (line,) = send(-1000, batch(3))
    assert line.values["Applied"] == 3


def test_an_empty_batch_counts_for_nothing(send: Send) -> None:
    assert send(0, batch(0)) == []


@given(
    gaps=st.lists(
        st.tuples(st.floats(0, 150), st.integers(1, 50), st.integers(0, 1), st.booleans()),
        max_size=60,
    )
)
def test_every_value_is_written_once_whatever_the_pauses(
    gaps: list[tuple[float, int, int, bool]],
) -> None:
    written: dict[str, list[float]] = {}
    expected: dict[str, list[float]] = {}
    metrics, now = BatchMetrics(), NOW
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emf, "time", lambda: now)
        patch.setattr(emf, "write_line", lambda line: take(line, written))
        for gap, applied, failed, other in gaps:
            now += gap
            result = batch(applied, failed=failed, table="orders" if other else "users")
            metrics.add(result)
            for metric, value in of_batch(result).items():
                expected.setdefault(f"{result.table}.{metric.name}", []).append(value)
        now += SECONDS
        for table in ("users", "orders"):
            metrics.add(batch(1, failed=1, table=table))
    for table in ("users", "orders"):
        for metric, value in of_batch(batch(1, failed=1)).items():
            expected.setdefault(f"{table}.{metric.name}", []).append(value)
    for name, values in expected.items():
        found = written.get(name, [])
        if "Duration" not in name and "Lag" not in name:
            assert math.isclose(sum(found), sum(values)), name
        elif len(values) <= MOST_VALUES:
            assert found == values
        else:
            assert (min(found), max(found)) == (min(values), max(values))


def take(line: dict[str, Any], written: dict[str, list[float]]) -> None:
    """Keep the values of a line."""
    for name, value in line.items():
        if name not in ("_aws", "table", BATCHES):
            values = value if isinstance(value, list) else [value]
            written.setdefault(f"{line['table']}.{name}", []).extend(values)


def test_a_line_has_the_range_of_the_sequence_numbers_of_its_batches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, clock = BatchMetrics(sequences=True), [NOW]
    monkeypatch.setattr(emf, "time", lambda: clock[0])
    ranges = [("5", "7"), ("20", "31"), ("9", "10"), ("1", "2")]
    for seconds, numbers in zip((0, 1, 2, SECONDS), ranges, strict=True):
        clock[0] = NOW + seconds
        metrics.add(msgspec.structs.replace(batch(), sequence_numbers=numbers))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [(line["first_sequence_number"], line["last_sequence_number"]) for line in lines]
    assert found == [("5", "7"), ("1", "31")]
