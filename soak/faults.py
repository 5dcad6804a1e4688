"""What goes wrong in a soak: each fault begins, is left to do harm, and is lifted."""

import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from chaos.cluster import Node, wait_until

from chaos import faults as chaos_faults
from soak.cluster import ReplicatedCluster

# Time enough for what a woken worker had in hand to reach the cache.
_LAST_GASP: Final = 0.5


class World(Protocol):
    """What faults need of a run."""

    @property
    def cluster(self) -> ReplicatedCluster:
        """The cache."""

    def kill_worker(self, number: int) -> None:
        """End a worker without warning, and start it again."""

    def freeze_worker(self, number: int) -> Callable[[], None]:
        """Stop a worker, start another for its lanes, and return what wakes the first and ends it.

        It ends a while after it woke.
        """

    def worker_numbers(self) -> list[int]:
        """Return the numbers of the workers."""

    def note_loss(self, reason: str) -> None:
        """Record that the cache may have lost writes that it acknowledged."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Args:
        begin: does harm, and lifts it at the end.
        is_outage: whether the cache itself is down meanwhile, or refuses writes.
        loses: whether the cache loses writes that it acknowledged, so that it is rebuilt.
        shortest: seconds it lasts, at least.
        longest: seconds it lasts, at most.
    """

    begin: Callable[[World, random.Random], AbstractContextManager[None]]
    is_outage: bool = False
    loses: bool = False
    shortest: float = 0.5
    longest: float = 4.0


@contextmanager
def _asked_failover(world: World, _rng: random.Random) -> Iterator[None]:
    """Have the replica take over as an operator asks it to: no acknowledged write is lost."""
    cluster = world.cluster
    primary, replica = cluster.primary, cluster.replica
    replica.ask(b"CLUSTER", b"FAILOVER")
    _wait_for_role(replica, b"master")
    cluster.swap(primary)
    yield
    cluster.follow(primary, replica)
    cluster.settle()


@contextmanager
def _sudden_failover(world: World, _rng: random.Random) -> Iterator[None]:
    """Kill a primary, and have its replica take over with what it had got by then."""
    cluster = world.cluster
    primary, replica = cluster.primary, cluster.replica
    primary.signal(signal.SIGKILL)
    replica.ask(b"CLUSTER", b"FAILOVER", b"TAKEOVER")
    _wait_for_role(replica, b"master")
    cluster.swap(primary)
    world.note_loss("a failover may have lost writes that the cache acknowledged")
    yield
    primary.restart()
    cluster.follow(primary, replica)
    cluster.settle()


def _wait_for_role(node: Node, role: bytes) -> None:
    wait_until(lambda: node.ask(b"ROLE")[0] == role, "the replica to take over")


@contextmanager
def _data_lost(world: World, _rng: random.Random) -> Iterator[None]:
    """Delete the data of all nodes."""
    for node in world.cluster.nodes:
        node.ask(b"FLUSHALL")
    yield


@contextmanager
def _worker_killed(world: World, rng: random.Random) -> Iterator[None]:
    """Kill a worker in the middle of its work, and start it again."""
    world.kill_worker(rng.choice(world.worker_numbers()))
    yield


@contextmanager
def _all_workers_killed(world: World, _rng: random.Random) -> Iterator[None]:
    """Kill all workers at once."""
    for number in world.worker_numbers():
        world.kill_worker(number)
    yield


@contextmanager
def _worker_frozen(world: World, rng: random.Random) -> Iterator[None]:
    """Freeze a worker, have another take over, and wake the first, which finishes its batch."""
    wake = world.freeze_worker(rng.choice(world.worker_numbers()))
    try:
        yield
    finally:
        wake()
        time.sleep(_LAST_GASP)


FAULTS: Final[Mapping[str, Fault]] = {
    "cache: node hangs": Fault(chaos_faults.node_hangs, is_outage=True),
    "cache: node killed": Fault(chaos_faults.node_killed, is_outage=True),
    "cache: memory full": Fault(chaos_faults.memory_full, is_outage=True),
    "cache: failover, asked for": Fault(_asked_failover),
    "cache: failover, sudden": Fault(_sudden_failover, is_outage=True, loses=True),
    "cache: all data lost": Fault(_data_lost, is_outage=True, loses=True),
    "cache: slots moved": Fault(chaos_faults.slots_moved),
    "cache: connections cut": Fault(chaos_faults.connections_cut),
    "cache: scripts forgotten": Fault(chaos_faults.scripts_forgotten),
    "worker: killed": Fault(_worker_killed),
    "worker: all killed": Fault(_all_workers_killed),
    "worker: frozen, replaced, woken": Fault(_worker_frozen),
}
