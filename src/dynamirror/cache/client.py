"""The cache: connecting to it, and sending many commands at once.

One plain pipeline goes to each node: a node that hangs costs one timeout, and what the other nodes
did is kept. Cluster clients ask the server where the keys of every EVALSHA are, and some wait a
minute for a node that hangs.
"""

import ssl
from binascii import crc_hqx
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from math import inf
from os import getpid
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, NamedTuple

import libvalkey

from dynamirror.cache.answers import Failure, _reason
from dynamirror.cache.connection import AnswerError, Connection, Options
from dynamirror.cache.iam import IamToken
from dynamirror.cache.pipeline import _Exchange, _packed
from dynamirror.cache.scripts import Command, Word
from dynamirror.cache.topology import Topology, NodeReport
from dynamirror.errors import CacheError, ConfigError
from dynamirror.settings import Settings

# While the server works on one chunk, the next is being made.
CHUNK: Final = 200


# ElastiCache cuts a connection that IAM authenticated 12 hours ago.
_IAM_SESSION_SECONDS: Final = 11 * 3600


# Chunks that a node may have while the next is made: fewer, and a node a millisecond away has to be
# waited for.
UNDER_WAY: Final = 3


# Connections to a node that may rest: these few for good, more for a while, and no more than that.
_FEW_IDLE: Final = 4


_MOST_IDLE: Final = 64


_IDLE_SECONDS: Final = 60.0


_SLOTS: Final = 16_384


# A scan that slots moved under is repeated, after a pause in seconds that grows: the nodes need a
# moment to hear of a move.
_MOST_PASSES: Final = 8


_SHORTEST_PAUSE: Final = 0.1


_LONGEST_PAUSE: Final = 2.0


