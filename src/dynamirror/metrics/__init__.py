"""Metrics and traces of batches."""

from collections.abc import Mapping
from typing import Final

# Any of these asks for traces: https://opentelemetry.io/docs/languages/sdk-configuration/
TRACE_VARIABLES: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
)


def traces_wanted(environ: Mapping[str, str]) -> bool:
    """Return whether an environment asks for traces; an empty variable counts as not set."""
    return any(environ.get(name) for name in TRACE_VARIABLES)
