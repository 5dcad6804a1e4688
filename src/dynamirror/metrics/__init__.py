"""Metrics and traces of batches."""

from typing import Final

# Any of these asks for traces: https://opentelemetry.io/docs/languages/sdk-configuration/
TRACE_VARIABLES: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
)
