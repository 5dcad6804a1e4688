"""A cluster of three real nodes, between which slots move and of which any may hang or die."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support.deadlines import settle
from tests.support.scans import scanned_keys
from valkey.crc import key_slot

from dynamirror.cache.client import Cache
from dynamirror.emulators.valkey import EmbeddedValkey

HOST = "127.0.0.1"
RANGES = ((0, 5_460), (5_461, 10_922), (10_923, 16_383))
# As ElastiCache has it: the slots of a node that fails are missing, the others are served.
OPTIONS = ("--cluster-require-full-coverage", "no")
# A replica's first copy, and the end of a primary whose replica has not answered.
AT_ONCE = ("--repl-diskless-sync-delay", "0", "--shutdown-timeout", "0")

# Seconds to wait for an answer of a node that is asked directly: the machine may be busy.
_PATIENCE = 60.0


class Node:
    """One node, and a connection to it alone; to be closed.

    Args:
        slots: first and last hash slot that it takes; None for none.
        folder: where it keeps its data and its place in the cluster, should it be started again.
    """

    def __init__(self, slots: tuple[int, int] | None, folder: Path | None = None) -> None:
        self._slots = slots
        self._options: tuple[str, ...] = OPTIONS
        if folder is not None:
            folder.mkdir()
            self._options += ("--dir", str(folder), "--appendonly", "yes")
            # Written before each answer, which survives a SIGKILL, and no disk delays it.
            self._options += ("--appendfsync", "no", *AT_ONCE)
        self.server = EmbeddedValkey(slots=slots, options=self._options)
        self.port = self.server.port
        self.direct = Cache(self.server.settings(timeout=_PATIENCE), single=True)
        self.name: bytes = self.ask(b"CLUSTER", b"MYID")

    def __str__(self) -> str:
        return f"{HOST}:{self.port}"

    def ask(self, *words: bytes | str | int) -> Any:
        """Have the node carry out a command."""
        (answer,) = self.direct.broadcast(*words)
        return answer

    def errors(self, kind: str) -> int:
        """How often it answered with an error of that kind."""
        for line in self.ask(b"INFO", b"errorstats").decode().splitlines():
            if line.startswith(f"errorstat_{kind}:"):
                return int(line.partition("count=")[2])
        return 0

    def is_primary(self) -> bool:
        """Whether it finds itself the holder of its slots."""
        return bool(self.ask(b"ROLE")[0] == b"master")

    def kill(self) -> None:
        """End it as a failure of the machine would."""
        os.kill(process_of(self.server), signal.SIGKILL)
        self.server.stop()  # what the guard left

    def start(self) -> None:
        """Start it again, at the same port and with what it had written down."""
        self.server = EmbeddedValkey(slots=self._slots, options=self._options, port=self.port)

    def close(self) -> None:
        """Stop it."""
        self.direct.close()
        self.server.stop()


@contextmanager
def three_nodes(folders: Sequence[Path | None] = (None, None, None)) -> Iterator[list[Node]]:
    """Three nodes that know each other, each with a third of the slots."""
    with ExitStack() as stack:
        nodes = []
        for slots, folder in zip(RANGES, folders, strict=True):
            nodes.append(Node(slots, folder))
            stack.callback(nodes[-1].close)
        for node in nodes[1:]:
            nodes[0].ask(b"CLUSTER", b"MEET", HOST, node.port)
        settle(lambda: all(map(knows_all, nodes)))
        yield nodes


def knows_all(node: Node) -> bool:
    """Whether the node finds the cluster in order, and knows of every slot."""
    info = node.ask(b"CLUSTER", b"INFO")
    wanted = (b"cluster_state:ok", b"cluster_slots_ok:16384", b"cluster_size:3")
    return all(line + b"\r" in info for line in wanted)


def keys_of(node: int, count: int, prefix: str = "key-") -> list[str]:
    """Keys whose slots are the node's."""
    first, last = RANGES[node]
    keys = (f"{prefix}{number}" for number in range(1_000_000))
    mine = (key for key in keys if first <= key_slot(key.encode()) <= last)
    return [next(mine) for _ in range(count)]


