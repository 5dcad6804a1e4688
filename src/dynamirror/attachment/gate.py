"""The gate before the cache: while the cache hangs, few callers wait for it."""

from collections.abc import Callable, Sequence
from threading import Lock
from time import monotonic
from typing import Any, Final

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.reader.guarded_cache import DOWN, GuardedCache

# A call that takes this part of the timeout suggests that the node hangs.
_SLOW: Final = 1 / 8
# A call that failed after this part of the timeout waited for a node that hangs.
HUNG: Final = 1 / 2


class Gate(GuardedCache):
    """A guarded cache that new callers pass by while others wait for the node.

    Circuit breakers open after several failures, and all callers that come before wait a timeout
    each. The gate closes for a node once a call has waited long, and for a pause after a timeout.

    Args:
        cache: the cache.
        timeout: seconds to wait for an answer of the cache.
        failures: of a node, in a row, after which its breaker opens.
        pause: seconds for which a breaker is open, and a gate closed.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        timeout: float,
        failures: int,
        pause: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(cache, failures=failures, pause=pause, clock=clock)
        self._node_of = cache.cluster.node_of
        self._slow, self._hung, self._pause = timeout * _SLOW, timeout * HUNG, pause
        self._clock = clock
        self._lock = Lock()
        # By node: the calls under way, the oldest first, and until when it is closed.
        self._calls: dict[object, dict[_Call, None]] = {}
        self._closed: dict[object, float] = {}

    def ask(self, command: Command) -> Any:
        """Return the answer to one command: DOWN if there is none, None for no entry of ours."""
        node = self._node_of(command.key)
        call = _Call(self._clock())
        with self._lock:
            if not self._admits(node, call):
                return DOWN
        try:
            answer = super().ask(command)
            call.is_down = answer is DOWN
        finally:
            self._end(call)
        return answer

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to commands, each as `ask` returns it."""
        nodes = [self._node_of(command.key) for command in commands]
        call = _Call(self._clock())
        with self._lock:
            admitted = {node for node in dict.fromkeys(nodes) if self._admits(node, call)}
        pairs = zip(commands, nodes, strict=True)
        sent = [command for command, node in pairs if node in admitted]
        try:
            answers = super().execute(sent) if sent else []
            call.is_down = any(answer is DOWN for answer in answers)
        finally:
            self._end(call)
        rest = iter(answers)
        return [next(rest) if node in admitted else DOWN for node in nodes]

    def _admits(self, node: object, call: "_Call") -> bool:
        """Return whether a call may ask a node, which it then counts as asking."""
        calls = self._calls.setdefault(node, {})
        until = self._closed.get(node)
        if until is not None:
            if call.began < until:
                return False
            self._closed[node] = call.began + self._pause  # this one tries, and no other
        elif calls and call.began - next(iter(calls)).began >= self._slow:
            return False
        calls[call] = None
        call.nodes.append(node)
        return True

    def _end(self, call: "_Call") -> None:
        ended = self._clock()
        hung = call.is_down and ended - call.began >= self._hung
        with self._lock:
            for node in call.nodes:
                del self._calls[node][call]
                if hung:
                    self._closed[node] = ended + self._pause
                else:
                    self._closed.pop(node, None)


class _Call:
    """A call under way.

    Attributes:
        began: when, in seconds of the gate's clock.
        nodes: the nodes that it asks.
        is_down: whether one of them did not answer.
    """

    __slots__ = ("began", "is_down", "nodes")

    def __init__(self, began: float) -> None:
        self.began = began
        self.nodes: list[object] = []
        self.is_down = True  # unless the answer is there
