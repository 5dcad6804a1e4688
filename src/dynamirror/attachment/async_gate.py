"""The gate before the cache for coroutines: a cache that hangs costs them one timeout."""

from collections.abc import Iterable, Sequence
from typing import Any

from dynamirror.attachment.gate import HUNG
from dynamirror.cache.scripts import Command
from dynamirror.reader.async_guarded_cache import AsyncGuardedCache
from dynamirror.reader.guarded_cache import DOWN


class AsyncGate(AsyncGuardedCache):
    """A guarded cache whose circuit breakers open after one timeout.

    All coroutines wait on one connection a node, which is given up for all of them at once. So
    nobody has to be kept from waiting, as threads are by `Gate`.
    """

    async def ask(self, command: Command) -> Any:
        """Return the answer to one command: DOWN if there is none, None for no entry of ours."""
        began = self._clock()
        answer = await super().ask(command)
        if answer is DOWN:
            self._open_after_timeout((command,), began)
        return answer

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to commands, each as `ask` returns it."""
        began = self._clock()
        answers = await super().execute(commands)
        down = [
            command for command, answer in zip(commands, answers, strict=True) if answer is DOWN
        ]
        if down:
            self._open_after_timeout(down, began)
        return answers

    def _open_after_timeout(self, commands: Iterable[Command], began: float) -> None:
        if self._clock() - began >= self._cache.timeout * HUNG:
            for node in {self._slot_map.node_of(command.key) for command in commands}:
                self.breaker(node).open()
