"""Which node of a cache holds which slots, for threads and coroutines alike; pure."""

from binascii import crc_hqx
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from dynamirror.cache.answers import failure_reason
from dynamirror.cache.connection import AnswerError
from dynamirror.errors import CacheError

_SLOTS: Final = 16_384
_NO_CLUSTER: Final = "cluster support disabled"


class Node(NamedTuple):  # hashed for every command, which a dataclass does in Python
    """The address of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Route(NamedTuple):
    """Where to send a command once more.

    Args:
        node: the node.
        asking: whether the command needs ASKING before it.
    """

    node: Node
    asking: bool = False


class SlotMap:
    """The nodes of a cache and their slots, as a node listed them last.

    Args:
        seed: the node that is known from the start.
        single: use this one node only, even if it is part of a cluster.
    """

    def __init__(self, seed: Node, *, single: bool = False) -> None:
        self.seed = seed
        self.nodes: tuple[Node, ...] = (seed,)
        self.is_clustered = False
        self.is_stale = not single
        self._single = single
        self._slots: list[Node | None] = []  # empty while one node holds all slots
        self._suspects: set[Node] = set()

    def only_node(self) -> Node | None:
        """Return the node that holds all slots; None if several do."""
        return None if self._slots else self.nodes[0]

    def node_of(self, key: bytes) -> Node | None:
        """Return the node that holds a key's slot; None if no node does."""
        slots = self._slots  # which another thread may replace
        return slots[_key_slot(key)] if slots else self.nodes[0]

    def mark_suspect(self, node: Node) -> None:
        """Remember that a node did not answer: the slot map is read again, from others first."""
        self._suspects.add(node)
        self.invalidate_topology()

    def invalidate_topology(self) -> None:
        """Have the slot map read again before the next command."""
        self.is_stale = not self._single

    def informants(self) -> list[Node]:
        """Return the nodes to ask for the slot map, those that did not answer last."""
        trusted = (node for node in self.nodes if node not in self._suspects)
        return [*dict.fromkeys((*trusted, self.seed, *self.nodes))]

    def learn(self, node: Node, answer: Any) -> None:
        """Take in a node's answer to CLUSTER SLOTS, which may be that it is no cluster's.

        Raises:
            CacheError: no node holds a slot, or the node refuses.
        """
        if isinstance(answer, AnswerError):
            if _NO_CLUSTER not in str(answer):
                raise CacheError(f"cache {node}: {failure_reason(answer)}") from answer
            self.nodes, self._slots, self.is_clustered = (self.seed,), [], False
        else:
            if not answer:
                raise CacheError(f"cache {node}: no node holds any slot (is the cluster set up?)")
            ranges = sorted(
                (first, last, Node(_host(primary[0]) or node.host, primary[1]))
                for first, last, primary, *_replicas in answer
            )
            self.nodes = tuple(dict.fromkeys(holder for _first, _last, holder in ranges))
            held = sum(last + 1 - first for first, last, _holder in ranges)
            self._slots = _by_slot(ranges) if len(self.nodes) > 1 or held < _SLOTS else []
            self.is_clustered = True
        self.is_stale = False
        self._suspects.clear()

    def route_again(self, key: bytes, error: AnswerError) -> Route | None:
        """Return where a command may work that a node refused; None for nowhere.

        Args:
            key: the key that the command concerns.
            error: the node's answer.
        """
        node = self.node_of(key)
        if error.code in ("MOVED", "ASK"):
            if error.code == "MOVED":
                self.invalidate_topology()
            # MOVED SLOT HOST:PORT, where the host may be empty
            host, _, port = str(error).rpartition(" ")[2].rpartition(":")
            host = host.replace("?", "") or (node.host if node else "")
            return Route(Node(host, int(port)), error.code == "ASK")
        if error.code in ("NOSCRIPT", "TRYAGAIN") and node is not None:
            return Route(node)
        return None


def _host(name: bytes | None) -> str:
    """Return the host in an answer to `CLUSTER SLOTS`; empty where the node does not know it."""
    return (name or b"").decode().replace("?", "")


def _by_slot(ranges: Iterable[tuple[int, int, Node]]) -> list[Node | None]:
    slots: list[Node | None] = [None] * _SLOTS
    for first, last, holder in ranges:
        slots[first : last + 1] = [holder] * (last + 1 - first)
    return slots


def _key_slot(key: bytes) -> int:
    """Return the slot of a key: CRC16 of its hash tag, or of all of it.

    https://valkey.io/topics/cluster-spec/#key-distribution-model
    """
    begin = key.find(b"{")
    end = key.find(b"}", begin)
    if begin >= 0 and end > begin + 1:
        key = key[begin + 1 : end]
    return crc_hqx(key, 0) % _SLOTS
