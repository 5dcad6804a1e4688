"""The function tells CloudWatch of every batch, once, and logs what it takes to follow it up."""

import json
import math
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.builders import STREAM_ARN, Time, item, record
from tests.support.emf_lines import EmfLine, emf_lines
from tests.support.scans import keys_in

from dynamirror.cache.client import Cache
from dynamirror.emulators.process import free_port
from dynamirror.errors import CacheError, ConfigError, RecordError
from dynamirror.handler import handler
from dynamirror.metrics import emf
from dynamirror.metrics.catalogue import BATCH_DURATION, CATALOGUE, RECORDS, REPLICATION_LAG

SECRET = "s3cr3t-marker"
Invoked = tuple[EmfLine | None, list[Any]]
Invoke = Callable[..., Invoked]


class Context(Time):
    """Lambda's context, which names the invocation."""

    def __init__(self, request: str, seconds: float = 60.0) -> None:
        super().__init__(seconds)
        self.aws_request_id = request


@pytest.fixture
def invoke(
    lambda_env: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Invoke:
    """Invoke the function with records; gives the metrics, of one line at the most, and the log.

    All that waits for other batches, or is only logged if asked for, is written at once.
    """
    assert lambda_env
    monkeypatch.setattr(emf, "SECONDS", 0.0)
    monkeypatch.setenv("DYNAMIRROR_LOG_BATCHES", "true")

    def invoke_(
        *records: Any, context: Any = None, fails: type[Exception] | None = None
    ) -> Invoked:
        capsys.readouterr()
        if fails is None:
            handler({"Records": list(records)}, context or Time())
        else:
            with pytest.raises(fails):
                handler({"Records": list(records)}, context or Time())
        metrics, logged = emf_lines(capsys.readouterr().out)
        assert len(metrics) <= 1
        return (metrics[0] if metrics else None), logged

    return invoke_


def test_each_batch_is_told_in_one_line(invoke: Invoke) -> None:
    now = int(time.time())
    batch = [
        record(1, item("1"), ApproximateCreationDateTime=now - 100),
        record(2, item("1", name="new"), ApproximateCreationDateTime=now - 90),
        record(3, item("2", name={"N": "no number"}), ApproximateCreationDateTime=now),
    ]
    metrics, _ = invoke(*batch)
    assert metrics
    assert metrics.table == "users"
    lag, duration = metrics.values.pop("ReplicationLag"), metrics.values.pop("BatchDuration")
    assert 100 <= lag < 160
    assert 0 < duration < 60_000
    # An item that cannot be written loses its entry: that is in quarantine.
    # A count of 0 costs bytes, and would cost a custom metric.
    assert metrics.values == {"Records": 3, "Applied": 1, "Coalesced": 1, "Quarantined": 1}
    assert metrics.units["ReplicationLag"] == "Seconds"
    again, _ = invoke(batch[0])
    assert again
    assert (again.values["Stale"], again.values.get("Applied")) == (1, None)


def test_a_batch_that_was_not_wholly_applied_tells_so(invoke: Invoke) -> None:
    metrics, _ = invoke(record(1, item("1")), record(2, item("2")), context=Time(0))
    assert metrics
    assert (metrics.values["Failed"], metrics.values.get("Applied")) == (2, None)


def test_a_batch_that_failed_whole_tells_so(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELASTICACHE_PORT", str(free_port()))
    metrics, _ = invoke(record(1, item("1")), record(2, item("2")), fails=CacheError)
    assert metrics
    assert (metrics.values["Records"], metrics.values["Failed"]) == (2, 2)
    assert metrics.values["ReplicationLag"] > 0


def test_a_batch_that_no_setting_fits_tells_so(invoke: Invoke) -> None:
    one = record(3, item("1"), StreamViewType="KEYS_ONLY")
    metrics, _ = invoke(one, fails=ConfigError)
    assert metrics
    assert metrics.values["Failed"] == 1


def test_nothing_is_told_of_what_is_no_batch(
    invoke: Invoke, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke()[0] is None
    with pytest.raises(RecordError):
        handler({}, Time())
    assert emf_lines(capsys.readouterr().out)[0] == []


def test_a_clock_that_is_behind_makes_no_negative_lag(invoke: Invoke) -> None:
    ahead = time.time() + 1000
    metrics, _ = invoke(record(1, item("1"), ApproximateCreationDateTime=ahead))
    assert metrics
    assert metrics.values["ReplicationLag"] == 0


@pytest.mark.parametrize(
    "odd",
    [
        None,
        "x",
        [],
        {},
        float("nan"),
        float("inf"),
        -1,
        pytest.param(10**400, id="huge"),
        True,
        ...,
    ],
)
def test_records_that_tell_no_time_or_table_do_not_keep_others_from_being_told(
    invoke: Invoke, odd: Any
) -> None:
    strange = record(1, item("1"), ApproximateCreationDateTime=odd)
    if odd is ...:
        strange = {}
    metrics, _ = invoke(strange)
    assert metrics
    assert metrics.values.get("Quarantined", 0) == (odd is not True)
    assert metrics.values.get("ReplicationLag", 0) >= 0
    metrics, _ = invoke(strange, record(2, item("2"), ApproximateCreationDateTime=time.time() - 50))
    assert metrics
    assert metrics.table == "users"
    assert metrics.values["ReplicationLag"] >= 50 or odd is True


def test_a_batch_of_two_tables_does_no_harm(invoke: Invoke, cache: Cache) -> None:
    other = record(2, item("2"))
    other["eventSourceARN"] = STREAM_ARN.replace("users", "orders")
    metrics, _ = invoke(record(1, item("1")), other)
    assert metrics
    assert (metrics.table, metrics.values["Applied"]) == ("users", 2)
    assert {b"users:1", b"orders:2"} <= set(keys_in(cache, "*"))


def test_a_service_named_in_the_environment_is_no_other_dimension(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "mine")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "mine")
    assert invoke(record(1, item("1")))[0]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        *((text, False) for text in ("1", "true", "True", "YES", "on", "y", "t")),
        *((text, True) for text in ("0", "false", "No", "off", "")),
    ],
)
def test_metrics_can_be_switched_off(
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    written: bool,  # noqa: FBT001 - pytest's parameter
) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", value)
    metrics, logged = invoke(record(1, item("1")))
    assert (metrics is not None) == written
    assert logged[0]["message"] == "batch applied"


