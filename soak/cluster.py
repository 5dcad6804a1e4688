"""The cache of the soak: three primaries, one of which has a replica."""

from contextlib import suppress
from typing import Final

from chaos.cluster import Cluster, Node, wait_until

from dynamirror.emulators.process import HOST
from dynamirror.errors import CacheError

# Written before each answer, which survives a SIGKILL; no disk delays it. A replica takes over only
# when it is asked to, so that each loss of acknowledged writes is a declared one.
_OPTIONS: Final = (
    *("--appendfsync", "no", "--auto-aof-rewrite-min-size", "1gb"),
    *("--repl-diskless-sync-delay", "0", "--shutdown-timeout", "0"),
    *("--cluster-replica-no-failover", "yes"),
)


class ReplicatedCluster(Cluster):
    """Three nodes that share the slots, and one that follows one of them."""

    def __init__(self) -> None:
        super().__init__(_OPTIONS)
        try:
            self.replica = Node(None, _OPTIONS)
            self._all = [*self.nodes, self.replica]
            self.replica.ask(b"CLUSTER", b"MEET", HOST, self.nodes[0].port)
            wait_until(self.replica.in_order, "the replica to know the cluster")
            self.follow(self.replica, self.nodes[0])
        except BaseException:
            self.stop()
            raise

    @property
    def primary(self) -> Node:
        """The node that has a replica."""
        return next(node for node in self.nodes if node is not self.replica and self._leads(node))

    def _leads(self, node: Node) -> bool:
        with suppress(CacheError):
            role = self.replica.ask(b"ROLE")
            return bool(role[0] == b"slave" and role[2] == node.port)
        return False

    def follow(self, replica: Node, primary: Node) -> None:
        """Make a node the replica of another, and wait until it has all that one has."""

        def follows() -> bool:
            with suppress(CacheError):
                replica.ask(b"CLUSTER", b"REPLICATE", primary.name)
                role = replica.ask(b"ROLE")
                return bool(role[0] == b"slave" and role[3] == b"connected")
            return False

        wait_until(follows, "the replica to follow")

    def swap(self, primary: Node) -> None:
        """Note that the replica has taken the place of its primary, which follows from now on."""
        self.nodes[self.nodes.index(primary)], self.replica = self.replica, primary

    def stop(self) -> None:
        """Stop all nodes."""
        self.nodes = getattr(self, "_all", self.nodes)
        super().stop()
