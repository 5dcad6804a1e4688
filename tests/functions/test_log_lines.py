"""The functions' log has the lines that Powertools for AWS Lambda 3.37 wrote, and never raises.

The lines that it wrote were recorded, before our own code replaced it.
"""

import json
import logging
import random
import sys
import time
from collections.abc import Iterator
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.sandboxes import fresh_logger

from dynamirror.functions.runtime import log_invocation
from dynamirror.log_lines import JsonLineHandler, log

logger = logging.getLogger("dynamirror")

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=557abcec3ee5a047;Sampled=1"
CONTEXT = SimpleNamespace(aws_request_id="req-1")
VARIABLES = (
    *("LOG_LEVEL", "POWERTOOLS_LOG_LEVEL", "AWS_LAMBDA_LOG_LEVEL"),
    *("POWERTOOLS_LOGGER_SAMPLE_RATE", "POWERTOOLS_METRICS_DISABLED", "_X_AMZN_TRACE_ID"),
)
# Powertools' line of logger.info("batch applied", extra={"table": "users", "stream": None, …}).
RECORDED = (
    '{"level":"INFO","location":"f:7","message":"batch applied",'
    '"timestamp":"2026-09-21 14:13:20,456+0000","service":"dynamirror","sampling_rate":"1",'
    '"function_request_id":"req-1","cold_start":true,"table":"users","records":1,'
    '"reasons":["a","b"],"odd":"<class \'object\'>",'
    '"xray_trace_id":"1-5759e988-bd862e3fe1be46a994272793"}'
)
# The keys of its line of logger.exception("failed"), and of the stack trace in it.
RECORDED_EXCEPTION = (
    *("level", "location", "message", "timestamp", "service", "function_request_id", "cold_start"),
    *("exception", "exception_name", "exception_notes", "stack_trace", "xray_trace_id"),
)
RECORDED_STACK = {
    "type": "ValueError",
    "value": "bad é \x00",
    "module": "builtins",
    "frames": [
        {
            "file": __file__,
            "line": ...,
            "function": "fail",
            "statement": 'raise ValueError("bad é \\x00")',
        }
    ],
}


@pytest.fixture(autouse=True)
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A fresh sandbox, with none of the variables that concern the log."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with fresh_logger(), monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return what was logged since the last call, and check that nothing went to stderr."""

    def lines_() -> list[Any]:
        output = capsys.readouterr()
        assert output.err == ""
        return [
            json.loads(line, parse_constant=pytest.fail) for line in output.out.split("\n")[:-1]
        ]

    return lines_


def fail() -> None:
    """Raise an error with a note."""
    raise ValueError("bad é \x00")


def record(message: Any = "m", **fields: Any) -> logging.LogRecord:
    """Return a record with `extra`."""
    standard = {"created": 1_790_000_000.4567, "funcName": "f", "lineno": 7}
    level = {"levelno": logging.INFO, "levelname": "INFO"}
    return logging.makeLogRecord({"msg": message, **standard, **level, **fields})


