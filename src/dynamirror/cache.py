"""The cache: connecting to it, and sending many commands at once.

One plain pipeline goes to each node: a node that hangs costs one timeout, and what the other nodes
did is kept. Cluster clients ask the server where the keys of every EVALSHA are, and some wait a
minute for a node that hangs.
"""

import ssl
from binascii import crc_hqx
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice, repeat
from math import inf
from os import getpid
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, NamedTuple

import libvalkey

from dynamirror import scripts
from dynamirror.config import Settings
from dynamirror.connection import AnswerError, Connection, Options, RefusedError
from dynamirror.errors import CacheError, ConfigError
from dynamirror.iam import IamToken
from dynamirror.layout import Layout, Report
from dynamirror.scripts import Command, Word

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
_SCRIPT_LOADS: Final = tuple((b"SCRIPT", b"LOAD", script.source) for script in scripts.ALL)


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer to a command that was not carried out, or of which it is not known."""

    reason: str
    cause: AnswerError | None = field(default=None, repr=False, compare=False)


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

    def _layout(self) -> Layout:
        self._refresh_all()
        nodes = self._nodes
        if not self._clustered:
            return Layout(nodes, ())
        if len(nodes) > 1:
            return Layout(nodes, tuple(map(self._report, nodes)))
        # ElastiCache Serverless is one node to its clients, and moves its slots unseen behind it.
        report = Report()
        with suppress(CacheError):
            report = self._report(nodes[0])
        return Layout(nodes, (Report(holders=report.holders, moving=report.moving),))

    def _report(self, node: _Node) -> Report:
        return Report.parse(self._ask(node, b"CLUSTER", b"NODES"))

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


class _Lane:
    """The commands on their way to one node, and the connection they take."""

    def __init__(self, cache: Cache, node: _Node) -> None:
        self._cache = cache
        self.node = node
        self._pending: deque[list[int]] = deque()
        self._connection: Connection | None = None
        self._broken: Failure | None = None
        self.load_scripts = False

    def send(self, batch: Mapping[int, Command], replies: list[Any], *, asking: bool) -> None:
        """Send commands; each one's answer belongs at its index."""
        indices: list[int] = list(batch)
        words: list[tuple[Word, ...] | bytes] = [command.words for command in batch.values()]
        if asking:
            indices = [place for index in indices for place in (_NOBODY, index)]
            words = [each for call in words for each in ((b"ASKING",), call)]
        if self.load_scripts:
            self.load_scripts = False
            words = [*_SCRIPT_LOADS, *words]
            indices = [*repeat(_NOBODY, len(_SCRIPT_LOADS)), *indices]
        self._pending.append(indices)
        if self._broken is None:
            try:
                if self._connection is None:
                    self._connection = self._cache.checkout(self.node)
                self._connection.send(
                    b"".join([each if type(each) is bytes else _packed(each) for each in words])
                )
            except (AnswerError, OSError) as error:
                self._break(error)
        if self._broken is not None:
            self.receive(replies)

    def receive(self, replies: list[Any], *, leave: int = 0) -> None:
        """Read answers until no more than `leave` batches are under way."""
        while len(self._pending) > leave:
            indices = self._pending[0]
            answers = self._read(len(indices))
            # Not before: whatever is raised meanwhile, by a signal for instance, finds it here.
            self._pending.popleft()
            for index, reply in zip(indices, answers, strict=True):
                if index != _NOBODY:
                    replies[index] = reply

    def _read(self, count: int) -> list[Any]:
        """The next answers, with a Failure in the place of each error."""
        answers: list[Any] = []
        if self._broken is None:
            assert self._connection is not None
            try:
                self._connection.read_all(answers, count)
            except OSError as error:
                self._break(error)
        for place, answer in enumerate(answers):
            if isinstance(answer, AnswerError):
                if answer.code in _BREAKING:
                    self._break(answer)
                    del answers[place:]
                    break
                answers[place] = Failure(_reason(answer), answer)
                self.load_scripts |= answer.code == "NOSCRIPT"
        if self._broken is not None:
            answers += [self._broken] * (count - len(answers))
        return answers

    def _break(self, error: AnswerError | OSError) -> None:
        self._broken = Failure(f"{self.node}: {_reason(error)}")
        self._cache.suspect(self.node)
        if self._connection is not None:
            self._connection.close()

    def close(self) -> None:
        if self._connection is not None:
            if self._pending:  # left in the middle: what is still to come must not be misread
                self._connection.close()
            self._cache.give_back(self.node, self._connection)


