"""Sends many commands at once: one plain pipeline a node.

A node that hangs costs one timeout, and the other nodes' answers are kept. Cluster clients ask the
server for the keys of every EVALSHA, and some wait a minute for a node that hangs.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat
from typing import Any, Final

import libvalkey

from dynamirror.cache import scripts
from dynamirror.cache.answers import Failure, failure_reason
from dynamirror.cache.cluster import Cluster, Node
from dynamirror.cache.connection import BREAKING, AnswerError, Connection
from dynamirror.cache.scripts import Command, Word

# While the server works on one chunk, the next is being made.
CHUNK: Final = 200
# Chunks under way while the next is made: with fewer, a node a millisecond away is waited for.
UNDER_WAY: Final = 3
# The index of what nobody asked for.
_NOBODY: Final = -1
_UNREACHED: Final = Failure("not sent")
_SCRIPT_LOADS: Final = tuple((b"SCRIPT", b"LOAD", script.source) for script in scripts.ALL)


class PipelinedCall:
    """One call of `Cache.execute`.

    Args:
        cluster: where to send.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pipelines: dict[Node, NodePipeline] = {}
        self._replies: list[Any] = []

    def run(self, commands: Iterator[Command]) -> list[Any]:
        """Carry out the commands; returns for each the answer, or a Failure."""
        sent: list[Command] = []
        try:
            while chunk := list(islice(commands, CHUNK)):
                self._send(chunk, len(sent))
                sent += chunk
                for pipeline in self._pipelines.values():
                    pipeline.receive(self._replies, leave=UNDER_WAY)
            self._receive_all()
            self._send_again(sent)
            self._receive_all()
        finally:
            for pipeline in self._pipelines.values():
                pipeline.close()
        return self._replies

    def _send(self, chunk: list[Command], begin: int) -> None:
        self._replies += [_UNREACHED] * len(chunk)
        if only := self._cluster.only_node():
            self._pipeline(only).send(range(begin, begin + len(chunk)), chunk, self._replies)
            return
        routes: dict[Node, dict[int, Command]] = {}
        for index, command in enumerate(chunk, begin):
            node = self._cluster.node_of(command.key)
            if node is None:
                self._cluster.invalidate_topology()
                self._replies[index] = Failure("no node holds the key's slot")
            else:
                routes.setdefault(node, {})[index] = command
        for node, group in routes.items():
            self._pipeline(node).send(group, group.values(), self._replies)

    def _send_again(self, sent: list[Command]) -> None:
        """Follow redirections, and repeat what a second attempt can carry out."""
        routes: dict[tuple[Node, bool], dict[int, Command]] = {}
        for index, reply in enumerate(self._replies):
            if isinstance(reply, Failure) and reply.cause is not None:
                node = self._cluster.node_of(sent[index].key)
                code, *address = str(reply.cause).split(" ")
                if code in ("MOVED", "ASK"):
                    if code == "MOVED":
                        self._cluster.invalidate_topology()
                    host, _, port = address[-1].rpartition(":")
                    host = host.replace("?", "") or (node.host if node else "")
                    route = (Node(host, int(port)), code == "ASK")
                    # That node may never have seen our scripts, and there is no third attempt.
                    self._pipeline(route[0]).load_scripts = True
                elif code in ("NOSCRIPT", "TRYAGAIN") and node is not None:
                    route = (node, False)
                else:
                    continue
                routes.setdefault(route, {})[index] = sent[index]
        for (node, asking), group in routes.items():
            self._pipeline(node).send(group, group.values(), self._replies, asking=asking)

    def _pipeline(self, node: Node) -> "NodePipeline":
        if node not in self._pipelines:
            self._pipelines[node] = NodePipeline(self._cluster, node)
        return self._pipelines[node]

    def _receive_all(self) -> None:
        for pipeline in self._pipelines.values():
            pipeline.receive(self._replies)


class NodePipeline:
    """The commands on their way to one node, and the connection that they take.

    Args:
        cluster: lends the connection.
        node: the node.
    """

    def __init__(self, cluster: Cluster, node: Node) -> None:
        self._cluster = cluster
        self._node = node
        self._pending: deque[Sequence[int]] = deque()
        self._connection: Connection | None = None
        self._broken: Failure | None = None
        self.load_scripts = False

    def send(
        self,
        indices: Iterable[int],
        commands: Iterable[Command],
        replies: list[Any],
        *,
        asking: bool = False,
    ) -> None:
        """Send commands; each answer belongs at its command's index."""
        words: list[tuple[Word, ...] | bytes] = [command.words for command in commands]
        if asking:
            indices = [index for asked in indices for index in (_NOBODY, asked)]
            words = [each for call in words for each in ((b"ASKING",), call)]
        if self.load_scripts:
            self.load_scripts = False
            words = [*_SCRIPT_LOADS, *words]
            indices = [*repeat(_NOBODY, len(_SCRIPT_LOADS)), *indices]
        self._pending.append(indices if isinstance(indices, range) else [*indices])
        if self._broken is None:
            try:
                if self._connection is None:
                    self._connection = self._cluster.checkout(self._node)
                self._connection.send(
                    b"".join([each if type(each) is bytes else packed(each) for each in words])
                )
            except (AnswerError, OSError) as error:
                self._break(error)
        if self._broken is not None:
            self.receive(replies)

    def receive(self, replies: list[Any], *, leave: int = 0) -> None:
        """Read answers until at most `leave` batches are under way."""
        while len(self._pending) > leave:
            indices = self._pending[0]
            answers = self._read(len(indices))
            # Only now: an exception raised before, as by a signal, finds the batch pending.
            self._pending.popleft()
            if isinstance(indices, range):
                replies[indices.start : indices.stop] = answers
                continue
            for index, reply in zip(indices, answers, strict=True):
                if index != _NOBODY:
                    replies[index] = reply

    def _read(self, count: int) -> list[Any]:
        """Return the next answers, with a Failure in the place of each error."""
        answers: list[Any] = []
        if self._broken is None:
            assert self._connection is not None
            try:
                self._connection.read_all(answers, count)
            except OSError as error:
                self._break(error)
        errors = AnswerError in set(map(type, answers))
        for index, answer in enumerate(answers) if errors else ():
            if isinstance(answer, AnswerError):
                if answer.code in BREAKING:
                    self._break(answer)
                    del answers[index:]
                    break
                answers[index] = Failure(failure_reason(answer), answer)
                self.load_scripts |= answer.code == "NOSCRIPT"
        if self._broken is not None:
            answers += [self._broken] * (count - len(answers))
        return answers

    def _break(self, error: AnswerError | OSError) -> None:
        self._broken = Failure(f"{self._node}: {failure_reason(error)}")
        self._cluster.mark_suspect(self._node)
        if self._connection is not None:
            self._connection.close()

    def close(self) -> None:
        """Release the connection, closed where answers are still to come."""
        if self._connection is not None:
            if self._pending:
                self._connection.close()
            self._cluster.release(self._node, self._connection)


def packed(words: tuple[Word, ...] | bytes) -> bytes:
    """Return a command as it goes over the wire."""
    return words if isinstance(words, bytes) else libvalkey.pack_command(words)
