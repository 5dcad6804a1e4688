"""`AsyncReader`: the calls of `Reader` as coroutines."""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Self, TypeVar

from dynamirror.cache.asynchronous.client import AsyncCache
from dynamirror.dynamodb.client import aws_errors, schema_of
from dynamirror.reader import calls
from dynamirror.reader.async_guarded_cache import AsyncGuardedCache, run_async
from dynamirror.reader.calls import Parts, Response, check_on_miss, parts_of
from dynamirror.reader.guarded_cache import ReadCounts
from dynamirror.reader.mirrors import OnMiss
from dynamirror.reader.steps import Steps, TableRequest
from dynamirror.reader.synchronous import (
    Reader,
    check_low_level,
    low_level_probe,
    table_of_env,
)
from dynamirror.reader.table import check_answer, whole_answers
from dynamirror.settings import Settings
from dynamirror.views.view import Schema, ViewSpec

_THREADS = 32
_THREAD_NAME = "dynamirror-reader"
_T = TypeVar("_T")


class AsyncReader:
    """Reads as `Reader` does, in the event loop that uses it first.

    Each node of the cache has one connection, on which the calls of all coroutines are pipelined. A
    call may be cancelled at any time. The table is asked through a client of aiobotocore or
    aioboto3 if `open` is given one. A client of boto3 is called on threads of the reader's own.

    Args:
        reader: what to read; its own connections are not used, and it is closed with this one.
        cache: connections to the cache that readers share, and that are not closed with this one.
        threads: how many calls of a boto3 client run at once.
    """

    def __init__(
        self,
        reader: "Reader | NativeTable",
        *,
        cache: AsyncCache | None = None,
        threads: int = _THREADS,
    ) -> None:
        self._table = _ThreadedTable(reader, threads) if isinstance(reader, Reader) else reader
        parts = self._parts = self._table.parts
        self._cache = cache or AsyncCache(parts.settings)
        self._shares = cache is not None
        self._guarded = AsyncGuardedCache(self._cache, failures=parts.failures, pause=parts.pause)
        self._under_way = 0
        self._is_closed = False
        self._idle: asyncio.Future[None] | None = None

    @classmethod
    async def open(
        cls,
        settings: Settings,
        table: str,
        *,
        client: Any = None,
        schema: Schema | None = None,
        cache: AsyncCache | None = None,
        threads: int = _THREADS,
        **options: Any,
    ) -> Self:
        """Make one; DynamoDB is asked about the table unless `schema` has its keys and types.

        Args:
            settings: where the cache is.
            table: the table's name.
            client: a client of aiobotocore or aioboto3; or one of boto3, called on threads.
            schema: the table's keys and their types.
            cache: connections that readers of this event loop share.
            threads: how many calls of a boto3 client run at once.
            options: further arguments of `Reader`.

        Raises:
            ConfigError: as `Reader`.
            SourceError: the table cannot be described.
        """
        if is_asynchronous(client):
            native = await NativeTable.open(settings, table, client, schema, **options)
            return cls(native, cache=cache)
        make = partial(Reader, settings, table, client=client, schema=schema, **options)
        thread = ThreadPoolExecutor(1, _THREAD_NAME)
        try:
            return cls(await _on_a_thread(thread, make), cache=cache, threads=threads)
        finally:
            thread.shutdown(wait=False)

    @classmethod
    async def from_env(cls, table: str | None = None, **options: Any) -> Self:
        """Make one from environment variables, as `Reader.from_env` does.

        Args:
            table: the table's name; default DYNAMODB_TABLE.
            options: further arguments of `open`.

        Raises:
            ConfigError: as `Reader.from_env`.
            SourceError: the table cannot be described.
        """
        name = table_of_env(table)
        return await cls.open(Settings.from_env(os.environ), name, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for the calls under way, and close the connections to the cache."""
        self._is_closed = True
        if self._under_way:
            self._idle = self._idle or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)
        if not self._shares:
            await self._cache.close()
        self._table.close()

    @property
    def counts(self) -> ReadCounts:
        """Return the number of hits, misses and fallbacks so far."""
        return self._parts.source.counter.counts

    async def get_item(self, **arguments: Any) -> Response:
        """As `Reader.get_item`."""
        return await self._run(calls.get_item(self._parts, **arguments))

    async def batch_get_item(self, **arguments: Any) -> Response:
        """As `Reader.batch_get_item`."""
        return await self._run(calls.batch_get_item(self._parts, **arguments))

    async def query(self, **arguments: Any) -> Response:
        """As `Reader.query`."""
        return await self._run(calls.query(self._parts, **arguments))

    async def _run(self, steps: Steps[_T]) -> _T:
        if self._is_closed:
            raise RuntimeError("this AsyncReader is closed")
        self._under_way += 1
        try:
            return await run_async(steps, self._guarded, self._table.ask)
        finally:
            self._under_way -= 1
            if self._idle is not None and not self._under_way and not self._idle.done():
                self._idle.set_result(None)


class NativeTable:
    """The table of a reader, asked through a client whose calls are coroutines.

    Args:
        parts: what the reader is made of.
        client: the client.
    """

    def __init__(self, parts: Parts, client: Any) -> None:
        self.parts = parts
        self._client = client

    @classmethod
    async def open(
        cls,
        settings: Settings,
        table: str,
        client: Any,
        schema: Schema | None = None,
        *,
        view: str | None = None,
        views: Sequence[ViewSpec] | None = None,
        on_miss: OnMiss = "table",
        failures: int = 3,
        pause: float = 5.0,
    ) -> Self:
        """Make one; the arguments are those of `Reader`.

        Raises:
            ConfigError: as `Reader`.
            SourceError: the table cannot be described.
        """
        check_on_miss(on_miss)
        probe, event = low_level_probe(client)
        await client.meta.events.emit(**event)
        check_low_level(probe)
        if schema is None or not schema.types:
            with aws_errors(f"table {table}"):
                description = (await client.describe_table(TableName=table))["Table"]
            schema = schema_of(table, description)
        parts = parts_of(
            settings,
            schema,
            view=view,
            views=views,
            on_miss=on_miss,
            failures=failures,
            pause=pause,
        )
        return cls(parts, client)

    async def ask(self, request: TableRequest) -> Any:
        """Carry out a request; returns DynamoDB's answer.

        Raises:
            ClientError: DynamoDB refused.
            BotoCoreError: it cannot be reached.
            SourceError: its answer was damaged.
        """
        with whole_answers(request):
            answer = await getattr(self._client, request.operation)(**request.arguments)
            check_answer(request, answer)
        return answer

    def close(self) -> None:
        """Leave the client to whoever made it."""


class _ThreadedTable:
    """The table of a reader, asked through a client of boto3 on threads of its own.

    asyncio's own threads are left to others: a table that hangs holds up no `asyncio.to_thread`.
    """

    def __init__(self, reader: Reader, threads: int) -> None:
        self.parts = reader.parts
        self._reader = reader
        self._executor = ThreadPoolExecutor(threads, _THREAD_NAME)

    async def ask(self, request: TableRequest) -> Any:
        """Carry out a request; returns DynamoDB's answer, and raises as `NativeTable.ask`."""
        return await _on_a_thread(self._executor, partial(self._reader.ask_table, request))

    def close(self) -> None:
        """End the threads; a call that was cancelled may still use one."""
        self._executor.shutdown(wait=False)
        self._reader.close()


async def _on_a_thread(executor: ThreadPoolExecutor, call: Callable[[], _T]) -> _T:
    """Run a call in the context that it is made in, as `asyncio.to_thread` does."""
    run = partial(copy_context().run, call)
    return await asyncio.get_running_loop().run_in_executor(executor, run)


def is_asynchronous(client: Any) -> bool:
    """Return whether the calls of a client are coroutines, as those of aiobotocore are."""
    return any(kind.__module__.startswith("aiobotocore.") for kind in type(client).__mro__)
