"""The nodes of a cache: which of them holds which slots, and the connections to them."""

from binascii import crc_hqx
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from os import getpid
from time import monotonic
from typing import Any, Final, NamedTuple

import libvalkey

from dynamirror.cache.answers import failure_reason
from dynamirror.cache.authentication import credentials
from dynamirror.cache.connection import BREAKING, AnswerError, Connection, Options
from dynamirror.cache.scripts import Word
from dynamirror.cache.tls import tls_context
from dynamirror.cache.topology import NodeReport, Topology
from dynamirror.errors import CacheError
from dynamirror.settings import Settings

# ElastiCache cuts a connection that IAM authenticated 12 hours ago.
_IAM_SESSION_SECONDS: Final = 11 * 3600
# Idle connections to a node: these few stay open, more for a while, and never more than that.
_FEW_IDLE: Final = 4
_MOST_IDLE: Final = 64
_IDLE_SECONDS: Final = 60.0
_SLOTS: Final = 16_384


class Node(NamedTuple):  # hashed for every command, which a dataclass does in Python
    """The address of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class ConnectionLostError(CacheError):
    """A connection was lost; a new one may work."""


class Cluster:
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
        self.seed = Node(settings.host, settings.port)
        self.nodes: tuple[Node, ...] = (self.seed,)
        self._clock = clock
        self._session_seconds = _IAM_SESSION_SECONDS if settings.iam_cache else inf
        self._options = Options(
            timeout=settings.timeout,
            tls=tls_context(settings.authorities, settings.ca_file) if settings.tls else None,
            credentials=credentials(settings),
        )
        # The connection used last is used next, so the longest idle stand first.
        self._idle: defaultdict[Node, list[Connection]] = defaultdict(list)
        self._closed = 0
        self._pid = getpid()
        self._slots: list[Node | None] = []  # empty while one node holds all slots
        self._suspects: set[Node] = set()
        self._single = single
        self._clustered = False
        self._stale = not single

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
        self._stale = not self._single

    def refresh(self, *, always: bool = False) -> None:
        """Read the slot map, if it may have changed.

        Args:
            always: read it in any case. Keyless commands never trigger MOVED, so refresh first.

        Raises:
            CacheError: no node can be reached, or all refuse.
        """
        if always:
            self.invalidate_topology()
        if not self._stale:
            return
        trusted = (node for node in self.nodes if node not in self._suspects)
        reason: CacheError | None = None
        for node in dict.fromkeys((*trusted, self.seed, *self.nodes)):
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
            if "cluster support disabled" not in str(error):
                raise
            self.nodes, self._slots, self._clustered = (self.seed,), [], False
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
            self._clustered = True
        self._stale = False
        self._suspects.clear()
        # Connections to nodes that hold nothing any more would stay open for good.
        self._close_idle([*{*self._idle}.difference(self.nodes, (self.seed,))])

    def topology(self) -> Topology:
        """Return which node holds which slots now, as the nodes themselves report it.

        Raises:
            CacheError: a node cannot be reached or refuses.
        """
        self.refresh(always=True)
        nodes = self.nodes
        if not self._clustered:
            return Topology(nodes, ())
        if len(nodes) > 1:
            return Topology(nodes, tuple(map(self._report, nodes)))
        # ElastiCache Serverless is one node to its clients, and moves its slots unseen behind it.
        report = NodeReport()
        with suppress(CacheError):
            report = self._report(nodes[0])
        return Topology(nodes, (NodeReport(holders=report.holders, moving=report.moving),))

    def _report(self, node: Node) -> NodeReport:
        return NodeReport.parse(self.call_node(node, b"CLUSTER", b"NODES"))

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
            raise CacheError(f"cache {node}: {failure_reason(answer)}")
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
                young = now - connection.born <= self._session_seconds
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