def test_a_switch_that_is_neither_true_nor_false_is_reported_once(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "maybe")
    emf._is_true.cache_clear()
    messages = []
    for number in (1, 2):
        metrics, logged = invoke(record(number, item("1")))
        assert metrics
        messages += [line["message"] for line in logged]
    assert messages[:2] == ["metrics not switched off", "batch applied"]
    assert messages.count("metrics not switched off") == 1


def test_metrics_are_the_bytes_that_powertools_wrote(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(emf, "time", lambda: 1_795_688_069.538)
    values = {RECORDS: 3, BATCH_DURATION: 1.234, REPLICATION_LAG: 100.0}
    emf.emit("users", values)
    # Recorded from Powertools for AWS Lambda 3.37.
    assert capsys.readouterr().out == (
        '{"_aws":{"Timestamp":1795688069538,"CloudWatchMetrics":[{"Namespace":"dynamirror",'
        '"Dimensions":[["table"]],"Metrics":[{"Name":"Records","Unit":"Count"},'
        '{"Name":"BatchDuration","Unit":"Milliseconds"},'
        '{"Name":"ReplicationLag","Unit":"Seconds"}]}]},"table":"users",'
        '"Records":[3.0],"BatchDuration":[1.234],"ReplicationLag":[100.0]}\n'
    )


def test_values_that_are_not_finite_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    emf.emit("users", {RECORDS: 3, BATCH_DURATION: math.nan, REPLICATION_LAG: math.inf})
    emf.emit("users", {BATCH_DURATION: math.nan})
    (metrics,), logged = emf_lines(capsys.readouterr().out)
    assert (metrics.values, logged) == ({"Records": 3}, [])


def test_all_metrics_of_the_catalogue_fit_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    emf.emit("users", dict.fromkeys(CATALOGUE, 1))
    (metrics,), _ = emf_lines(capsys.readouterr().out)
    assert metrics.values.keys() == {metric.name for metric in CATALOGUE}


@pytest.mark.parametrize("table", ["\ud800", "é\n", "x" * 1024])
def test_an_odd_name_of_a_table_is_written(capsys: pytest.CaptureFixture[str], table: str) -> None:
    emf.emit(table, {RECORDS: 3})
    (metrics,), _ = emf_lines(capsys.readouterr().out)
    assert metrics.table == table.replace("\ud800", "\\ud800")


def test_metrics_that_cannot_be_written_break_no_batch(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emf, "time", lambda: math.nan)
    metrics, logged = invoke(record(1, item("1")))
    assert metrics is None
    assert [line["message"] for line in logged[:2]] == ["metrics not written", "batch applied"]
    assert logged[0]["exception_name"] == "ValueError"


def test_a_line_tells_which_batch_and_which_invocation(invoke: Invoke) -> None:
    batch = [record(number, item(str(number))) for number in (1, 2)]
    for number, cold in (("first", True), ("second", False)):
        _, logged = invoke(*batch, context=Context(number))
        line = logged[0]
        assert (line["level"], line["message"]) == ("INFO", "batch applied")
        assert (line["function_request_id"], line["cold_start"]) == (number, cold)
        assert (line["table"], line["stream"]) == ("users", "2026-01-02T03:04:05.678")
        assert line["first_sequence_number"] == f"{1:021d}"
        assert line["last_sequence_number"] == f"{2:021d}"
        assert line["records"] == 2
        assert not [one for one in logged if one["level"] == "DEBUG"]
        assert len(json.dumps(line)) < 600, "docs/metrics.md says what a batch costs"


def test_details_are_sampled_by_invocation(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_LOGGER_SAMPLE_RATE", "0.5")
    drawn = iter([0.9, 0.1, 0.9, 0.4])
    monkeypatch.setattr(random, "random", lambda: next(drawn))
    detailed = []
    for number in range(4):
        _, logged = invoke(record(number, item("1")))
        details = [line for line in logged if line["level"] == "DEBUG"]
        detailed.append(len(details))
        assert all(line["entries"] == {"default": 1} for line in details)
    assert detailed == [0, 1, 0, 1]


def secrets() -> list[Any]:
    """Records with a secret in each attribute, of which some cannot be decoded or written."""
    keyless = record(5, item("5", name=SECRET))
    keyless["dynamodb"]["Keys"] = SECRET
    odd_time = record(6, item("6", name=SECRET), ApproximateCreationDateTime=SECRET)
    odd_number = record(7, item("7", name=SECRET), SequenceNumber=SECRET)
    return [
        *(record(1, item(SECRET, name=SECRET)), record(2, item(SECRET + "2", name={"N": SECRET}))),
        *(record(3, item("3", name={"X": SECRET})), record(4, None, item(SECRET, name=SECRET))),
        *(keyless, odd_time, odd_number, record(8, item("8"), NewImage=SECRET)),
    ]


@pytest.mark.parametrize("failure", ["none", "out of time", "cache is down"])
def test_no_item_data_is_told_or_logged(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    if failure == "cache is down":
        monkeypatch.setenv("ELASTICACHE_PORT", str(free_port()))
    fails = CacheError if failure == "cache is down" else None
    metrics, logged = invoke(*secrets(), context=Time(0 if "time" in failure else 60), fails=fails)
    assert metrics
    if failure == "none":
        assert metrics.values["Quarantined"] >= 5
    else:
        assert metrics.values["Failed"]
    if not fails:
        assert {line["level"] for line in logged} >= {"DEBUG", "ERROR"}
    assert SECRET not in json.dumps([metrics, logged])
