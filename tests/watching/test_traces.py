"""Each batch has a span where the environment asks for it, and costs no import elsewhere."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event, Semaphore, Thread

import msgspec
import pytest
from tests.support.builders import item, record
from tests.support.deadlines import wait_until
from tests.support.otlp_receiver import Receiver, attributes, receiving
from tests.support.processes import environment, linux_only, start
from tests.support.scans import keys_in
from tests.support.streams import Source
from tests.support.watching import PAGE

from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.metrics import tracing
from dynamirror.metrics.tracing import Courier, batch_spans
from dynamirror.views.batch_result import BatchResult, Report

# The function handles a batch, in a process of its own: prints what it imported.
INVOKE = """
import json, sys
import dynamirror.handler
from types import SimpleNamespace
context = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000, aws_request_id="1")
answer = dynamirror.handler.handler(json.loads(sys.argv[1]), context)
assert answer == {"batchItemFailures": []}, answer
print(json.dumps(sorted(sys.modules)))
"""
BLOCK = "import sys; sys.modules['opentelemetry.sdk.trace'] = None\n"
BATCH = BatchResult(
    table="users",
    records=5,
    report=Report(applied=2, stale=1, coalesced=1),
    parked=1,
    failed=0,
    oldest=1_790_000_000.0,
    ended=1_790_000_002.5,
    seconds=0.25,
    sequence_numbers=("100", "200"),
    stream="2026-01-02T03:04:05.678",
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def invoked(valkey: EmbeddedValkey, before: str = "", **variables: str) -> tuple[set[str], str]:
    """Run the function in a process, and return the modules that it imported, and its log."""
    event = {"Records": [record(1, item("1"))]}
    done = subprocess.run(
        [sys.executable, "-c", before + INVOKE, json.dumps(event)],
        env={"DYNAMIRROR_KEY_SCHEMA": "id", **valkey.settings().to_env(), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *log, modules = done.stdout.splitlines()
    return set(json.loads(modules)), "\n".join(log)


def observed(receiver: Receiver, batch: BatchResult, **variables: str) -> Mapping[str, object]:
    """Have a span made of a batch, and return its attributes."""
    spans = batch_spans(variables, at_once=True)
    assert spans is not None
    spans.observe(batch)
    spans.close()
    (span,) = receiver.spans
    return attributes(span)


def test_a_span_has_the_batch_s_times_and_outcomes(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    found = observed(receiver, BATCH, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert found == {
        "dynamirror.table": "users",
        "dynamirror.stream": "2026-01-02T03:04:05.678",
        "dynamirror.records": 5,
        "dynamirror.applied": 2,
        "dynamirror.stale": 1,
        "dynamirror.coalesced": 1,
        "dynamirror.quarantined": 1,
        "dynamirror.failed": 0,
        "dynamirror.lag": 2.5,
        "dynamirror.first_sequence_number": "100",
        "dynamirror.last_sequence_number": "200",
    }
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in (*found, "dynamirror.batch") if f"`{name}`" not in page] == []
    (span,) = receiver.spans
    assert span.name == "dynamirror.batch"
    assert span.end_time_unix_nano - span.start_time_unix_nano == 250_000_000
    assert span.end_time_unix_nano == 1_790_000_002_500_000_000
    assert span.status.code == 0
    assert receiver.paths == ["/v1/traces"]
    assert receiver.services == {"dynamirror"}


def test_a_batch_that_failed_has_the_status_error_and_the_service_a_name_of_choice(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop-mirror")
    batch = BatchResult("?", 3, Report(), 0, 3, None, 1.0, 0.5, error="CacheError: it is gone")
    found = observed(receiver, batch, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert "dynamirror.lag" not in found
    (span,) = receiver.spans
    assert (span.status.code, span.status.message) == (2, "CacheError: it is gone")
    assert receiver.services == {"shop-mirror"}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        # Which is as if they were not set, by OpenTelemetry's specification.
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_TRACES_EXPORTER": ""},
    ],
    ids=str,
)
def test_traces_are_off_unless_asked_for(variables: Mapping[str, str]) -> None:
    assert batch_spans(variables) is None


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            "OTEL_TRACES_EXPORTER: zipkin is not otlp, console or none",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: grpc is not http/protobuf",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "0"},
            "OpenTelemetry cannot be set up: ValueError: max_export_batch_size must be",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_done_is_reported_in_one_sentence_and_batches_go_on(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    variables: Mapping[str, str],
    reason: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert batch_spans(variables) is None
    (line,) = [vars(entry)["reason"] for entry in caplog.records]
    assert line.startswith(reason)


def test_the_endpoint_counts_where_no_exporter_is_named(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver.url}/mine"}
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{receiver.url}/mine")
    observed(receiver, BATCH, **variables, OTEL_TRACES_EXPORTER="")
    assert receiver.paths == ["/mine"]


def test_an_error_that_is_not_ours_is_named_without_its_text(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    batch = msgspec.structs.replace(BATCH, error="KeyError: 'ann@example.com'")
    observed(receiver, batch, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    (span,) = receiver.spans
    assert (span.status.code, span.status.message) == (2, "KeyError")


def test_a_span_that_cannot_be_made_fails_no_batch(caplog: pytest.LogCaptureFixture) -> None:
    spans = batch_spans({"OTEL_TRACES_EXPORTER": "console"}, at_once=True)
    assert spans is not None
    spans.observe(msgspec.structs.replace(BATCH, seconds=float("inf")))
    spans.close()
    assert [entry.getMessage() for entry in caplog.records] == ["fault of the program"]


def test_what_is_late_twice_is_not_waited_for_again_within_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_AT_ONCE_SECONDS", 0.01)
    now, may_end, sent = [0.0], Semaphore(0), Semaphore(0)

    def send() -> None:
        sent.release()
        may_end.acquire()

    courier = Courier(clock=lambda: now[0])
    courier(send)
    assert sent.acquire(timeout=10), "it was begun, and was not waited for"
    courier(sent.release)
    assert not sent.acquire(blocking=False), "the first is still under way"
    assert not caplog.records
    may_end.release()

    def is_begun() -> bool:
        """The one before may be about to end."""
        courier(send)
        return sent.acquire(blocking=False)

    wait_until(is_begun)
    assert [vars(entry)["reason"] for entry in caplog.records] == [
        "two spans took more than 0.01 s each, none follow for a minute"
    ]
    may_end.release()
    now[0] += 59
    courier(sent.release)
    assert not sent.acquire(blocking=False), "it is not time"
    now[0] += 2
    wait_until(is_begun)
    may_end.release()


def test_a_receiver_that_answers_byte_by_byte_holds_up_neither_a_batch_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_end = Event()

    def answer_slowly(server: socket.socket) -> None:
        connection, _address = server.accept()
        with connection, suppress(OSError):
            while not may_end.wait(0.05):
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=answer_slowly, args=(server,))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setattr(tracing, "_CLOSE_SECONDS", 0.1)
        spans = batch_spans({"OTEL_EXPORTER_OTLP_ENDPOINT": url}, at_once=True)
        assert spans is not None
        spans.observe(BATCH)
        spans.close()
        assert thread.is_alive(), "it still answers"
        may_end.set()
        thread.join()


def test_without_traces_the_function_imports_nothing_for_them(
    valkey: EmbeddedValkey, receiver: Receiver, cache: Cache
) -> None:
    without, _log = invoked(valkey)
    assert not {name for name in without if name.partition(".")[0] == "opentelemetry"}
    assert "dynamirror.metrics.tracing" not in without
    cache.broadcast(b"FLUSHALL")
    traced, _log = invoked(valkey, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert without < traced
    (span,) = receiver.spans
    assert attributes(span)["dynamirror.applied"] == 1


def test_without_the_extra_the_function_works_and_logs_why_there_are_no_traces(
    valkey: EmbeddedValkey, cache: Cache
) -> None:
    assert cache
    _modules, log = invoked(valkey, BLOCK, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    (line,) = [json.loads(line) for line in log.splitlines() if "no traces" in line]
    assert line["reason"].endswith("is not installed; pip install 'dynamirror[otel]'")


def test_a_receiver_that_is_gone_fails_no_batch(valkey: EmbeddedValkey, cache: Cache) -> None:
    invoked(valkey, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert list(keys_in(cache, "*:1"))


@linux_only
def test_run_sends_a_span_for_each_batch(
    dynamodb: EmbeddedDynamoDB,
    valkey: EmbeddedValkey,
    cache: Cache,
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    assert cache
    source = Source(dynamodb)
    source.puts(range(10))
    env = environment(
        tmp_path,
        AWS_ENDPOINT_URL=dynamodb.endpoint_url,
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
        OTEL_BSP_SCHEDULE_DELAY="100",
        **valkey.settings().to_env(),
    )
    process = start("run", "--table", source.name, "--no-auto-rebuild", env=env)
    try:
        wait_until(lambda: sum(records(receiver)) == 10)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.communicate()
    assert {attributes(span)["dynamirror.table"] for span in receiver.spans} == {source.name}


def records(receiver: Receiver) -> list[int]:
    """Return the numbers of records of all spans so far."""
    return [int(attributes(span)["dynamirror.records"]) for span in list(receiver.spans)]