def test_a_line_is_the_one_that_powertools_wrote(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", TRACE)
    monkeypatch.setenv("POWERTOOLS_LOGGER_SAMPLE_RATE", "1")
    log_invocation(CONTEXT)
    extra = {"table": "users", "stream": None, "records": 1, "reasons": ["a", "b"], "odd": object}
    logger.handle(record("batch applied", **extra, location="mine"))
    assert capsys.readouterr().out == RECORDED + "\n"


def test_a_line_without_a_record_is_the_same(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", TRACE)
    log_invocation(CONTEXT)
    extra = {"table": "users", "stream": None, "odd": object, "level": "x", "timestamp": 1}
    for _ in range(2):  # the second time, another handler needs the record
        log(logger, logging.ERROR, "direct", extra)
        logger.addHandler(logging.NullHandler())
    direct, by_record = lines()
    location = f"{test_a_line_without_a_record_is_the_same.__name__}:"
    assert direct["location"].startswith(location)
    assert direct | {"timestamp": 0} == by_record | {"timestamp": 0}
    assert [*direct] == [*by_record]


def test_other_handlers_filters_and_levels_get_the_record(lines: Any) -> None:
    log_invocation(CONTEXT)
    logger.setLevel(logging.WARNING)
    log(logger, logging.INFO, "below the level", {})
    records: list[logging.LogRecord] = []
    logger.addFilter(lambda it: records.append(it) or it.msg != "filtered")  # type: ignore[func-returns-value]
    log(logger, logging.ERROR, "filtered", {"table": "users"})
    logger.filters.clear()
    logger.handlers[0].setLevel(logging.CRITICAL)
    log(logger, logging.ERROR, "below the handler's level", {})
    assert lines() == []
    assert [(it.msg, it.__dict__["table"]) for it in records] == [("filtered", "users")]


def test_an_exception_has_the_fields_that_powertools_gave(
    lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", TRACE)
    log_invocation(CONTEXT)
    try:
        fail()
    except ValueError as error:
        error.add_note("a note")
        logger.exception("failed")
        logger.exception("failed", extra={"exception": "mine", "service": "other"})
    logger.error("no exception", exc_info=True)  # noqa: LOG014 - the case that is tested
    first, second, third = lines()
    assert tuple(first) == RECORDED_EXCEPTION
    assert first["exception"].startswith("Traceback (most recent call last):\n")
    assert first["exception"].endswith("ValueError: bad é \x00\na note")
    assert (first["exception_name"], first["exception_notes"]) == ("ValueError", ["a note"])
    inner = first["stack_trace"]["frames"].pop(-1) | {"line": ...}
    assert first["stack_trace"] | {"frames": [inner]} == RECORDED_STACK
    assert (second["exception"], second["service"]) == ("mine", "other")
    assert not {"exception", "exception_name", "stack_trace"} & set(third)


@pytest.mark.parametrize(
    ("message", "args", "expected"),
    [
        ("two %s", ("args",), "two args"),
        ("100%", (), "100%"),
        ({"a": 1}, (), {"a": 1}),
        (5, (), 5),
        (ValueError("x"), (), "x"),
        ("two\nlines \u2028 \x00", (), "two\nlines \u2028 \x00"),
    ],
)
def test_a_message_is_any_value_on_one_line(
    lines: Any, message: Any, args: tuple[Any, ...], expected: Any
) -> None:
    log_invocation(CONTEXT)
    logger.handle(record(message, args=args))
    (line,) = lines()
    assert line["message"] == expected


class Unprintable:
    """A value that fails as text."""

    def __str__(self) -> str:
        raise RuntimeError


def cyclic() -> list[Any]:
    """Return a list that holds itself."""
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


def nested(depth: int) -> Any:
    """Return lists in lists."""
    value: Any = "\ud800"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\ud800b", "a\\ud800b"),
        (["x", {"\udfff": "\ud800", "n": 1}], ["x", {"\\udfff": "\\ud800", "n": 1}]),
        (object, "<class 'object'>"),
        (ValueError("x\ud800"), "x\\ud800"),
        (Unprintable(), "<Unprintable>"),
        ([Unprintable(), 1], ["<Unprintable>", 1]),
        (float("nan"), None),
        (float("-inf"), None),
        pytest.param(10**400, 10**400, id="integer"),
        (2**70, ...),
        (1 + 2j, "(1+2j)"),
        ({(1, 2): 3, None: 4}, {"(1, 2)": 3, "None": 4}),
        ({1: "a"}, {"1": "a"}),
        (cyclic(), ...),
        pytest.param(nested(100_000), ..., id="deep"),
        pytest.param("x" * 2_000_000, ..., id="huge"),
        (b"x", "eA=="),
        ({1}, [1]),
    ],
)
def test_no_value_keeps_a_line_from_being_written(lines: Any, value: Any, expected: Any) -> None:
    log_invocation(CONTEXT)
    logger.info("odd", extra={"value": value, "table": "users"})
    log(logger, logging.INFO, "odd", {"value": value, "table": "users"})
    first, second = lines()
    for line in (first, second):
        assert (line["message"], line["table"]) == ("odd", "users")
        assert expected is ... or line["value"] == expected


def test_an_odd_message_or_exception_is_written_too(lines: Any) -> None:
    log_invocation(CONTEXT)
    try:
        raise KeyError(Unprintable(), "\ud800")  # noqa: TRY301 - it is what is logged
    except KeyError:
        logger.exception("odd \ud800")
    (line,) = lines()
    assert line["message"] == "odd \\ud800"
    assert line["exception_name"] == "KeyError"


def test_a_line_that_cannot_be_written_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log_invocation(CONTEXT)
    logger.info("one %s", "two", "three")  # noqa: PLE1205 - the case that is tested
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        logger.info("nowhere")
        log(logger, logging.INFO, "nowhere", {})
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("--- Logging error ---") == 3


def test_each_line_is_one_write_and_is_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    stream = SimpleNamespace(write=calls.append, flush=lambda: calls.append("flush"))
    log_invocation(CONTEXT)
    monkeypatch.setattr(sys, "stdout", stream)
    logger.info("first")
    log(logger, logging.INFO, "second", {})
    assert [call if call == "flush" else call.count("\n") for call in calls] == [
        *(1, "flush", 1, "flush")
    ]
    assert calls[0].endswith("}\n")


def test_threads_write_whole_lines(lines: Any) -> None:
    log_invocation(CONTEXT)

    def write(number: int) -> None:
        for index in range(100):
            log(logger, logging.INFO, "direct", {"at": [number, index], "fill": "x" * 5000})
            logger.info("by record", extra={"at": [number, index]})

    threads = [Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines()) == 1600


def test_lambda_s_own_handler_does_not_write_a_line_again(
    lines: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.StreamHandler(sys.stderr)
    logging.root.addHandler(root)
    try:
        log_invocation(CONTEXT)
        logger.info("line")
        log(logger, logging.INFO, "line", {})
    finally:
        logging.root.removeHandler(root)
    assert [line["message"] for line in lines()] == ["line", "line"]
    assert capsys.readouterr().err == ""


def test_only_the_first_invocation_of_a_sandbox_is_cold(lines: Any) -> None:
    for context in (CONTEXT, SimpleNamespace(aws_request_id="req-2"), None):
        log_invocation(context)
        logger.info("line")
    found = [(line.get("function_request_id"), line["cold_start"]) for line in lines()]
    assert found == [("req-1", True), ("req-2", False), (None, False)]
    assert sum(isinstance(it, JsonLineHandler) for it in logger.handlers) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (TRACE, "1-5759e988-bd862e3fe1be46a994272793"),
        ("Root=1-2", "1-2"),
        ("", None),
        (None, None),
    ],
)
def test_the_trace_id_is_the_invocation_s(
    lines: Any, monkeypatch: pytest.MonkeyPatch, value: str | None, expected: str | None
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-before")
    log_invocation(CONTEXT)
    if value is None:
        monkeypatch.delenv("_X_AMZN_TRACE_ID")
    else:
        monkeypatch.setenv("_X_AMZN_TRACE_ID", value)
    log_invocation(CONTEXT)
    logger.info("line", extra={"xray_trace_id": "mine"})
    assert lines()[0].get("xray_trace_id") == expected


@pytest.mark.parametrize(
    ("env", "level", "warnings"),
    [
        ({}, "INFO", 0),
        ({"LOG_LEVEL": "debug"}, "DEBUG", 0),
        ({"POWERTOOLS_LOG_LEVEL": "warn", "LOG_LEVEL": "debug"}, "WARNING", 0),
        ({"POWERTOOLS_LOG_LEVEL": "", "LOG_LEVEL": "error"}, "ERROR", 0),
        ({"POWERTOOLS_LOG_LEVEL": "fatal"}, "CRITICAL", 0),
        ({"AWS_LAMBDA_LOG_LEVEL": "WARN"}, "WARNING", 0),
        ({"AWS_LAMBDA_LOG_LEVEL": "FATAL"}, "CRITICAL", 0),
        ({"AWS_LAMBDA_LOG_LEVEL": "DEBUG", "POWERTOOLS_LOG_LEVEL": "ERROR"}, "DEBUG", 0),
        ({"AWS_LAMBDA_LOG_LEVEL": "ERROR", "POWERTOOLS_LOG_LEVEL": "DEBUG"}, "ERROR", 1),
        ({"AWS_LAMBDA_LOG_LEVEL": "error"}, "INFO", 0),
        # Powertools raised for these two in each invocation, and took the root's level for TRACE.
        ({"POWERTOOLS_LOG_LEVEL": "loud"}, "INFO", 1),
        ({"POWERTOOLS_LOG_LEVEL": "10"}, "INFO", 1),
        ({"AWS_LAMBDA_LOG_LEVEL": "TRACE"}, "DEBUG", 0),
    ],
)
def test_the_level_is_the_environment_s(
    lines: Any, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], level: str, warnings: int
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        log_invocation(CONTEXT)
        assert logging.getLevelName(logger.level) == level
    assert [line["level"] for line in lines()] == ["WARNING"] * warnings


@pytest.mark.parametrize(
    ("rate", "detailed", "warnings"),
    [
        ("0.5", [True, False, True], 0),
        ("1", [True, True, True], 0),
        ("1e0", [True, True, True], 0),
        ("0", [False, False, False], 0),
        ("-1", [False, False, False], 0),
        ("nan", [False, False, False], 0),
        ("", [False, False, False], 0),
        # Powertools raised for this one in each invocation.
        ("half", [False, False, False], 1),
    ],
)
def test_each_invocation_draws_whether_it_logs_details(
    lines: Any, monkeypatch: pytest.MonkeyPatch, rate: str, detailed: list[bool], warnings: int
) -> None:
    monkeypatch.setenv("POWERTOOLS_LOGGER_SAMPLE_RATE", rate)
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "WARNING")
    drawn = iter([0.4, 0.6, 0.1])
    monkeypatch.setattr(random, "random", lambda: next(drawn))
    found = []
    for _ in detailed:
        log_invocation(CONTEXT)
        found.append(logger.isEnabledFor(logging.DEBUG))
    logger.error("line")
    assert found == detailed
    *warned, line = lines()
    assert [it["level"] for it in warned] == ["WARNING"] * warnings
    assert line["sampling_rate"] == rate
