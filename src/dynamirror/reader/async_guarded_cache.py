"""The guarded cache and the steps of reads, for coroutines."""

import asyncio
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import repeat
from time import monotonic
from typing import Any, Final, TypeVar

from dynamirror.cache.answers import Failure
from dynamirror.cache.asynchronous.client import AsyncCache
from dynamirror.cache.scripts import Command
from dynamirror.errors import CacheError
from dynamirror.reader.guarded_cache import DOWN, Guard
from dynamirror.reader.steps import Pause, Steps, TableRequest, no_table

_T = TypeVar("_T")
# A read that took this part of the timeout suggests that the node hangs.
_SLOW: Final = 1 / 8


class AsyncGuardedCache(Guard):
    """A cache for coroutines, each node of which has a circuit breaker.

    A read that is cancelled after a part of the cache's timeout counts as a failure of its node:
    callers that never wait so long would otherwise ask a node that hangs for ever.

    Args:
        cache: the cache.
        failures: of a node, in a row, after which it is left alone.
        pause: seconds for which it is.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        cache: AsyncCache,
        *,
        failures: int,
        pause: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(cache.cluster, failures=failures, pause=pause, clock=clock)
        self._cache = cache
        self._clock = clock
        self._slow = cache.timeout * _SLOW

    async def ask(self, command: Command) -> Any:
        """Return the answer to one command: DOWN if there is none, None for no entry of ours."""
        node = self._slot_map.node_of(command.key)
        breaker = self._breakers.get(node) or self.breaker(node)
        if not breaker.admits():
            return DOWN
        began = self._clock()
        try:
            answer = await self._cache.read_one(command)
        except CacheError as error:
            answer = Failure(str(error))
        except CancelledError:
            self._note_cancelled((node,), began)
            raise
        if isinstance(answer, Failure):
            answer = self.judge(answer)
            self.note(node, answer is DOWN)
        else:
            breaker.succeeded()
        return answer

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to commands, each as `ask` returns it."""
        admission = self.admit(commands)
        began = self._clock()
        try:
            replies = await self._cache.execute(admission.sent) if admission.sent else []
        except CacheError as error:
            return self.judge_all(admission, repeat(Failure(str(error))))
        except CancelledError:
            # Of several nodes, nobody knows which of them was waited for.
            self._note_cancelled(admission.admitted if len(admission.admitted) == 1 else (), began)
            raise
        return self.judge_all(admission, iter(replies))

    def _note_cancelled(self, nodes: Iterable[object], began: float) -> None:
        if self._clock() - began >= self._slow:
            self._reason = "reads were cancelled while they waited for it"
            for node in nodes:
                self.note(node, True)  # noqa: FBT003 - it is down


async def run_async(
    steps: Steps[_T],
    cache: AsyncGuardedCache,
    ask_table: Callable[[TableRequest], Awaitable[Any]] | None = None,
) -> _T:
    """Carry out the steps of a read; returns its result.

    Args:
        steps: the read.
        cache: the cache.
        ask_table: carries out a request to the table; those of `wire` make none.
    """
    answer: Any = None
    try:
        while True:
            match steps.send(answer):
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                    answer = None
                case TableRequest() as request:
                    answer = await (ask_table or no_table)(request)
                case [command]:
                    answer = [await cache.ask(command)]
                case commands:
                    answer = await cache.execute(commands)
    except StopIteration as stop:
        result: _T = stop.value
        return result
    finally:
        steps.close()  # at once, if the coroutine was cancelled
