"""The same calls as coroutines."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest
from boto3.dynamodb.conditions import Key
from tests.support.deadlines import wait_until
from tests.support.mirrored import MakeMirrored, source_of

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.reader import AsyncReader
from dynamirror.reader.guarded_cache import ReadCounts
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.view import ViewSpec


@dataclass
class Held:
    """Reads that wait for a cache."""

    free: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    threads: set[str] = field(default_factory=set)


def test_every_call_answers_as_the_readers_own(make: MakeMirrored) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON, collection=True), keys={"pk": "S", "sk": "N"})
    items = [{"pk": "a", "sk": number} for number in range(5)]
    world.put(*items)
    world.mirror(*items)
    world.is_complete()

    async def read() -> list[Any]:
        options = {"views": world.specs, "aws": world.aws}
        async with await AsyncReader.open(world.settings, world.name, **options) as reader:
            answers = await asyncio.gather(
                *(reader.get_item(Key=item) for item in items),
                reader.batch_get_item(RequestItems={world.name: {"Keys": items}}),
                reader.query(KeyConditionExpression=Key("pk").eq("a")),
            )
            assert reader.counts == ReadCounts(hits=11)
            return list(answers)

    *single, batch, page = asyncio.run(read())
    assert [one["Item"] for one in single] == items
    assert batch["Responses"][world.name] == page["Items"] == items
    assert {source_of(one) for one in (*single, batch, page)} == {"cache"}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """A cache that hangs until it is let go."""
    hold = Held()
    asked = Cache.read_one

    def ask(cache: Cache, command: Command) -> Any:
        with hold.lock:
            hold.threads.add(threading.current_thread().name)
        assert hold.free.wait(60)
        return asked(cache, command)

    monkeypatch.setattr(Cache, "read_one", ask)
    yield hold
    hold.free.set()


def test_a_cache_that_hangs_holds_up_nothing_else_on_asyncios_threads(
    make: MakeMirrored, held: Held
) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON))
    items = [{"id": str(number)} for number in range(20)]
    world.put(*items)
    world.mirror(*items)

    async def read() -> list[Any]:
        # The least that asyncio can have: one call that hangs there, and all others wait.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        options = {"views": world.specs, "aws": world.aws, "threads": 4}
        async with await AsyncReader.open(world.settings, world.name, **options) as reader:
            reads = [asyncio.create_task(reader.get_item(Key=item)) for item in items]
            await asyncio.to_thread(wait_until, lambda: len(held.threads) == 4)
            assert await asyncio.wait_for(asyncio.to_thread(int, "7"), 30) == 7
            held.free.set()
            return await asyncio.gather(*reads)

    assert [answer["Item"] for answer in asyncio.run(read())] == items
    assert len(held.threads) == 4, "no more at once than it may have"


def test_closing_waits_for_the_reads_under_way_and_ends_the_threads(
    make: MakeMirrored, held: Held, cache: Cache
) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON))
    world.put({"id": "1"})
    world.mirror({"id": "1"})

    def connections() -> int:
        (listed,) = cache.broadcast(b"CLIENT", b"LIST")
        return len(listed.splitlines())

    before = connections()

    async def read() -> Any:
        options = {"views": world.specs, "aws": world.aws}
        reader = await AsyncReader.open(world.settings, world.name, **options)
        reading = asyncio.create_task(reader.get_item(Key={"id": "1"}))
        await asyncio.to_thread(wait_until, lambda: held.threads)
        closing = asyncio.create_task(reader.close())
        held.free.set()
        await closing
        with pytest.raises(RuntimeError, match="after shutdown"):
            await reader.get_item(Key={"id": "1"})
        return await reading

    assert asyncio.run(read())["Item"] == {"id": "1"}
    wait_until(lambda: connections() <= before)
    left = {one.name for one in threading.enumerate()}
    assert not left & held.threads


def test_a_call_sees_the_context_that_it_is_made_in(
    make: MakeMirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace: ContextVar[str] = ContextVar("trace", default="")
    seen: list[str] = []
    asked = Cache.read_one

    def ask(cache: Cache, command: Command) -> Any:
        seen.append(trace.get())
        return asked(cache, command)

    monkeypatch.setattr(Cache, "read_one", ask)
    world = make(ViewSpec(encoding=DYNAMODB_JSON))

    async def read() -> None:
        options = {"views": world.specs, "aws": world.aws}
        async with await AsyncReader.open(world.settings, world.name, **options) as reader:
            trace.set("mine")
            await reader.get_item(Key={"id": "1"})

    asyncio.run(read())
    assert seen == ["mine"]
