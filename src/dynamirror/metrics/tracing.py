"""OpenTelemetry spans of batches, where the environment names a receiver.

https://opentelemetry.io/docs/languages/sdk-configuration/
"""

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from dynamirror.metrics import TRACE_VARIABLES
from dynamirror.views.batch_result import BatchResult

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger("dynamirror")

_NAME: Final = "dynamirror"
_SPAN: Final = "dynamirror.batch"
# Less than a function keeps for its answer.
_AT_ONCE_SECONDS: Final = 0.5


class BatchSpans:
    """Makes a span of each batch.

    Args:
        provider: the SDK's provider, with its exporters.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace import SpanKind, StatusCode  # noqa: PLC0415 - an extra

        self._provider = provider
        self._tracer = provider.get_tracer(_NAME)
        self._kind = SpanKind.CONSUMER
        self._error = StatusCode.ERROR

    def observe(self, batch: BatchResult) -> None:
        """Make the span of a batch that has ended."""
        end = round(batch.ended * 1e9)
        span = self._tracer.start_span(
            _SPAN,
            kind=self._kind,
            attributes=_attributes(batch),
            start_time=end - round(batch.seconds * 1e9),
        )
        if batch.error is not None or batch.failed:
            span.set_status(self._error, batch.error or f"{batch.failed} not applied")
        span.end(end)

    def close(self) -> None:
        """Send what was not sent yet."""
        self._provider.shutdown()


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
    if not any(name in environ for name in TRACE_VARIABLES):
        return None
    chosen = {name.strip() for name in environ.get("OTEL_TRACES_EXPORTER", "otlp").split(",")}
    if chosen == {"none"} or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    try:
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.trace.export import (  # noqa: PLC0415 - same
            BatchSpanProcessor,
            SimpleSpanProcessor,
        )

        exporters = [_exporter(name, at_once=at_once) for name in sorted(chosen - {"none", ""})]
    except ModuleNotFoundError as error:
        extra = {"reason": f"{error.name} is not installed; pip install 'dynamirror[otel]'"}
        logger.warning("no traces", extra=extra)
        return None
    # The body closes it, which the end of the process need not do again.
    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    for exporter in filter(None, exporters):
        processor = SimpleSpanProcessor(exporter) if at_once else BatchSpanProcessor(exporter)
        provider.add_span_processor(processor)
    return BatchSpans(provider)


def _exporter(name: str, *, at_once: bool) -> "SpanExporter | None":
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415 - same

        return ConsoleSpanExporter(out=sys.stderr)
    if name == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - same
            OTLPSpanExporter,
        )

        return OTLPSpanExporter(timeout=_AT_ONCE_SECONDS if at_once else None)
    extra = {"reason": f"OTEL_TRACES_EXPORTER: {name} is not otlp, console or none"}
    logger.warning("no traces", extra=extra)
    return None


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
