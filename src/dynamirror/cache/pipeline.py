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
from dynamirror.cache.answers import PROTOCOL_ERROR, Failure, failure_reason
from dynamirror.cache.cluster import Cluster
from dynamirror.cache.connection import BREAKING, AnswerError, Connection
from dynamirror.cache.scripts import Command, Word
from dynamirror.cache.slot_map import Node, Route

# While the server works on one chunk, the next is being made.
CHUNK: Final = 200
# Chunks under way while the next is made: with fewer, a node a millisecond away is waited for.
UNDER_WAY: Final = 3
# The index of what nobody asked for.
_NOBODY: Final = -1
_UNREACHED: Final = Failure("not sent")
# After a protocol error the node closes the connection: it has not read what came behind.
_CUT_OFF: Final = Failure("the node closed the connection, because it refused another command")
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
            self._send_again(sent, range(len(sent)))
            # Each time at least the first is answered, and so there is an end.
            while some := [index for index, at in enumerate(self._replies) if at is _CUT_OFF]:
                del some[CHUNK:]
                self._dispatch(some, [sent[index] for index in some])
                self._receive_all()
                self._send_again(sent, some)
        finally:
            for pipeline in self._pipelines.values():
                pipeline.close()
        return self._replies

    def _send(self, chunk: list[Command], begin: int) -> None:
        self._replies += [_UNREACHED] * len(chunk)
        self._dispatch(range(begin, begin + len(chunk)), chunk)

    def _dispatch(self, indices: Sequence[int], commands: list[Command]) -> None:
        """Send commands to the nodes that hold their slots."""
        if only := self._cluster.only_node():
            self._pipeline(only).send(indices, commands, self._replies)
            return
        routes: dict[Node, dict[int, Command]] = {}
        for index, command in zip(indices, commands, strict=True):
            node = self._cluster.node_of(command.key)
            if node is None:
                self._cluster.invalidate_topology()
                self._replies[index] = Failure("no node holds the key's slot")
            else:
                routes.setdefault(node, {})[index] = command
        for node, group in routes.items():
            self._pipeline(node).send(group, group.values(), self._replies)

    def _send_again(self, sent: list[Command], indices: Iterable[int]) -> None:
        """Follow redirections, and repeat what a second attempt can carry out."""
        routes: dict[Route, dict[int, Command]] = {}
        for index in indices:
            reply = self._replies[index]
            if isinstance(reply, Failure) and reply.cause is not None:
                route = self._cluster.route_again(sent[index].key, reply.cause)
                if route is None:
                    continue
                if reply.code in ("MOVED", "ASK"):
                    # That node may never have seen our scripts, and there is no third attempt.
                    self._pipeline(route.node).load_scripts = True
                routes.setdefault(route, {})[index] = sent[index]
        for (node, asking), group in routes.items():
            self._pipeline(node).send(group, group.values(), self._replies, asking=asking)
        self._receive_all()

    def _pipeline(self, node: Node) -> "NodePipeline":
        pipeline = self._pipelines.get(node)
        if pipeline is None or pipeline.is_cut_off:
            lacks_scripts = pipeline is not None and pipeline.load_scripts
            pipeline = self._pipelines[node] = NodePipeline(self._cluster, node)
            pipeline.load_scripts = lacks_scripts
        return pipeline

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
        self._unsendable: OSError | None = None
        self.is_cut_off = False
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
        if self._broken is None and self._unsendable is None:
            try:
                if self._connection is None:
                    self._connection = self._cluster.checkout(self._node)
            except (AnswerError, OSError) as error:
                self._break(error)
            else:
                self._write(self._connection, words)
        if self._broken is not None or self._unsendable is not None:
            self.receive(replies)

    def _write(self, connection: Connection, words: list[tuple[Word, ...] | bytes]) -> None:
        try:
            connection.send(
                b"".join([each if type(each) is bytes else packed(each) for each in words])
            )
        except TimeoutError as error:
            self._break(error)
        except OSError as error:
            # What the node answered before it closed the connection can still be read.
            self._unsendable = error

    def receive(self, replies: list[Any], *, leave: int = 0) -> None:
        """Read answers until at most `leave` batches are under way."""
        while len(self._pending) > (0 if self.is_cut_off else leave):
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
        lost: OSError | None = None
        if self._broken is None and not self.is_cut_off:
            assert self._connection is not None
            try:
                self._connection.read_all(answers, count)
            except OSError as error:
                lost = self._unsendable or error
        errors = AnswerError in set(map(type, answers))
        for index, answer in enumerate(answers) if errors else ():
            if isinstance(answer, AnswerError):
                if answer.code in BREAKING:
                    self._break(answer)
                    del answers[index:]
                    break
                answers[index] = Failure(failure_reason(answer), answer)
                self.load_scripts |= answer.code == "NOSCRIPT"
                if str(answer).startswith(PROTOCOL_ERROR):
                    self._cut_off()
                    break
        if lost is not None and not self.is_cut_off and self._broken is None:
            self._break(lost)
        if len(answers) < count:
            rest = _CUT_OFF if self._broken is None else self._broken
            answers += [rest] * (count - len(answers))
        return answers

    def _cut_off(self) -> None:
        self.is_cut_off = True
        if self._connection is not None:
            self._connection.close()

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
