"""`ResponseMetadata`: DynamoDB's own where it answered, else the like of it."""

from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from random import getrandbits
from time import time
from typing import Any, Final

CONTENT_TYPE: Final = "application/x-amz-json-1.0"
_ID_LENGTH: Final = 52


def request_id() -> str:
    """Return a name for an answer, as long as DynamoDB's own: capital letters and digits."""
    return f"{getrandbits(4 * _ID_LENGTH):052X}"


def synthetic(status: int = 200) -> dict[str, Any]:
    """Return metadata of an answer that no request to DynamoDB stands behind."""
    name = request_id()
    headers = {"content-type": CONTENT_TYPE, "date": date_of_now(), "x-amzn-requestid": name}
    return {
        "RequestId": name,
        "HTTPStatusCode": status,
        "HTTPHeaders": headers,
        "RetryAttempts": 0,
    }


def date_of_now() -> str:
    """Return this moment as HTTP writes it."""
    return _date(int(time()))


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