class _Node(NamedTuple):  # hashed for every command, which a dataclass does in Python
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Cache:
    """A Valkey cluster or a single Valkey, connected to when first used.

    Safe for use by several threads at once; each call takes connections of its own.

    Args:
        settings: where it is and how to authenticate.
        single: speak to this one node only, even if it is part of a cluster.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        single: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._seed = _Node(settings.host, settings.port)
        self.timeout = settings.timeout
        self._clock = clock
        self._session_seconds = _IAM_SESSION_SECONDS if settings.iam_cache else float("inf")
        self._options = _options(settings)
        # The one that was used last is used next: so those that rest longest stand first.
        self._idle: defaultdict[_Node, list[Connection]] = defaultdict(list)
        self._closed = 0
        self._pid = getpid()
        self._nodes: tuple[_Node, ...] = (self._seed,)
        self._slots: list[_Node | None] = []  # empty while one node has them all
        self._suspects: set[_Node] = set()
        self._single = single
        self._clustered = False
        self._stale = not single

    def __str__(self) -> str:
        return f"cache {self._seed}"

    def execute(self, commands: Iterable[Command]) -> list[Any]:
        """Carry out commands, in the order given where they go to the same node.

        The commands are drawn from the iterable while earlier ones are under way. Redirections and
        forgotten scripts are dealt with, once.

        Returns:
            For each command the server's answer, or a Failure.

        Raises:
            CacheError: no node can be reached, or it refuses us.
        """
        self._refresh()
        return _Exchange(self).run(iter(commands))

    def call(self, key: str, *words: Word) -> Any:
        """Carry out one command that concerns one key.

        Raises:
            CacheError: it was not carried out.
        """
        return self.perform(Command(key.encode(), words))

    def perform(self, command: Command) -> Any:
        """Carry out one command; returns the server's answer.

        Raises:
            CacheError: it was not carried out.
        """
        (answer,) = self.execute([command])
        if isinstance(answer, Failure):
            raise self.error(answer.reason)
        return answer

    def error(self, reason: str) -> CacheError:
        """What to raise for a Failure of what had to be carried out; names an address once."""
        return CacheError(f"{self}: {reason.removeprefix(f'{self._seed}: ')}")

    def ask(self, command: Command) -> Any:
        """Carry out one command that only reads, with the least to do for it.

        Returns:
            The server's answer, or a Failure.

        Raises:
            CacheError: the node cannot be reached, or it refuses us.
        """
        self._refresh()
        node = self.node_of(command.key)
        if node is not None:
            try:
                connection = self.checkout(node, trusting=True)
                try:
                    connection.send(_packed(command.words))
                    answer = connection.read()
                except BaseException:
                    connection.close()
                    raise
                finally:
                    self.give_back(node, connection)
            except (AnswerError, TimeoutError) as error:
                self.suspect(node)
                raise CacheError(f"cache {node}: {_reason(error)}") from error
            except OSError:
                pass  # it was closed while nobody used it
            else:
                if not isinstance(answer, AnswerError):  # a redirection perhaps
                    return answer
        (answer,) = self.execute([command])
        return answer

    def broadcast(self, *words: Word) -> list[Any]:
        """Carry out a command that concerns no key on every node that holds data.

        Raises:
            CacheError: a node cannot be reached or refuses.
        """
        self._refresh_all()
        return [self._ask(node, *words) for node in self._nodes]

    def scan(self, pattern: str) -> Iterator[bytes]:
        """Iterate over all keys that match a glob pattern; some may come twice.

        Every key is seen that exists throughout. Where slots moved to another node meanwhile, all
        nodes are scanned again.

        Raises:
            CacheError: a node cannot be reached or refuses, or slots kept moving.
        """
        before, same, pause = self._layout(), 0, _SHORTEST_PAUSE
        for _ in range(_MOST_PASSES):
            if before.passes < inf:
                for node in before.nodes:
                    yield from self._scan_node(node, pattern)
            after = self._layout()
            same = same + 1 if after == before else 0
            if same >= after.passes:
                return
            if same == 0 or after.passes == inf:
                sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            before = after
        raise CacheError(
            f"{self}: slots moved between nodes each time its keys were scanned ({_MOST_PASSES} "
            "times); try again once the cluster is no longer being resharded"
        )

    def _layout(self) -> Topology:
        self._refresh_all()
        nodes = self._nodes
        if not self._clustered:
            return Topology(nodes, ())
        if len(nodes) > 1:
            return Topology(nodes, tuple(map(self._report, nodes)))
        # ElastiCache Serverless is one node to its clients, and moves its slots unseen behind it.
        report = NodeReport()
        with suppress(CacheError):
            report = self._report(nodes[0])
        return Topology(nodes, (NodeReport(holders=report.holders, moving=report.moving),))

    def _report(self, node: _Node) -> NodeReport:
        return NodeReport.parse(self._ask(node, b"CLUSTER", b"NODES"))

    def _scan_node(self, node: _Node, pattern: str) -> Iterator[bytes]:
        """Scan one node, from the start again if the connection is lost.

        A cursor means nothing to another process, which may answer at the same address.
        """
        for left in reversed(range(_MOST_PASSES)):
            try:
                yield from self._scan_once(node, pattern)
            except _LostError:
                if not left:
                    raise
            else:
                return

    def _scan_once(self, node: _Node, pattern: str) -> Iterator[bytes]:
        connection = self._checkout(node)
        cursor: bytes = b"0"
        try:
            while True:
                cursor, keys = self._tell(
                    node, connection, b"SCAN", cursor, b"MATCH", pattern.encode(), b"COUNT", 1000
                )
                yield from keys
                if cursor == b"0":
                    # The caller has scanned the last keys' members meanwhile.
                    self._tell(node, connection, b"SCAN", b"0", b"COUNT", 1)
                    return
        finally:
            self.give_back(node, connection)

    def close(self) -> None:
        """Close all connections, those in use when they are given back."""
        self._closed += 1
        self._close_idle([*self._idle])

    def _close_idle(self, nodes: Iterable[_Node]) -> None:
        for node in nodes:
            idle = self._idle[node]
            while idle:
                with suppress(IndexError):  # another thread took the last
                    idle.pop().close()

    def only_node(self) -> _Node | None:
        """The node that holds all slots, if one does."""
        return None if self._slots else self._nodes[0]

    def node_of(self, key: bytes) -> _Node | None:
        """The node that holds a key's slot."""
        slots = self._slots  # which another thread may replace
        return slots[_key_slot(key)] if slots else self._nodes[0]

    def checkout(self, node: _Node, *, trusting: bool = False) -> Connection:
        """Take a connection to a node, which must be given back.

        Args:
            node: the node.
            trusting: do not look whether one that was used before is still open.

        Raises:
            OSError: the node cannot be reached.
            AnswerError: it refuses us.
        """
        if self._pid != getpid():  # a process must not use its parent's
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

    def give_back(self, node: _Node, connection: Connection) -> None:
        """Return a connection; those that have rested too long are closed."""
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

    def suspect(self, node: _Node) -> None:
        """A node did not answer: learn anew who holds what, and do not ask that node first."""
        self._suspects.add(node)
        self.moved()

    def moved(self) -> None:
        """A slot is no longer where it was: learn anew who holds what."""
        self._stale = not self._single

    def _refresh(self) -> None:
        """Learn which node holds which slots, if that may have changed."""
        if not self._stale:
            return
        asked = dict.fromkeys(
            (
                *(node for node in self._nodes if node not in self._suspects),
                self._seed,
                *self._nodes,
            )
        )
        reason: CacheError | None = None
        for node in asked:
            try:
                self._learn(node)
            except CacheError as error:
                reason = error
            else:
                return
        assert reason is not None
        raise reason

    def _refresh_all(self) -> None:
        """Learn which nodes there are: a command without a key is never told that it is misled."""
        self.moved()
        self._refresh()

    def _learn(self, node: _Node) -> None:
        try:
            answer = self._ask(node, b"CLUSTER", b"SLOTS")
        except CacheError as error:
            if "cluster support disabled" not in str(error):
                raise
            self._nodes, self._slots, self._clustered = (self._seed,), [], False
        else:
            if not answer:
                raise CacheError(f"cache {node}: no node holds any slot (is the cluster set up?)")
            slots: list[_Node | None] = [None] * _SLOTS
            for first, last, primary, *_replicas in answer:
                host = (primary[0] or b"").decode().replace("?", "") or node.host
                slots[first : last + 1] = [_Node(host, primary[1])] * (last + 1 - first)
            self._nodes = tuple(dict.fromkeys(holder for holder in slots if holder))
            self._slots = slots if len(self._nodes) > 1 or None in slots else []
            self._clustered = True
        self._stale = False
        self._suspects.clear()
        # To nodes that hold nothing any more they would stay open for good.
        self._close_idle([*{*self._idle}.difference(self._nodes, (self._seed,))])

    def _ask(self, node: _Node, *words: Word) -> Any:
        connection = self._checkout(node)
        try:
            return self._tell(node, connection, *words)
        finally:
            self.give_back(node, connection)

    def _checkout(self, node: _Node) -> Connection:
        try:
            return self.checkout(node)
        except (AnswerError, OSError) as error:
            raise CacheError(f"cache {node}: {_reason(error)}") from error

    def _tell(self, node: _Node, connection: Connection, *words: Word) -> Any:
        try:
            connection.send(libvalkey.pack_command(words))
            answer = connection.read()
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                kind = CacheError if isinstance(error, TimeoutError) else _LostError
                raise kind(f"cache {node}: {_reason(error)}") from error
            raise
        if isinstance(answer, AnswerError):
            raise CacheError(f"cache {node}: {_reason(answer)}")
        return answer


