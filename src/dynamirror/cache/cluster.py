"""The nodes of a cache, and the connections to them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from os import getpid
from time import monotonic
from typing import Any, Final

import libvalkey

from dynamirror.cache.answers import failure_reason
from dynamirror.cache.connection import BREAKING, AnswerError, Connection
from dynamirror.cache.connection_options import connection_options
from dynamirror.cache.scripts import Word
from dynamirror.cache.slot_map import Node, SlotMap
from dynamirror.errors import CacheError
from dynamirror.settings import Settings

# Idle connections to a node: these few stay open, more for a while, and never more than that.
_FEW_IDLE: Final = 4
_MOST_IDLE: Final = 64
_IDLE_SECONDS: Final = 60.0


class ConnectionLostError(CacheError):
    """A connection was lost; a new one may work."""


class Cluster(SlotMap):
    """The slot map of a cluster, or of a single server, and its idle connections.

    Safe for use by several threads at once.

    Args:
        settings: where the cache is and how to authenticate.
        single: use this one node only, even if it is part of a cluster.
        clock: monotonic seconds.

    Raises:
        ConfigError: a file that the settings name cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        single: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(Node(settings.host, settings.port), single=single)
        self._clock = clock
        # It is one node to its clients, and moves its slots unseen behind it.
        self.is_serverless = settings.is_serverless
        self._options = connection_options(settings)
        # The connection used last is used next, so the longest idle stand first.
        self._idle: defaultdict[Node, list[Connection]] = defaultdict(list)
        self._closed = 0
        self._pid = getpid()

    def refresh(self, *, always: bool = False) -> None:
        """Read the slot map, if it may have changed.

        Args:
            always: read it in any case. Keyless commands never trigger MOVED, so refresh first.

        Raises:
            CacheError: no node can be reached, or all refuse.
        """
        if always:
            self.invalidate_topology()
        if not self.is_stale:
            return
        reason: CacheError | None = None
        for node in self.informants():
            try:
                self._read_slots(node)
            except CacheError as error:
                reason = error
            else:
                return
        assert reason is not None
        raise reason

    def _read_slots(self, node: Node) -> None:
        try:
            answer = self.call_node(node, b"CLUSTER", b"SLOTS")
        except CacheError as error:
            if not isinstance(error.__cause__, AnswerError):
                raise
            answer = error.__cause__
        self.learn(node, answer)
        # Connections to nodes that hold nothing any more would stay open for good.
        self._close_idle([*{*self._idle}.difference(self.nodes, (self.seed,))])

    def call_node(self, node: Node, *words: Word) -> Any:
        """Send one command to a node; returns its answer.

        Raises:
            CacheError: the node cannot be reached, or refuses.
        """
        with self.connection(node) as connection:
            return self.exchange(node, connection, *words)

    def exchange(self, node: Node, connection: Connection, *words: Word) -> Any:
        """Send one command over a connection; returns the answer.

        Raises:
            ConnectionLostError: the connection was lost.
            CacheError: the node does not answer in time, or refuses.
        """
        try:
            connection.send(libvalkey.pack_command(words))
            answer = connection.read()
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                kind = CacheError if isinstance(error, TimeoutError) else ConnectionLostError
                raise kind(f"cache {node}: {failure_reason(error)}") from error
            raise
        if isinstance(answer, AnswerError):
            if answer.code in BREAKING:
                connection.close()
            raise CacheError(f"cache {node}: {failure_reason(answer)}") from answer
        return answer

    @contextmanager
    def connection(self, node: Node) -> Iterator[Connection]:
        """Lend a connection to a node.

        Raises:
            CacheError: the node cannot be reached, or refuses the user.
        """
        try:
            connection = self.checkout(node)
        except (AnswerError, OSError) as error:
            raise CacheError(f"cache {node}: {failure_reason(error)}") from error
        try:
            yield connection
        finally:
            self.release(node, connection)

    def checkout(self, node: Node, *, trusting: bool = False) -> Connection:
        """Take a connection to a node, which must be released.

        Args:
            node: the node.
            trusting: skip the check whether an idle connection is still open.

        Raises:
            OSError: the node cannot be reached.
            AnswerError: it refuses the user.
        """
        if self._pid != getpid():  # a process must not use its parent's connections
            self.close()
            self._pid = getpid()
        idle, now = self._idle[node], self._clock()
        while idle:
            with suppress(IndexError):  # another thread took the last
                connection = idle.pop()
                young = now - connection.born <= self._options.session_seconds
                if young and (trusting or connection.is_idle()):
                    return connection
                connection.close()
        closed = self._closed
        connection = Connection(node.host, node.port, self._options, born=now)
        connection.closed_before = closed
        return connection

    def release(self, node: Node, connection: Connection) -> None:
        """Return a connection, and close those that were idle too long."""
        if not connection.is_open:
            return
        if connection.closed_before != self._closed:
            connection.close()
            return
        connection.used = now = self._clock()
        idle = self._idle[node]
        idle.append(connection)
        while len(idle) > _FEW_IDLE:
            with suppress(IndexError):  # another thread took the last
                if len(idle) <= _MOST_IDLE and now - idle[0].used <= _IDLE_SECONDS:
                    break
                idle.pop(0).close()

    def close(self) -> None:
        """Close all connections; those in use when they are released."""
        self._closed += 1
        self._close_idle([*self._idle])

    def _close_idle(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            idle = self._idle[node]
            while idle:
                with suppress(IndexError):  # another thread took the last
                    idle.pop().close()
