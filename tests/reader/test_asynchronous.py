"""The same calls as coroutines."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from random import Random
from typing import Any

import pytest
from aiobotocore.session import get_session
from boto3.dynamodb.conditions import Key
from tests.support.deadlines import wait_until
from tests.support.mirrored import MakeMirrored, Mirrored, source_of
from tests.support.wire import Wire

from dynamirror.cache.asynchronous.client import AsyncCache
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.emulators.dynamodb import REGION, EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import ConfigError, SourceError
from dynamirror.reader import AsyncReader, Reader
from dynamirror.reader.guarded_cache import ReadCounts
from dynamirror.settings import Settings
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.view import ViewSpec

Use = Callable[[AsyncReader], Awaitable[Any]]


@asynccontextmanager
async def native_client(database: EmbeddedDynamoDB) -> AsyncIterator[Any]:
    """A client of aiobotocore."""
    options = {"region_name": REGION, "endpoint_url": database.endpoint_url}
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    async with get_session().create_client("dynamodb", **options, **keys) as client:
        yield client


def use(world: Mirrored, work: Use, *, native: EmbeddedDynamoDB | None, **options: Any) -> Any:
    """Run a coroutine with a reader, and with aiobotocore's client or boto3's."""
    given = {"views": world.specs, "settings": world.settings, **options}
    settings = given.pop("settings")

    async def run() -> Any:
        if native is None:
            reader = await AsyncReader.open(settings, world.name, aws=world.aws, **given)
            async with reader:
                return await work(reader)
        async with (
            native_client(native) as client,
            await AsyncReader.open(settings, world.name, client=client, **given) as reader,
        ):
            return await work(reader)

    return asyncio.run(run())


@pytest.fixture(params=[False, True], ids=["boto3", "aiobotocore"])
def native(request: pytest.FixtureRequest, dynamodb: EmbeddedDynamoDB) -> EmbeddedDynamoDB | None:
    """Whether the client's calls are coroutines."""
    return dynamodb if request.param else None


def test_every_call_answers_as_the_readers_own(
    make: MakeMirrored, native: EmbeddedDynamoDB | None
) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON, collection=True), keys={"pk": "S", "sk": "N"})
    items = [{"pk": "a", "sk": number} for number in range(5)]
    world.put(*items)
    world.mirror(*items[:4])
    sources = []

    async def read(reader: AsyncReader) -> None:
        plain = world.reader()
        batch = {world.name: {"Keys": items}}
        for complete in (False, True):
            if complete:
                world.mirror(items[4])
                world.is_complete()
            found = await asyncio.gather(
                *(reader.get_item(Key=item) for item in items),
                *(reader.get_item(Key=item, ConsistentRead=True) for item in items),
                reader.get_item(Key=items[0], min_time=4e9, wait=0.01),
                reader.batch_get_item(RequestItems=batch),
                reader.query(KeyConditionExpression=Key("pk").eq("a")),
                reader.query(KeyConditionExpression=Key("pk").eq("a"), Limit=2, age=True),
            )
            expected = [
                *(plain.get_item(Key=item) for item in items),
                *(plain.get_item(Key=item, ConsistentRead=True) for item in items),
                plain.get_item(Key=items[0], min_time=4e9, wait=0.01),
                plain.batch_get_item(RequestItems=batch),
                plain.query(KeyConditionExpression=Key("pk").eq("a")),
                plain.query(KeyConditionExpression=Key("pk").eq("a"), Limit=2, age=True),
            ]
            sources.append(list(map(source_of, found)))
            assert sources[-1] == list(map(source_of, expected))
            for answer in (*found, *expected):
                del answer["ResponseMetadata"]
            assert found == expected
        assert reader.counts == plain.counts

    use(world, read, native=native)
    table = ["table"] * 5
    assert sources[0] == [*["cache"] * 4, "table", *table, "table", "mixed", "table", "table"]
    assert sources[1] == [*["cache"] * 5, *table, "table", "cache", "cache", "cache"]