def _packed(words: tuple[Word, ...] | bytes) -> bytes:
    return words if isinstance(words, bytes) else libvalkey.pack_command(words)


_NOBODY: Final = -1
# After these a node answers nothing else. A primary that was replaced keeps its connections: only a
# new one finds its successor.
_BREAKING: Final = ("READONLY", "LOADING")


class _Exchange:
    """One call of `Cache.execute`."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._lanes: dict[_Node, _Lane] = {}
        self._replies: list[Any] = []

    def run(self, commands: Iterator[Command]) -> list[Any]:
        sent: list[Command] = []
        try:
            while chunk := list(islice(commands, CHUNK)):
                self._send(dict(enumerate(chunk, len(sent))))
                sent += chunk
                for lane in self._lanes.values():
                    lane.receive(self._replies, leave=UNDER_WAY)
            self._receive_all()
            self._send_again(sent)
            self._receive_all()
        finally:
            for lane in self._lanes.values():
                lane.close()
        return self._replies

    def _send(self, batch: Mapping[int, Command]) -> None:
        self._replies += [_UNREACHED] * len(batch)
        if only := self._cache.only_node():
            self._lane(only).send(batch, self._replies, asking=False)
            return
        routes: dict[_Node, dict[int, Command]] = {}
        for index, command in batch.items():
            node = self._cache.node_of(command.key)
            if node is None:
                self._cache.moved()
                self._replies[index] = Failure("no node holds the key's slot")
            else:
                routes.setdefault(node, {})[index] = command
        for node, group in routes.items():
            self._lane(node).send(group, self._replies, asking=False)

    def _send_again(self, sent: list[Command]) -> None:
        routes: dict[tuple[_Node, bool], dict[int, Command]] = {}
        for index, reply in enumerate(self._replies):
            if isinstance(reply, Failure) and reply.cause is not None:
                node = self._cache.node_of(sent[index].key)
                code, *place = str(reply.cause).split(" ")
                if code in ("MOVED", "ASK"):
                    if code == "MOVED":
                        self._cache.moved()
                    host, _, port = place[-1].rpartition(":")
                    host = host.replace("?", "") or (node.host if node else "")
                    route = (_Node(host, int(port)), code == "ASK")
                    # That node may never have seen our scripts, and there is no third attempt.
                    self._lane(route[0]).load_scripts = True
                elif code in ("NOSCRIPT", "TRYAGAIN") and node is not None:
                    route = (node, False)
                else:
                    continue
                routes.setdefault(route, {})[index] = sent[index]
        for (node, asking), group in routes.items():
            self._lane(node).send(group, self._replies, asking=asking)

    def _lane(self, node: _Node) -> _Lane:
        if node not in self._lanes:
            self._lanes[node] = _Lane(self._cache, node)
        return self._lanes[node]

    def _receive_all(self) -> None:
        for lane in self._lanes.values():
            lane.receive(self._replies)


_UNREACHED: Final = Failure("not sent")


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


_WHAT_IT_MEANS: Final[Mapping[str, str]] = {
    "NOSCRIPT": "NOSCRIPT",
    "TRYAGAIN": "TRYAGAIN (a slot is being moved)",
    "LOADING": "it is still loading its data",
}
# Codes that the sentence after them makes superfluous.
_SAID_TWICE: Final = ("ERR", "OOM", "READONLY", "NOPERM", "CLUSTERDOWN", "WRONGPASS", "NOAUTH")


def _reason(error: AnswerError | OSError) -> str:
    match error:
        case TimeoutError():
            return "no answer in time"
        case OSError():
            return f"no connection: {str(error.strerror or error).rstrip('.')}"
    if meaning := _WHAT_IT_MEANS.get(error.code):
        return meaning
    said = str(error)
    if error.code in _SAID_TWICE:
        said = said.removeprefix(error.code).lstrip()
    if isinstance(error, RefusedError) or error.code == "NOAUTH":
        return f"it refuses the user or the password: {said}"
    # A refusal within a script ends with where that was; others go on with advice.
    said = said.rpartition(" script: ")[0] or said
    return said.partition(". ")[0].rstrip(".")
