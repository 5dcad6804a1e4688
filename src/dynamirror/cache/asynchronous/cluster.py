"""The nodes of a cache, and one connection to each, for the coroutines of one event loop."""

import asyncio
from asyncio import AbstractEventLoop, Task
from collections.abc import AsyncGenerator, Coroutine, Iterable
from functools import partial
from math import isfinite
from typing import Any, Final, TypeVar
from weakref import WeakSet

import libvalkey

from dynamirror.cache.answers import failure_reason
from dynamirror.cache.asynchronous.connection import AsyncConnection, connect
from dynamirror.cache.connection import AnswerError
from dynamirror.cache.connection_options import connection_options
from dynamirror.cache.slot_map import Node, SlotMap
from dynamirror.errors import CacheError
from dynamirror.settings import Settings

_CLUSTER_SLOTS: Final = libvalkey.pack_command((b"CLUSTER", b"SLOTS"))
# After a node did not return the slot map, so many others are asked at once.
_ASKED_AT_ONCE: Final = 4

_Result = TypeVar("_Result")


class AsyncCluster(SlotMap):
    """The slot map of a cluster, or of a single server, and its connections.

    It belongs to the event loop that uses it first.

    Args:
        settings: where the cache is and how to authenticate.
        single: use this one node only, even if it is part of a cluster.

    Raises:
        ConfigError: a file that the settings name cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        single: bool = False,
    ) -> None:
        super().__init__(Node(settings.host, settings.port), single=single)
        self._options = connection_options(settings)
        self._loop: AbstractEventLoop | None = None
        self._closed = False
        self._connections: dict[Node, AsyncConnection] = {}
        self._opening: dict[Node, Task[AsyncConnection]] = {}
        self._leaving: WeakSet[AsyncConnection] = WeakSet()
        self._refreshing: Task[None] | None = None
        self._shutdown: AsyncGenerator[None] | None = None

    def check_loop(self) -> None:
        """Bind to the running event loop, unless bound to it before.

        Raises:
            RuntimeError: another loop runs, or this cluster is closed.
        """
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            which = "that is closed" if self._loop.is_closed() else "other than the running one"
            raise RuntimeError(
                f"{self.seed}: these connections belong to an event loop {which}; "
                "make a reader, or attach, in each loop"
            )
        if self._closed:
            raise RuntimeError(f"{self.seed}: these connections are closed")

    async def refresh(self) -> None:
        """Read the slot map, if it may have changed; all who ask at once wait for one answer.

        Raises:
            CacheError: no node can be reached, or all refuse.
        """
        if not self.is_stale:
            return
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = self._begin(self._read_slots())
        await asyncio.shield(self._refreshing)

    async def _read_slots(self) -> None:
        first, *others = self.informants()
        try:
            await self._read_slots_of(first)
        except CacheError as error:
            reason = error
        else:
            return
        while others:
            asked, others = others[:_ASKED_AT_ONCE], others[_ASKED_AT_ONCE:]
            asking = [self._begin(self._read_slots_of(node)) for node in asked]
            try:
                for answer in asyncio.as_completed(asking):
                    try:
                        await answer
                    except CacheError as error:
                        reason = error
                    else:
                        return
            finally:
                for task in asking:
                    task.cancel()
        raise reason

    async def _read_slots_of(self, node: Node) -> None:
        try:
            connection = self.ready(node)
            if connection is None:
                connection = await asyncio.shield(self.opening(node))
            answers = await connection.ask(_CLUSTER_SLOTS)
            if not answers and not isinstance(connection.error, TimeoutError):
                # It was closed while it was idle.
                connection = await asyncio.shield(self.opening(node))
                answers = await connection.ask(_CLUSTER_SLOTS)
            if not answers:
                assert connection.error is not None
                raise connection.error
        except (AnswerError, OSError) as error:
            raise CacheError(f"cache {node}: {failure_reason(error)}") from error
        self.learn(node, answers[0])
        known = {*self.nodes, self.seed}
        for other in [*self._connections]:
            if other not in known:  # it holds nothing any more
                self._leave(self._connections.pop(other))

    def ready(self, node: Node) -> AsyncConnection | None:
        """Return the open connection to a node; None if one must be opened."""
        connection = self._connections.get(node)
        return connection if connection is not None and connection.is_open else None

    def opening(self, node: Node) -> Task[AsyncConnection]:
        """Return the task that opens the connection to a node, the same for all who wait.

        Shield it, so that who is cancelled does not cancel it for the others. It raises OSError
        where the node cannot be reached, AnswerError where it refuses the user, and CacheError
        where there are no credentials.
        """
        task = self._opening.get(node)
        if task is None or task.done():
            task = self._opening[node] = self._begin(self._open(node))
        return task

    async def _open(self, node: Node) -> AsyncConnection:
        if self._shutdown is None:
            self._shutdown = self._until_shutdown()
            await anext(self._shutdown)
        connection = await connect(node, self._options)
        self._connections[node] = connection
        if isfinite(self._options.session_seconds):
            expire = partial(self._expire, node, connection)
            asyncio.get_running_loop().call_later(self._options.session_seconds, expire)
        return connection

    def _expire(self, node: Node, connection: AsyncConnection) -> None:
        """Replace a connection before the cache cuts it; the answers under way still come."""
        if self._connections.get(node) is connection:
            self._leave(self._connections.pop(node))

    def _leave(self, connection: AsyncConnection) -> None:
        self._leaving.add(connection)
        connection.close_when_idle()

    def _begin(self, work: Coroutine[Any, Any, _Result]) -> "Task[_Result]":
        """Start what outlives the coroutine that asks first, which may be cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(_retrieve)
        return task

    async def _until_shutdown(self) -> AsyncGenerator[None]:
        """Close the connections when the event loop ends, as `asyncio.run` ends generators."""
        try:
            yield
        finally:
            await self._shut()

    async def close(self) -> None:
        """Close the connections; calls under way get no answers."""
        await self._shut()
        if self._shutdown is not None:
            await self._shutdown.aclose()

    async def _shut(self) -> None:
        self._closed = True
        tasks: Iterable[Task[Any] | None] = (self._refreshing, *self._opening.values())
        if self._loop is asyncio.get_running_loop():
            under_way = [task for task in tasks if task is not None and not task.done()]
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            for connection in (*self._connections.values(), *self._leaving):
                connection.close()
        self._connections.clear()


def _retrieve(task: "Task[Any]") -> None:
    """Look at a task's error, which nobody may have waited for, so that asyncio logs nothing."""
    if not task.cancelled():
        task.exception()
