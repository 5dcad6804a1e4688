"""Scans the keys of all nodes, also while slots move between them."""

from collections.abc import Iterator
from math import inf
from time import sleep
from typing import Final

from dynamirror.cache.cluster import Cluster, ConnectionLostError
from dynamirror.cache.slot_map import Node
from dynamirror.errors import CacheError

# A scan is repeated where slots moved, after a growing pause in seconds: the nodes need a moment to
# learn of a move.
_MOST_PASSES: Final = 8
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


def scan_keys(cluster: Cluster, pattern: str) -> Iterator[bytes]:
    """Yield every key that matches a glob pattern and exists throughout; some may come twice.

    Where slots moved to another node meanwhile, all nodes are scanned again.

    Raises:
        CacheError: a node cannot be reached or refuses, or slots kept moving.
    """
    before, unchanged, pause = cluster.topology(), 0, _SHORTEST_PAUSE
    for _ in range(_MOST_PASSES):
        if before.passes < inf:
            for node in before.nodes:
                yield from _scan_node(cluster, node, pattern)
        after = cluster.topology()
        unchanged = unchanged + 1 if after == before else 0
        if unchanged >= after.passes:
            return
        if unchanged == 0 or after.passes == inf:
            sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        before = after
    raise CacheError(
        f"cache {cluster.seed}: slots moved between nodes each time its keys were scanned "
        f"({_MOST_PASSES} times); try again once the cluster is no longer being resharded"
    )


def _scan_node(cluster: Cluster, node: Node, pattern: str) -> Iterator[bytes]:
    """Scan one node, from the start again if the connection is lost.

    A cursor means nothing to another process, which may answer at the same address.
    """
    for attempts_left in reversed(range(_MOST_PASSES)):
        try:
            yield from _scan_once(cluster, node, pattern)
        except ConnectionLostError:
            if not attempts_left:
                raise
        else:
            return


def _scan_once(cluster: Cluster, node: Node, pattern: str) -> Iterator[bytes]:
    cursor: bytes = b"0"
    with cluster.connection(node) as connection:
        while True:
            cursor, keys = cluster.exchange(
                node, connection, b"SCAN", cursor, b"MATCH", pattern.encode(), b"COUNT", 1000
            )
            yield from keys
            if cursor == b"0":
                # The caller may have worked on the last keys for long: is it the same server still?
                cluster.exchange(node, connection, b"SCAN", b"0", b"COUNT", 1)
                return
