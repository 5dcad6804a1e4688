"""Cutting what is read into chunks, by number and by the memory that they take."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

from dynamirror.records.attribute_value import Item

_T = TypeVar("_T")

# One or two of the largest items: 400 KB of small attributes take over ten times that in memory.
MOST_BYTES: Final = 8 << 20
# The objects that one attribute consists of.
_ATTRIBUTE_BYTES: Final = 400


def weight(item: Item) -> int:
    """Estimate the memory that an item takes, in bytes."""
    return sum(_ATTRIBUTE_BYTES + len(name) + _content(value) for name, value in item.items())


def _content(value: Mapping[str, Any]) -> int:
    total = 0
    for content in value.values():
        if isinstance(content, str | bytes):
            total += len(content)
        elif isinstance(content, dict):
            total += weight(content)
        elif isinstance(content, list):
            for one in content:
                inner = _content(one) if isinstance(one, dict) else len(one)
                total += _ATTRIBUTE_BYTES + inner
    return total


def chunked(
    things: Iterable[_T], weigh: Callable[[_T], int], *, most: int, most_bytes: int = MOST_BYTES
) -> Iterator[list[_T]]:
    """Cut things into chunks, in their order.

    Args:
        things: are drawn only as the chunk needs them.
        weigh: estimates the memory of one, in bytes.
        most: how many a chunk has at the most.
        most_bytes: a chunk that takes so many bytes is full.
    """
    chunk: list[_T] = []
    size = 0
    for thing in things:
        chunk.append(thing)
        size += weigh(thing)
        if len(chunk) >= most or size >= most_bytes:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
