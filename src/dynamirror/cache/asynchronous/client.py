"""The cache as coroutines see it: commands that read in, answers out."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

import libvalkey

from dynamirror.cache.answers import Failure, failure_reason
from dynamirror.cache.asynchronous.cluster import AsyncCluster
from dynamirror.cache.asynchronous.connection import AsyncConnection
from dynamirror.cache.connection import AnswerError
from dynamirror.cache.pipeline import packed
from dynamirror.cache.scripts import Command
from dynamirror.cache.slot_map import Node, Route
from dynamirror.errors import CacheError
from dynamirror.settings import Settings

_ASKING: Final = libvalkey.pack_command((b"ASKING",))
_NO_HOLDER: Final = Failure("no node holds the key's slot")
# The connection was lost before the answer came; a command that reads can be sent again.
_LOST: Final = Failure("the connection was lost")


class AsyncCache:
    """A Valkey cluster or a single Valkey, read by the coroutines of one event loop.

    Each node has one connection, on which the commands of all coroutines are pipelined. A coroutine
    may be cancelled at any time. Only commands that read may be sent: one whose connection
    is lost is sent again.

    Args:
        settings: where it is and how to authenticate.
        single: use this one node only, even if it is part of a cluster.

    Raises:
        ConfigError: a file that the settings name cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        single: bool = False,
    ) -> None:
        self.cluster = AsyncCluster(settings, single=single)
        self.timeout = settings.timeout

    def __str__(self) -> str:
        return f"cache {self.cluster.seed}"

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Carry out commands that read, in one pipelined exchange a node.

        Redirections are followed once.

        Returns:
            For each command the server's answer, or a Failure.

        Raises:
            CacheError: no node can be reached, or it refuses the user.
            RuntimeError: the connections are closed, or belong to another event loop.
        """
        cluster = self.cluster
        cluster.check_loop()
        if not commands:
            return []
        if cluster.is_stale:
            await cluster.refresh()
        replies: list[Any] = [_NO_HOLDER] * len(commands)
        await self._exchange(commands, self._routes(commands, range(len(commands))), replies)
        again: dict[Route, list[int]] = {}
        for index, reply in enumerate(replies):
            if reply is _LOST:
                for route, indices in self._routes(commands, (index,)).items():
                    again.setdefault(route, []).extend(indices)
            elif type(reply) is Failure and reply.cause is not None:
                other = cluster.route_again(commands[index].key, reply.cause)
                if other is not None:
                    again.setdefault(other, []).append(index)
        if again:
            await self._exchange(commands, again, replies, last=True)
        return replies

    def _routes(
        self, commands: Sequence[Command], indices: Iterable[int]
    ) -> dict[Route, list[int]]:
        """Return the indices of commands by the nodes that hold their slots."""
        cluster = self.cluster
        if only := cluster.only_node():
            return {Route(only): [*indices]}
        nodes: dict[Node, list[int]] = {}
        for index in indices:
            node = cluster.node_of(commands[index].key)
            if node is None:
                cluster.invalidate_topology()
            else:
                nodes.setdefault(node, []).append(index)
        return {Route(node): found for node, found in nodes.items()}

    async def _exchange(
        self,
        commands: Sequence[Command],
        routes: dict[Route, list[int]],
        replies: list[Any],
        *,
        last: bool = False,
    ) -> None:
        """Send commands to their nodes, all at once, and put the answers in their places."""
        cluster = self.cluster
        # All that are not open are opened at once.
        connections = {
            route.node: cluster.ready(route.node) or cluster.opening(route.node) for route in routes
        }
        under_way = []
        for route, indices in routes.items():
            connection = connections[route.node]
            if not isinstance(connection, AsyncConnection):
                try:
                    connection = await asyncio.shield(connection)
                except (AnswerError, OSError) as error:
                    self._fail(route.node, error, indices, replies)
                    continue
            words = [packed(commands[index].words) for index in indices]
            if route.asking:
                words = [part for word in words for part in (_ASKING, word)]
            under_way.append(
                (route, indices, connection, connection.ask(b"".join(words), len(words)))
            )
        for route, indices, connection, future in under_way:
            answers = await future
            if route.asking:
                answers = answers[1::2]
            for index, answer in zip(indices, answers, strict=False):
                failed = isinstance(answer, AnswerError)
                replies[index] = Failure(failure_reason(answer), answer) if failed else answer
            if len(answers) < len(indices):
                self._lose(
                    route.node,
                    connection,
                    [*islice(indices, len(answers), None)],
                    replies,
                    last=last,
                )

    def _lose(
        self,
        node: Node,
        connection: AsyncConnection,
        indices: Iterable[int],
        replies: list[Any],
        *,
        last: bool,
    ) -> None:
        """Note which commands a lost connection left without an answer."""
        error = connection.error
        assert error is not None
        if last or isinstance(error, AnswerError | TimeoutError):
            self._fail(node, error, indices, replies)
        else:
            for index in indices:
                replies[index] = _LOST

    def _fail(
        self, node: Node, error: AnswerError | OSError, indices: Iterable[int], replies: list[Any]
    ) -> None:
        self.cluster.mark_suspect(node)
        failure = Failure(f"{node}: {failure_reason(error)}")
        for index in indices:
            replies[index] = failure

    async def read_one(self, command: Command) -> Any:
        """Carry out one command that only reads, on the shortest path.

        Returns:
            The server's answer, or a Failure.

        Raises:
            CacheError: no node can be reached, or it refuses the user.
            RuntimeError: the connections are closed, or belong to another event loop.
        """
        cluster = self.cluster
        cluster.check_loop()
        if not cluster.is_stale and (node := cluster.node_of(command.key)) is not None:
            connection = cluster.ready(node)
            if connection is not None:
                answers = await connection.ask(packed(command.words))
                if answers and type(answers[0]) is not AnswerError:
                    return answers[0]
                if not answers and isinstance(connection.error, TimeoutError):
                    cluster.mark_suspect(node)
                    raise CacheError(f"cache {node}: {failure_reason(connection.error)}")
        (answer,) = await self.execute([command])
        return answer

    async def close(self) -> None:
        """Close all connections; calls under way get no answers."""
        await self.cluster.close()