def in_one_slot(tag: str, count: int) -> list[str]:
    """Keys that share a slot."""
    return [f"{{{tag}}}:{number}" for number in range(count)]


def holders(nodes: list[Node], key: str) -> list[int]:
    """The nodes that hold a key."""
    return [
        index for index, node in enumerate(nodes) if key.encode() in scanned_keys(node.direct, "*")
    ]


@contextmanager
def slot_in_between(nodes: list[Node], slot: int, *, to: int) -> Iterator[int]:
    """A slot on its way from one node to another; it is back where it was at the end."""
    source = next(index for index, (_, last) in enumerate(RANGES) if slot <= last)
    nodes[to].ask(b"CLUSTER", b"SETSLOT", slot, b"IMPORTING", nodes[source].name)
    nodes[source].ask(b"CLUSTER", b"SETSLOT", slot, b"MIGRATING", nodes[to].name)
    try:
        yield source
    finally:
        for node in nodes:
            node.ask(b"FLUSHALL")
        give(nodes, slot, to=source)


def give(nodes: list[Node], slot: int, *, to: int) -> None:
    """Make a node the holder of a slot, for all of them at once.

    Its configuration epoch comes to be the highest: an older claim, still under way from
    the holder before, would otherwise be believed for good. A node that has not heard of
    the others' epochs bumps its own to less than theirs, or not at all: it is asked until it has.
    """

    def newest() -> bool:
        nodes[to].ask(b"CLUSTER", b"BUMPEPOCH")
        epoch, *others = sorted(map(epoch_of, nodes), reverse=True)
        return epoch_of(nodes[to]) == epoch > max(others)

    settle(newest)
    for index in sorted(range(len(nodes)), key=lambda index: index != to):
        nodes[index].ask(b"CLUSTER", b"SETSLOT", slot, b"NODE", nodes[to].name)

    def agreed() -> bool:
        return all(holder_of(node, slot) == nodes[to].port for node in nodes)

    settle(agreed)


def drop(nodes: list[Node], holder: int) -> None:
    """Make nobody the holder of a node's slots.

    An older claim of its holder's may still be under way, and is believed for good: what
    comes back is taken away again, and looked at once more.
    """

    def is_gone(node: Node) -> bool:
        if holder_of(node, RANGES[holder][0]) is None:
            return True
        node.ask(b"CLUSTER", b"DELSLOTSRANGE", *RANGES[holder])
        return False

    for _ in range(2):
        settle(lambda: all(is_gone(node) for node in (nodes[holder], *nodes)))


def epoch_of(node: Node) -> int:
    """The node's own configuration epoch."""
    info = node.ask(b"CLUSTER", b"INFO")
    return int(info.partition(b"cluster_my_epoch:")[2].split()[0])


def holder_of(node: Node, slot: int) -> int | None:
    """The port of the node that holds a slot, as one node sees it."""
    for first, last, primary, *_ in node.ask(b"CLUSTER", b"SLOTS"):
        if first <= slot <= last:
            return int(primary[1])
    return None


def migrate(nodes: list[Node], source: int, to: int, keys: list[str]) -> None:
    """Move keys from node to node."""
    target = (HOST, nodes[to].port, b"", 0, 5_000)
    assert nodes[source].ask(b"MIGRATE", *target, b"KEYS", *keys) == b"OK"


def other_than(slot: int) -> int:
    """A node that does not hold the slot."""
    return 0 if slot > RANGES[0][1] else 1


def process_of(server: EmbeddedValkey) -> int:
    """The process id of the server itself."""
    guard = server.guard_pid
    children = Path(f"/proc/{guard}/task/{guard}/children").read_text(encoding="ascii").split()
    (process,) = map(int, children)
    return process


@contextmanager
def hung(server: EmbeddedValkey) -> Iterator[None]:
    """The server's process stands still."""
    process = process_of(server)
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)
