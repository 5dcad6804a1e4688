"""Cutting what is read into chunks, by number and by the memory that they take."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

from dynamirror.records.attribute_value import Item

_T = TypeVar("_T")

# One or two of the largest items: 400 KB of small attributes take over ten times that in memory.
MOST_BYTES: Final = 8 << 20
# The objects that one attribute consists of.
_ATTRIBUTE_BYTES: Final = 400


def weight(item: Item) -> int:
    """Estimate the memory that an item takes, in bytes."""
    total = _ATTRIBUTE_BYTES * len(item)
    for name, value in item.items():
        total += len(name)
        for content in value.values():
            total += len(content) if type(content) is str else _content(content)
    return total


def _content(content: Any) -> int:
    if isinstance(content, str | bytes):
        return len(content)
    if isinstance(content, dict):
        return weight(content)
    if isinstance(content, list):
        return sum(_ATTRIBUTE_BYTES + _element(element) for element in content)
    return 0


def _element(element: Any) -> int:
    if isinstance(element, dict):
        return sum(map(_content, element.values()))
    return len(element)


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
