"""`ResponseMetadata`: DynamoDB's own where it answered, else the like of it."""

from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from random import getrandbits
from time import time
from typing import Any, Final

_CONTENT_TYPE: Final = "application/x-amz-json-1.0"


def synthetic(status: int = 200) -> dict[str, Any]:
    """Return metadata of an answer that no request to DynamoDB stands behind."""
    request_id = f"{getrandbits(128):032X}"
    date = _date(int(time()))
    headers = {"content-type": _CONTENT_TYPE, "date": date, "x-amzn-requestid": request_id}
    return {
        "RequestId": request_id,
        "HTTPStatusCode": status,
        "HTTPHeaders": headers,
        "RetryAttempts": 0,
    }


@lru_cache(maxsize=2)
def _date(seconds: int) -> str:
    """Return a moment as HTTP writes it."""
    return formatdate(seconds, usegmt=True)


def metadata(
    source: str, age: float | None = None, own: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return metadata of an answer.

    Args:
        source: cache, table or mixed.
        age: seconds; None if not known or not asked for.
        own: what came with DynamoDB's answer; None if there is not just one.
    """
    known = synthetic() if own is None else dict(own)
    known["dynamirror"] = {"source": source, "age": age}
    return known
