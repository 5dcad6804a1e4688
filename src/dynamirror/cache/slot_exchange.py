"""Commands to one node of a cache, with proof that its slots stayed while they were carried out."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from dynamirror.cache.answers import failure_reason
from dynamirror.cache.cluster import Cluster
from dynamirror.cache.connection import AnswerError, Connection
from dynamirror.cache.pipeline import packed
from dynamirror.cache.scripts import Word
from dynamirror.cache.slot_map import Node
from dynamirror.cache.slot_ownership import Ownership
from dynamirror.errors import CacheError

# Another process has another run id, and a replica that becomes a primary another replication id.
_PROCESS: Final = re.compile(rb"^(?:run_id|role|master_replid):(\S+)", re.MULTILINE)
_NODES: Final = (b"CLUSTER", b"NODES")
UNKNOWN: Final = "?"


class MovedError(CacheError):
    """A slot moved while it was read, or the node is not its holder."""


class SlotExchange:
    """Sends commands to nodes of a cache, and reports which slots these hold.

    Args:
        cluster: the nodes.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def holds(self, owner: Ownership, first: int, last: int) -> bool:
        """Return whether a node holds all slots from the first to the last."""
        return self._cluster.is_serverless or owner.holds(first, last)

    def name(self, owner: Ownership) -> tuple[bytes, ...]:
        """Return what differs if a slot was elsewhere in between."""
        # A proxy before a cluster is one node to its clients, whichever node answers.
        return owner.slots if self._cluster.only_node() else (owner.id, owner.epoch, *owner.slots)

    def run(self, node: Node, commands: Sequence[tuple[Word, ...]]) -> tuple[Ownership, list[Any]]:
        """Send commands, and return their answers and the slots that the node held throughout.

        Raises:
            MovedError: its slots changed.
            CacheError: the node cannot be reached or refuses.
        """
        if self._cluster.is_serverless:
            return Ownership(), self._send(node, commands)
        before, *answers, after = self._send(node, [_NODES, *commands, _NODES])
        owner = Ownership.parse(before)
        if self.name(owner) != self.name(Ownership.parse(after)):
            raise MovedError("slots moved between nodes")
        return owner, answers

    def _send(self, node: Node, commands: Sequence[tuple[Word, ...]]) -> list[Any]:
        """Send commands over one connection, and return their answers."""
        answers: list[Any] = []
        with self._cluster.connection(node) as connection:
            try:
                connection.send(b"".join(map(packed, commands)))
                connection.read_all(answers, len(commands))
            except BaseException as error:
                connection.close()
                if isinstance(error, OSError):
                    self._cluster.mark_suspect(node)
                    raise CacheError(f"cache {node}: {failure_reason(error)}") from error
                raise
        for answer in answers:
            if isinstance(answer, AnswerError):
                raise CacheError(f"cache {node}: {failure_reason(answer)}") from answer
        return answers

    def server(self, node: Node, connection: Connection) -> str:
        """Return what names the server, its role and its slots.

        It begins with `UNKNOWN` if the server does not report its process.

        Raises:
            ConnectionLostError: the connection was lost.
            CacheError: the node does not answer in time.
        """
        if self._cluster.is_serverless:
            return "serverless"  # whichever node answers
        exchange, parts = partial(self._cluster.exchange, node, connection), list[str]()
        for section in (b"server", b"replication"):
            try:
                report = exchange(b"INFO", section)
            except CacheError as error:
                if isinstance(error.__cause__, AnswerError):
                    continue  # the user lacks the right
                raise
            parts += [name.decode() for name in _PROCESS.findall(report)]
        parts = parts or [UNKNOWN]
        if self._cluster.is_clustered:
            owner = Ownership.parse(exchange(*_NODES))
            parts += [word.decode() for word in self.name(owner)]
        return " ".join(parts)