def test_hits_need_no_thread_and_with_aiobotocore_nothing_does(
    make: MakeMirrored, native: EmbeddedDynamoDB | None
) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON))
    world.put({"id": "1"}, {"id": "2"})
    world.mirror({"id": "1"})

    async def read(reader: AsyncReader) -> set[str]:
        hits = await asyncio.gather(*(reader.get_item(Key={"id": "1"}) for _ in range(256)))
        assert {source_of(hit) for hit in hits} == {"cache"}
        names = {thread.name for thread in threading.enumerate()}
        assert source_of(await reader.get_item(Key={"id": "2"})) == "table"
        after = {thread.name for thread in threading.enumerate()}
        assert any("dynamirror-reader" in name for name in after - names) == (native is None)
        return names

    names = use(world, read, native=native, schema=world.schema)
    assert not any("dynamirror-reader_1" in name for name in names)


def test_errors_of_dynamodb_are_the_callers(
    make: MakeMirrored, native: EmbeddedDynamoDB | None
) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON))

    async def read(reader: AsyncReader) -> None:
        world.client.delete_table(TableName=world.name)
        with pytest.raises(Exception, match="ResourceNotFoundException") as error:
            await reader.get_item(Key={"id": "1"})
        assert type(error.value).__name__ == "ResourceNotFoundException"
        with pytest.raises(Exception, match="does not match the schema"):
            await reader.get_item(Key={"nothing": "1"})

    use(world, read, native=native)


def test_a_native_client_is_checked_as_one_of_boto3(
    make: MakeMirrored, dynamodb: EmbeddedDynamoDB
) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON))

    def convert(params: dict[str, Any], **_rest: object) -> None:
        params["Key"] = {"id": {"S": "text"}}

    async def refused() -> None:
        async with native_client(dynamodb) as client:
            options: dict[str, Any] = {"client": client, "views": world.specs}
            with pytest.raises(ConfigError, match="on_miss: must be"):
                await AsyncReader.open(world.settings, world.name, on_miss="all", **options)
            with pytest.raises(ConfigError, match="view: must be one of"):
                await AsyncReader.open(world.settings, world.name, view="none", **options)
            with pytest.raises(SourceError, match="does not exist in this account"):
                await AsyncReader.open(world.settings, "no-such-table", **options)
            client.meta.events.register("before-parameter-build.dynamodb.GetItem", convert)
            with pytest.raises(ConfigError, match="not be that of a resource"):
                await AsyncReader.open(world.settings, world.name, **options)

    asyncio.run(refused())


def test_a_cache_that_hangs_costs_one_timeout_and_then_the_table_is_read_at_once(
    make: MakeMirrored, native: EmbeddedDynamoDB | None, valkey: EmbeddedValkey
) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON))
    world.put({"id": "1"})
    world.mirror({"id": "1"})
    with Wire(valkey.port) as wire:
        # The node names its own port in the slot map, so the seed alone is behind the wire.
        settings = Settings(host="127.0.0.1", port=wire.port, tls=False, timeout=0.3)

        async def read(reader: AsyncReader) -> None:
            async def sources() -> list[str]:
                calls = (reader.get_item(Key={"id": "1"}) for _ in range(32))
                return [source_of(answer) for answer in await asyncio.gather(*calls)]

            wire.to_client.lost = True
            assert set(await sources()) == {"table"}
            assert reader._guarded.admit([Command(b"k", ())]).sent == [], "the breaker is open"
            assert set(await sources()) == {"table"}

        use(world, read, native=native, settings=settings, pause=60)


