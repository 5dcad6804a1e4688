"""`AsyncReader`: the same calls as coroutines."""

from asyncio import get_running_loop
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Self, TypeVar

from dynamirror.reader.guarded_cache import ReadCounts
from dynamirror.reader.synchronous import Reader, Response

_THREADS = 32
_Result = TypeVar("_Result")


class AsyncReader:
    """A `Reader` whose calls run on threads of its own, so that none holds up the loop.

    Calls beyond the number of threads wait until one is free. asyncio's own threads are left to
    others: a cache that hangs holds up no `asyncio.to_thread`.

    Args:
        reader: does the reading; closed with this one.
        threads: how many calls run at once.
    """

    def __init__(self, reader: Reader, *, threads: int = _THREADS) -> None:
        self._reader = reader
        self._executor = _executor(threads)

    @classmethod
    async def open(cls, *arguments: Any, threads: int = _THREADS, **options: Any) -> Self:
        """Make one, with the arguments of `Reader`, which may ask DynamoDB about the table.

        Raises:
            ConfigError: as `Reader`.
            SourceError: the table cannot be described.
        """
        return cls(await _made(Reader, *arguments, **options), threads=threads)

    @classmethod
    async def from_env(
        cls, table: str | None = None, *, threads: int = _THREADS, **options: Any
    ) -> Self:
        """Make one from environment variables, as `Reader.from_env` does.

        Raises:
            ConfigError: as `Reader.from_env`.
            SourceError: the table cannot be described.
        """
        return cls(await _made(Reader.from_env, table, **options), threads=threads)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for the calls under way, and close the connections to the cache."""
        closing = _executor(1)
        try:
            await _run(closing, self._close)
        finally:
            closing.shutdown(wait=False)

    def _close(self) -> None:
        self._executor.shutdown()
        self._reader.close()

    @property
    def counts(self) -> ReadCounts:
        """Return the number of hits, misses and fallbacks so far."""
        return self._reader.counts

    async def get_item(self, **arguments: Any) -> Response:
        """As `Reader.get_item`."""
        return await _run(self._executor, self._reader.get_item, **arguments)

    async def batch_get_item(self, **arguments: Any) -> Response:
        """As `Reader.batch_get_item`."""
        return await _run(self._executor, self._reader.batch_get_item, **arguments)

    async def query(self, **arguments: Any) -> Response:
        """As `Reader.query`."""
        return await _run(self._executor, self._reader.query, **arguments)


async def _made(make: Callable[..., Reader], *arguments: Any, **options: Any) -> Reader:
    executor = _executor(1)
    try:
        return await _run(executor, make, *arguments, **options)
    finally:
        executor.shutdown(wait=False)


def _executor(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="dynamirror-reader")


async def _run(
    executor: ThreadPoolExecutor, call: Callable[..., _Result], *arguments: Any, **options: Any
) -> _Result:
    """Run a call on a thread, in the context that it is made in, as `asyncio.to_thread` does."""
    run = partial(copy_context().run, call, *arguments, **options)
    return await get_running_loop().run_in_executor(executor, run)
