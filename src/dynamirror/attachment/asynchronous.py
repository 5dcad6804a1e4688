"""Attaching clients whose calls are coroutines: those of aiobotocore and aioboto3."""

import asyncio
from asyncio import AbstractEventLoop, Task
from typing import Any, Final

from dynamirror.attachment.async_gate import AsyncGate
from dynamirror.attachment.attachment import Attachment
from dynamirror.attachment.handlers import Reply, is_seen
from dynamirror.attachment.options import Options
from dynamirror.attachment.targets import Place, Target, place_of
from dynamirror.cache.asynchronous.client import AsyncCache
from dynamirror.errors import ConfigError
from dynamirror.reader.async_guarded_cache import run_async
from dynamirror.reader.steps import Steps, TableRequest

_MOST_COMPARED: Final = 64


class AsyncAttachment(Attachment):
    """Calls of a client of aiobotocore or aioboto3.

    No call needs a thread. Each event loop has connections of its own, which are closed when the
    loop shuts down its generators, as `asyncio.run` has it do, or when the attachment is detached.

    Args:
        target: whose calls they are.
        options: the arguments of `attach`.
    """

    def __init__(self, target: Target, options: Options) -> None:
        if options.cache is not None and not isinstance(options.cache, AsyncCache):
            raise ConfigError(
                "cache: must be an AsyncCache, since the target's calls are coroutines"
            )
        self._shared = options.cache
        self._gates: dict[AbstractEventLoop, tuple[AsyncCache, AsyncGate]] = {}
        self._comparisons: set[Task[None]] = set()
        super().__init__(target, options)

    def renew(self) -> None:
        """Begin again in a forked process, whose loops have connections of their own."""
        super().renew()
        self._gates = {}

    def _gate(self) -> AsyncGate:
        """Return the guarded cache of the running event loop."""
        loop = asyncio.get_running_loop()
        found = self._gates.get(loop)
        if found is None:
            for other in [each for each in self._gates if each.is_closed()]:
                del self._gates[other]
            options = self.options
            cache = self._shared or AsyncCache(options.settings)
            gate = AsyncGate(cache, failures=options.failures, pause=options.pause)
            found = self._gates[loop] = cache, gate
        return found[1]

    def _end(self) -> None:
        if self._shared is None:
            for loop, (cache, _gate) in [*self._gates.items()]:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_close, loop, cache)
        self._gates = {}

    async def _before_call(
        self, *, model: Any, params: dict[str, Any], context: dict[str, Any], **_rest: Any
    ) -> Reply | None:
        operation = model.name
        if not self._handles(operation) or is_seen(context):
            return None
        calls = None
        try:
            place = place_of(params, context) if self._target.of_session else None
            calls = self._calls_of(place)

            async def ask_table(request: TableRequest) -> Any:
                return await self._ask(place, context["client_config"], request)

            steps = self._handlers.before(calls, operation, params, context)
            return await run_async(steps, self._gate(), ask_table)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not be the caller's
            self._fault(error, operation, calls)
        return None

    async def _ask(self, place: Place, config: Any, request: TableRequest) -> Any:
        """Return the answer of a client to a request, or the exception that it raised."""
        try:
            client = self._target.client(place, config)
            if not self._target.of_session:
                return await getattr(client, request.operation)(**request.arguments)
            async with client as made:
                return await getattr(made, request.operation)(**request.arguments)
        except Exception as error:  # noqa: BLE001 - its caller decides
            return error

    async def _after_call(
        self, *, http_response: Any, parsed: dict[str, Any], context: dict[str, Any], **_rest: Any
    ) -> None:
        try:
            steps = self._handlers.after(http_response.status_code, parsed, context)
            if steps is not None:
                self._compare_later(steps)
        except Exception as error:  # noqa: BLE001 - as above
            self._handlers.fault(error)

    def _compare_later(self, steps: Steps[None]) -> None:
        if len(self._comparisons) >= _MOST_COMPARED:
            next(steps)  # or its end is not noticed
            steps.close()
            return
        task = asyncio.get_running_loop().create_task(self._compare(steps))
        self._comparisons.add(task)
        task.add_done_callback(self._comparisons.discard)

    async def _compare(self, steps: Steps[None]) -> None:
        try:
            await run_async(steps, self._gate())
        except Exception as error:  # noqa: BLE001 - as above
            self._handlers.fault(error)


# Tasks that nobody else refers to would be lost.
_closing: set[Task[None]] = set()


def _close(loop: AbstractEventLoop, cache: AsyncCache) -> None:
    task = loop.create_task(cache.close())
    _closing.add(task)
    task.add_done_callback(_closing.discard)
