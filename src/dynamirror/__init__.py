"""Keeps an ElastiCache (Valkey) cache an exact, ordered mirror of a DynamoDB table."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynamirror.reader import AsyncReader, Reader

__all__ = ["AsyncReader", "Reader", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import a reader when it is asked for: the Lambda function never does, and starts sooner."""
    if name in ("AsyncReader", "Reader"):
        from dynamirror import reader  # noqa: PLC0415 - see above

        return getattr(reader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
