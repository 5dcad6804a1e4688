"""OpenTelemetry spans of batches, where the environment names a receiver.

https://opentelemetry.io/docs/languages/sdk-configuration/
"""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Final

from dynamirror import errors
from dynamirror.metrics import traces_wanted
from dynamirror.views.batch_result import BatchResult

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger("dynamirror")

_NAME: Final = "dynamirror"
_SPAN: Final = "dynamirror.batch"
_PROTOCOL: Final = "http/protobuf"
# Less than a function keeps for its answer.
_AT_ONCE_SECONDS: Final = 0.5
# So a receiver that does not answer costs a function less than a hundredth of its time.
_PAUSE_SECONDS: Final = 60.0
# A process that is asked to stop has little time.
_CLOSE_SECONDS: Final = 5.0


class BatchSpans:
    """Makes a span of each batch.

    Args:
        provider: the SDK's provider, with its exporters.
        send: called with what ends a span, and so sends it if the exporters send at once.
    """

    def __init__(
        self,
        provider: "TracerProvider",
        send: Callable[[Callable[[], None]], None] = lambda end: end(),
    ) -> None:
        from opentelemetry.trace import SpanKind, StatusCode  # noqa: PLC0415 - an extra

        self._provider = provider
        self._send = send
        self._tracer = provider.get_tracer(_NAME)
        self._kind = SpanKind.CONSUMER
        self._error = StatusCode.ERROR

    def observe(self, batch: BatchResult) -> None:
        """Make the span of a batch that has ended; a failure to do so is logged only."""
        try:
            self._make_span(batch)
        except Exception:
            logger.exception("fault of the program", extra={"table": batch.table})

    def _make_span(self, batch: BatchResult) -> None:
        end = round(batch.ended * 1e9)
        span = self._tracer.start_span(
            _SPAN,
            kind=self._kind,
            attributes=_attributes(batch),
            start_time=end - round(batch.seconds * 1e9),
        )
        if not span.is_recording():  # the sampler left it out
            return
        if batch.error is not None or batch.failed:
            span.set_status(self._error, _described(batch))
        self._send(lambda: span.end(end))

    def close(self) -> None:
        """Send what was not sent yet, as far as the receiver takes it within a few seconds."""
        thread = Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        thread.start()
        thread.join(_CLOSE_SECONDS)


class Courier:
    """Sends in a thread, and waits for it for half a second at most.

    An exporter's timeout is that of each step: a receiver that answers byte by byte, or a name that
    is not resolved, would hold up an invocation to its end. The first connection takes its time, so
    only what is late twice in a row is followed by a pause.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._thread: Thread | None = None
        self._paused_until = float("-inf")
        self._late = 0  # in a row

    def __call__(self, send: Callable[[], None]) -> None:
        """Send something, or drop it in a pause."""
        is_busy = self._thread is not None and self._thread.is_alive()
        if is_busy or self._clock() < self._paused_until:
            return
        self._thread = Thread(target=send, name="span", daemon=True)
        self._thread.start()
        self._thread.join(_AT_ONCE_SECONDS)
        self._late = self._late + 1 if self._thread.is_alive() else 0
        if self._late > 1:
            self._paused_until = self._clock() + _PAUSE_SECONDS
            _report(f"two spans took more than {_AT_ONCE_SECONDS} s each, none follow for a minute")


@contextmanager
def traced(
    environ: Mapping[str, str], observers: list[Callable[[BatchResult], None]]
) -> Iterator[None]:
    """Have batches observed by spans in the body, if the environment asks for traces."""
    spans = batch_spans(environ)
    if spans is None:
        yield
        return
    observers.append(spans.observe)
    try:
        yield
    finally:
        spans.close()


def batch_spans(environ: Mapping[str, str], *, at_once: bool = False) -> BatchSpans | None:
    """Return what makes spans of batches; None if traces are off, or the extra is missing.

    Args:
        environ: the environment.
        at_once: whether to send each span before `observe` returns.
    """
    if not traces_wanted(environ):
        return None
    names = {name.strip() for name in (environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(",")}
    chosen = sorted(names - {"none", ""})
    if not chosen or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    try:
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - an extra

        found = (_processor(name, environ, at_once=at_once) for name in chosen)
        processors = [processor for processor in found if processor is not None]
        if not processors:
            return None
        # The body closes it, which the end of the process need not do again.
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    except ModuleNotFoundError as error:
        _report(f"{error.name} is not installed; pip install 'dynamirror[otel]'")
        return None
    except Exception as error:  # noqa: BLE001 - whatever is wrong with traces, batches go on
        _report(f"OpenTelemetry cannot be set up: {type(error).__name__}: {error}")
        return None
    for processor in processors:
        provider.add_span_processor(processor)
    return BatchSpans(provider, Courier()) if at_once else BatchSpans(provider)


def _report(reason: str) -> None:
    logger.warning("no traces", extra={"reason": reason})


def _processor(name: str, environ: Mapping[str, str], *, at_once: bool) -> "SpanProcessor | None":
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415 - an extra
        BatchSpanProcessor,
        SimpleSpanProcessor,
    )

    exporter = _exporter(name, environ, at_once=at_once)
    if exporter is None:
        return None
    return SimpleSpanProcessor(exporter) if at_once else BatchSpanProcessor(exporter)


def _exporter(name: str, environ: Mapping[str, str], *, at_once: bool) -> "SpanExporter | None":
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415 - same

        return ConsoleSpanExporter(out=sys.stderr)
    if name != "otlp":
        _report(f"OTEL_TRACES_EXPORTER: {name} is not otlp, console or none")
        return None
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if protocol := environ.get(variable):
            if protocol != _PROTOCOL:
                _report(f"{variable}: {protocol} is not {_PROTOCOL}")
                return None
            break
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - same
        OTLPSpanExporter,
    )

    return OTLPSpanExporter(timeout=_AT_ONCE_SECONDS if at_once else None)


def _described(batch: BatchResult) -> str:
    """Return what went wrong; only our own errors are known to have no item data."""
    if batch.error is None:
        return f"{batch.failed} not applied"
    name = batch.error.partition(":")[0]
    return batch.error if hasattr(errors, name) else name


def _resource() -> "Resource":
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415 - same

    found = Resource.create()
    if str(found.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return found.merge(Resource({SERVICE_NAME: _NAME}))
    return found


def _attributes(batch: BatchResult) -> dict[str, str | int | float]:
    report = batch.report
    attributes: dict[str, str | int | float] = {
        "table": batch.table,
        "stream": batch.stream,
        "records": batch.records,
        "applied": report.applied,
        "stale": report.stale,
        "coalesced": report.coalesced,
        "quarantined": batch.parked,
        "failed": batch.failed,
    }
    if batch.lag is not None:
        attributes["lag"] = batch.lag
    if batch.sequence_numbers is not None:
        first, last = batch.sequence_numbers
        attributes |= {"first_sequence_number": first, "last_sequence_number": last}
    return {f"{_NAME}.{name}": value for name, value in attributes.items()}
