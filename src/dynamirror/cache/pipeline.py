"""Sends many commands at once, one plain pipeline a node."""

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice, repeat
from typing import Any, Final

import libvalkey

from dynamirror.cache import scripts
from dynamirror.cache.answers import Failure, _reason
from dynamirror.cache.client import CHUNK, UNDER_WAY, Cache, _Node
from dynamirror.cache.connection import AnswerError, Connection
from dynamirror.cache.scripts import Command, Word

_SCRIPT_LOADS: Final = tuple((b"SCRIPT", b"LOAD", script.source) for script in scripts.ALL)


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