def test_cancelled_reads_leave_the_others_their_answers(
    make: MakeMirrored, native: EmbeddedDynamoDB | None
) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON, collection=True), keys={"pk": "S", "sk": "N"})
    items = [{"pk": "a", "sk": number} for number in range(20)]
    world.put(*items)
    world.mirror(*items[:16])
    random = Random(17)

    async def read(reader: AsyncReader) -> int:
        ended = {"cancelled": 0, "whole": 0}

        async def one(number: int) -> None:
            if number % 5 == 0:
                page = await reader.query(KeyConditionExpression=Key("pk").eq("a"))
                assert page["Items"] == items
            else:
                item = items[number % 20]
                assert (await reader.get_item(Key=item))["Item"] == item

        for _ in range(5):
            tasks = [asyncio.create_task(one(number)) for number in range(40)]
            for _ in range(random.randrange(6)):
                await asyncio.sleep(0)
            for task in tasks:
                if random.random() < 0.5:
                    task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert result is None or isinstance(result, asyncio.CancelledError), result
                ended["whole" if result is None else "cancelled"] += 1
        return min(ended.values())

    assert use(world, read, native=native) > 50


def test_closing_waits_for_the_reads_under_way_and_leaves_no_connection(
    make: MakeMirrored, cache: Cache
) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON))
    world.put({"id": "1"})
    world.mirror({"id": "1"})

    def connections() -> int:
        (listed,) = cache.broadcast(b"CLIENT", b"LIST")
        return len(listed.splitlines())

    before = connections()

    async def read() -> list[Any]:
        options = {"views": world.specs, "aws": world.aws}
        reader = await AsyncReader.open(world.settings, world.name, **options)
        reading = [asyncio.create_task(reader.get_item(Key={"id": "1"})) for _ in range(50)]
        await asyncio.sleep(0)
        await reader.close()
        assert all(task.done() for task in reading)
        await reader.close()
        with pytest.raises(RuntimeError, match="this AsyncReader is closed"):
            await reader.get_item(Key={"id": "1"})
        return await asyncio.gather(*reading)

    assert [answer["Item"] for answer in asyncio.run(read())] == [{"id": "1"}] * 50
    wait_until(lambda: connections() <= before)


def test_readers_of_one_loop_may_share_connections(make: MakeMirrored) -> None:
    worlds = [make(ViewSpec(encoding=DYNAMODB_JSON, key=f"{name}:{{id}}")) for name in "ab"]
    for world in worlds:
        world.put({"id": "1", "of": world.name})
        world.mirror({"id": "1"})

    async def read() -> None:
        shared = AsyncCache(worlds[0].settings)
        readers = [
            AsyncReader(
                Reader(world.settings, world.name, views=world.specs, aws=world.aws), cache=shared
            )
            for world in worlds
        ]
        for reader, world in zip(readers, worlds, strict=True):
            assert (await reader.get_item(Key={"id": "1"}))["Item"]["of"] == world.name
            await reader.close()
            assert reader.counts == ReadCounts(hits=1)
        assert len(shared.cluster._connections) == 1
        await shared.close()

    asyncio.run(read())


def test_a_reader_of_another_event_loop_is_named_in_one_sentence(make: MakeMirrored) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON))
    world.put({"id": "1"})
    world.mirror({"id": "1"})
    reader = AsyncReader(world.reader())

    async def read() -> Any:
        return await reader.get_item(Key={"id": "1"})

    loop = asyncio.new_event_loop()
    try:
        assert loop.run_until_complete(read())["Item"] == {"id": "1"}
        with pytest.raises(RuntimeError, match="belong to an event loop other than the running"):
            asyncio.run(read())
        loop.run_until_complete(reader.close())
    finally:
        loop.close()


def test_a_call_of_the_table_sees_the_context_that_it_is_made_in(make: MakeMirrored) -> None:
    trace: ContextVar[str] = ContextVar("trace", default="")
    seen: list[str] = []
    world = make(ViewSpec(encoding=DYNAMODB_JSON))
    plain = world.reader()
    asked = plain.ask_table

    def ask(request: Any) -> Any:
        seen.append(trace.get())
        return asked(request)

    plain.ask_table = ask  # type: ignore[assignment]

    async def read() -> None:
        async with AsyncReader(plain) as reader:
            trace.set("mine")
            await reader.get_item(Key={"id": "1"})

    asyncio.run(read())
    assert seen == ["mine"]
