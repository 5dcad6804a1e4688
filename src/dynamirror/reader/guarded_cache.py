"""The cache behind circuit breakers: an answer that cannot be had is a value, not an error."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from threading import Lock
from time import monotonic
from typing import Any, Final, NamedTuple

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.cache.slot_map import Node, SlotMap
from dynamirror.errors import CacheError
from dynamirror.reader.circuit_breaker import CircuitBreaker

logger = logging.getLogger("dynamirror")

# The answer to a command that the cache cannot be asked, or did not answer.
DOWN: Final = Failure("the cache is left alone for a while")


class ReadCounts(NamedTuple):
    """The outcomes of all look-ups so far.

    Args:
        hits: entries that the cache had, and queries that its index answered.
        misses: entries that it did not have.
        fallbacks: look-ups that the table had to answer because the cache is down, the mirror is
            not complete, or a write was not visible in time.
    """

    hits: int = 0
    misses: int = 0
    fallbacks: int = 0


@dataclass(slots=True)
class Counter:
    """Counts look-ups; safe for use by several threads."""

    counts: ReadCounts = field(default_factory=ReadCounts)
    _lock: Lock = field(default_factory=Lock)

    def add(self, hits: int = 0, misses: int = 0, fallbacks: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            old = self.counts
            self.counts = ReadCounts(old[0] + hits, old[1] + misses, old[2] + fallbacks)


class Guard:
    """A circuit breaker for each node of a cache, for threads and coroutines alike.

    Args:
        slot_map: the nodes of the cache.
        failures: of a node, in a row, after which it is left alone.
        pause: seconds for which it is.
        clock: monotonic seconds.
    """

    def __init__(
        self, slot_map: SlotMap, *, failures: int, pause: float, clock: Callable[[], float]
    ) -> None:
        self._slot_map = slot_map
        self._options = (failures, pause, clock)
        self._breakers: dict[object, CircuitBreaker] = {}
        self._reason = ""

    def admit(self, commands: Sequence[Command]) -> "Admission":
        """Return which of several commands may be sent now."""
        nodes = [self._slot_map.node_of(command.key) for command in commands]
        admitted = {node for node in set(nodes) if self.breaker(node).admits()}
        sent = [one for one, node in zip(commands, nodes, strict=True) if node in admitted]
        return Admission(nodes, admitted, sent)

    def judge_all(self, admission: "Admission", replies: Iterator[Any]) -> list[Any]:
        """Return the answers to commands, after the replies to those that were sent."""
        nodes, admitted, _sent = admission
        answers = [self.judge(next(replies)) if node in admitted else DOWN for node in nodes]
        down = {node for node, one in zip(nodes, answers, strict=True) if one is DOWN}
        for node in admitted:
            self.note(node, node in down)
        return answers

    def judge(self, reply: Any) -> Any:
        """Return the answer that a reply is: DOWN if it is none, None for no entry of ours."""
        if not isinstance(reply, Failure):
            return reply
        if reply.is_final:  # the entry is none of ours, or its key one that no entry can have
            return None
        self._reason = reply.reason
        return DOWN

    def breaker(self, node: object) -> CircuitBreaker:
        """Return the circuit breaker of a node."""
        if node not in self._breakers:
            self._breakers.setdefault(node, CircuitBreaker(*self._options))
        return self._breakers[node]

    def note(self, node: object, down: bool) -> None:  # noqa: FBT001 - what there is to note
        """Note whether an admitted node did not answer."""
        breaker = self.breaker(node)
        if not down:
            breaker.succeeded()
        elif breaker.failed():
            logger.warning("cache left alone", extra={"node": str(node), "reason": self._reason})


class Admission(NamedTuple):
    """The commands of one exchange that may be sent.

    Args:
        nodes: the node of each command.
        admitted: those that may be asked.
        sent: the commands for them.
    """

    nodes: list[Node | None]
    admitted: set[Node | None]
    sent: list[Command]


class GuardedCache(Guard):
    """A cache, each node of which has a circuit breaker.

    Args:
        cache: the cache.
        failures: of a node, in a row, after which it is left alone.
        pause: seconds for which it is.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        failures: int,
        pause: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(cache.cluster, failures=failures, pause=pause, clock=clock)
        self._cache = cache

    def ask(self, command: Command) -> Any:
        """Return the answer to one command: DOWN if there is none, None for no entry of ours."""
        node = self._slot_map.node_of(command.key)
        breaker = self._breakers.get(node) or self.breaker(node)
        if not breaker.admits():
            return DOWN
        try:
            answer = self._cache.read_one(command)
        except CacheError as error:
            answer = Failure(str(error))
        if isinstance(answer, Failure):
            answer = self.judge(answer)
            self.note(node, answer is DOWN)
        else:
            breaker.succeeded()
        return answer

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to commands, each as `ask` returns it."""
        admission = self.admit(commands)
        try:
            replies = iter(self._cache.execute(admission.sent) if admission.sent else ())
        except CacheError as error:
            return self.judge_all(admission, repeat(Failure(str(error))))
        return self.judge_all(admission, replies)
