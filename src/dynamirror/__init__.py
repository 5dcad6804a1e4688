"""Keeps an ElastiCache (Valkey) cache an exact, ordered mirror of a DynamoDB table."""

from __future__ import annotations

# `typing` takes some milliseconds, in which Ctrl-C would be a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dynamirror.attachment import Attachment, attach, detach
    from dynamirror.reader import AsyncReader, Reader, written_at
    from dynamirror.settings import Settings

__all__ = [
    "AsyncReader",
    "Attachment",
    "Reader",
    "Settings",
    "__version__",
    "attach",
    "detach",
    "written_at",
]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: the Lambda function uses none, and starts sooner."""
    if name == "Settings":
        from dynamirror.settings import Settings  # noqa: PLC0415 - see above

        return Settings
    if name in ("Attachment", "attach", "detach"):
        from dynamirror import attachment  # noqa: PLC0415 - see above

        return getattr(attachment, name)
    if name in __all__:
        from dynamirror import reader  # noqa: PLC0415 - see above

        return getattr(reader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