class _LostError(CacheError):
    """A connection was lost; another may be had."""


def _options(settings: Settings) -> Options:
    tls = None
    if settings.tls:
        try:
            tls = ssl.create_default_context()
            if settings.ca_file:
                tls.load_verify_locations(settings.ca_file)
        except OSError as error:
            raise ConfigError(
                f"ELASTICACHE_CA_FILE: {settings.ca_file} cannot be read: {error.strerror}"
            ) from None
    return Options(timeout=settings.timeout, tls=tls, credentials=_credentials(settings))


def _credentials(settings: Settings) -> Callable[[], tuple[str, str]] | None:
    if settings.iam_cache:
        assert settings.user is not None
        assert settings.region is not None
        token = IamToken(user=settings.user, cache=settings.iam_cache, region=settings.region)
        return lambda: (token.user, token.sign())
    if settings.password_file:
        user, password = settings.user or "default", _read_password(settings.password_file)
        return lambda: (user, password)
    return None


def _read_password(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"ELASTICACHE_PASSWORD_FILE: {path} cannot be read: {error.strerror}"
        ) from None


def _key_slot(key: bytes) -> int:
    """Where a key belongs: CRC16 of what is within its braces, if anything is.

    https://valkey.io/topics/cluster-spec/#key-distribution-model
    """
    begin = key.find(b"{")
    end = key.find(b"}", begin)
    if begin >= 0 and end > begin + 1:
        key = key[begin + 1 : end]
    return crc_hqx(key, 0) % _SLOTS
