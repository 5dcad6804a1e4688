"""The cache's answer in the form in which botocore returns DynamoDB's own."""

from base64 import b32encode, b64decode
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from os import urandom
from time import time
from typing import Any, Final
from zlib import crc32

import msgspec
from botocore.awsrequest import AWSResponse

from dynamirror.records.attribute_value import AttributeValue, Item

_encode = msgspec.json.Encoder().encode
_OK: Final = 200
_REQUEST_ID_BYTES: Final = 32  # 52 letters and digits, as DynamoDB's own


class CacheResponse(AWSResponse):
    """The response of HTTP that stands behind an answer of the cache.

    Args:
        url: where the request would have gone.
        headers: the headers, as DynamoDB would send them.
        content: the answer in JSON.
    """

    def __init__(self, url: str, headers: Any, content: bytes) -> None:
        super().__init__(url, _OK, headers, raw=None)
        self._content = content


def answer(url: str, body: Mapping[str, Any]) -> tuple[CacheResponse, dict[str, Any]]:
    """Return a response and its parsed body, as botocore's endpoint returns both.

    Args:
        url: where the request would have gone.
        body: the answer on the wire, binary as base64 text.
    """
    content = _encode(body)
    request_id = b32encode(urandom(_REQUEST_ID_BYTES)).decode().rstrip("=")
    headers = {
        "server": "dynamirror",
        "date": _date(int(time())),
        "content-type": "application/x-amz-json-1.0",
        "content-length": str(len(content)),
        "connection": "keep-alive",
        "x-amzn-requestid": request_id,
        "x-amz-crc32": str(crc32(content)),
    }
    answered = parsed(body)
    answered["ResponseMetadata"] = {
        "RequestId": request_id,
        "HTTPStatusCode": _OK,
        "HTTPHeaders": headers,
        "RetryAttempts": 0,
        "dynamirror": {"source": "cache", "age": None},
    }
    return CacheResponse(url, headers, content), answered


def parsed(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer as botocore parses it, binary as bytes."""
    return {name: _MEMBERS.get(name, _same)(value) for name, value in body.items()}


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def _same(value: Any) -> Any:
    return value


def parsed_item(item: Item) -> dict[str, AttributeValue]:
    """Return an item as botocore parses it, binary as bytes."""
    return {name: _value(value) for name, value in item.items()}


def _items(items: list[Item]) -> list[dict[str, AttributeValue]]:
    return [parsed_item(item) for item in items]


def _value(value: AttributeValue) -> AttributeValue:
    ((tag, content),) = value.items()
    convert = _CONTENTS.get(tag)
    return value if convert is None else {tag: convert(content)}


def _unprocessed(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {
        table: {**request, "Keys": _items(request["Keys"])} for table, request in tables.items()
    }


_CONTENTS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "B": b64decode,
    "BS": lambda texts: [b64decode(text) for text in texts],
    "L": lambda values: [_value(value) for value in values],
    "M": parsed_item,
}

_MEMBERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "Item": parsed_item,
    "Items": _items,
    "LastEvaluatedKey": parsed_item,
    "Responses": lambda tables: {table: _items(items) for table, items in tables.items()},
    "UnprocessedKeys": _unprocessed,
}
