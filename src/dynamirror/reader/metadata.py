"""`ResponseMetadata`: DynamoDB's own where it answered, else the like of it."""

from collections.abc import Mapping
from os import urandom
from typing import Any


def synthetic(status: int = 200) -> dict[str, Any]:
    """Metadata of an answer that no request to DynamoDB stands behind."""
    return {
        "RequestId": urandom(16).hex(),
        "HTTPStatusCode": status,
        "HTTPHeaders": {},
        "RetryAttempts": 0,
    }


def metadata(
    source: str, age: float | None = None, own: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Metadata of an answer.

    Args:
        source: cache, table or mixed.
        age: seconds; None if not known or not asked for.
        own: what came with DynamoDB's answer; None if there is not just one.
    """
    known = synthetic() if own is None else dict(own)
    known["dynamirror"] = {"source": source, "age": age}
    return known
