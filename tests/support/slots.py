"""Moves slots between the nodes of a test cluster."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.clusters import (
    Node,
    holder_of,
)
from tests.support.deadlines import wait_until


@contextmanager
def borrowed(nodes: list[Node], slots: tuple[int, int], *, source: int) -> Iterator[None]:
    """Slots are back where they were at the end."""
    try:
        yield
    finally:
        for node in nodes:
            node.ask(b"FLUSHALL")
        for index, node in enumerate(nodes):
            if index != source and holder_of(node, slots[0]) == node.port:
                move(nodes, slots, source=index, target=source)
                wait_until(lambda: moved(nodes, slots, source))


def move(nodes: list[Node], slots: tuple[int, int], *, source: int, target: int) -> None:
    """Begin to move slots, all of them at once in the end."""
    words = (b"SLOTSRANGE", *slots, b"NODE", nodes[target].name)
    nodes[source].ask(b"CLUSTER", b"MIGRATESLOTS", *words)


def moved(nodes: list[Node], slots: tuple[int, int], to: int) -> bool:
    """Whether all nodes know of it."""
    return all(holder_of(node, slot) == nodes[to].port for node in nodes for slot in slots)
