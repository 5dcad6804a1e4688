"""What goes wrong: each fault begins, is left to do harm, and is lifted."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from chaos.cluster import Cluster, Node
from chaos.world import World

# Time enough for what a woken mirror had in hand to reach the cache.
_LAST_GASP = 0.5

Fault = Callable[[World, random.Random], AbstractContextManager[None]]


class HasCluster(Protocol):
    """What faults of the cache need of a run."""

    @property
    def cluster(self) -> Cluster:
        """The cache."""


def _node(world: HasCluster, rng: random.Random) -> Node:
    return rng.choice(world.cluster.nodes)


@contextmanager
def node_hangs(world: HasCluster, rng: random.Random) -> Iterator[None]:
    """A node of the cache answers nothing."""
    node = _node(world, rng)
    node.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        node.signal(signal.SIGCONT)


@contextmanager
def node_killed(world: HasCluster, rng: random.Random) -> Iterator[None]:
    """A node of the cache dies, and comes back with what it had acknowledged."""
    node = _node(world, rng)
    node.signal(signal.SIGKILL)
    try:
        yield
    finally:
        node.restart()
        world.cluster.settle()


@contextmanager
def memory_full(world: HasCluster, rng: random.Random) -> Iterator[None]:
    """A node of the cache refuses to grow."""
    node = _node(world, rng)
    node.ask(b"CONFIG", b"SET", b"maxmemory", b"1")
    try:
        yield
    finally:
        node.ask(b"CONFIG", b"SET", b"maxmemory", b"0")


@contextmanager
def scripts_forgotten(world: HasCluster, rng: random.Random) -> Iterator[None]:
    """A node of the cache forgets its scripts."""
    _node(world, rng).ask(b"SCRIPT", b"FLUSH")
    yield


@contextmanager
def connections_cut(world: HasCluster, _rng: random.Random) -> Iterator[None]:
    """All connections to the cache are cut, wherever they were."""
    for node in world.cluster.nodes:
        node.ask(b"CLIENT", b"KILL", b"TYPE", b"NORMAL")
    yield


@contextmanager
def slots_moved(world: HasCluster, rng: random.Random) -> Iterator[None]:
    """A quarter of a node's slots moves to another node."""
    giver, taker = rng.sample(world.cluster.nodes, 2)
    ranges = [
        (first, last)
        for first, last, primary, *_ in giver.ask(b"CLUSTER", b"SLOTS")
        if primary[1] == giver.port
    ]
    if ranges:
        first, last = rng.choice(ranges)
        middle = first + (last - first) // 4
        words = (b"MIGRATESLOTS", b"SLOTSRANGE", first, middle, b"NODE", taker.name)
        giver.ask(b"CLUSTER", *words)
    yield


def _stream(rule: dict[str, Any]) -> Fault:
    @contextmanager
    def fault(world: World, _rng: random.Random) -> Iterator[None]:
        world.inject({"service": "dynamodbstreams", "probability": 0.5} | rule)
        try:
            yield
        finally:
            world.inject()

    return fault


@contextmanager
def mirror_killed(world: World, rng: random.Random) -> Iterator[None]:
    """The mirror dies in the middle of whatever it does."""
    world.kill_mirror(world.any_mirror(rng))
    try:
        yield
    finally:
        world.start_mirror()


@contextmanager
def mirror_frozen(world: World, rng: random.Random) -> Iterator[None]:
    """The mirror freezes, another takes over, and the first wakes up and finishes what it began."""
    zombie = world.any_mirror(rng)
    zombie.process.send_signal(signal.SIGSTOP)
    world.start_mirror()
    try:
        yield
    finally:
        zombie.process.send_signal(signal.SIGCONT)
        time.sleep(_LAST_GASP)
        world.kill_mirror(zombie)


@contextmanager
def all_delivered_again(world: World, rng: random.Random) -> Iterator[None]:
    """The positions are lost, and the stream comes again from its beginning."""
    world.kill_mirror(world.any_mirror(rng))
    world.forget_positions()
    world.start_mirror()
    yield


FAULTS: dict[str, Fault] = {
    "cache: node hangs": node_hangs,
    "cache: node killed": node_killed,
    "cache: memory full": memory_full,
    "cache: scripts forgotten": scripts_forgotten,
    "cache: connections cut": connections_cut,
    "cache: slots moved": slots_moved,
    "stream: throttled": _stream({"error": {"code": "ProvisionedThroughputExceededException"}}),
    "stream: internal errors": _stream({"error": {"code": "InternalServerError", "status": 500}}),
    "stream: iterators expired": _stream(
        {"operation": "GetRecords", "error": {"code": "ExpiredIteratorException"}}
    ),
    "stream: answers cut short": _stream(
        {"operation": "GetRecords", "response": {"truncate_frac": 0.5}}
    ),
    "stream: connections reset": _stream({"reset": True}),
    "stream: slow": _stream({"latency": {"dist": "uniform", "min_ms": 50, "max_ms": 300}}),
    "mirror: killed": mirror_killed,
    "mirror: frozen, replaced, woken": mirror_frozen,
    "mirror: all delivered again": all_delivered_again,
}
