"""Attached clients whose calls are coroutines, as those of aiobotocore."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from aiobotocore.session import get_session
from tests.support.attaching import source_of
from tests.support.deadlines import wait_until
from tests.support.mirrored import MakeMirrored, Mirrored
from tests.support.wire import Wire

from dynamirror import attach, detach
from dynamirror.attachment import shadow
from dynamirror.cache.asynchronous.client import AsyncCache
from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import REGION, EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import ConfigError
from dynamirror.records.version import SnapshotVersion
from dynamirror.settings import Settings

KEYS = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}


@asynccontextmanager
async def client_of(database: EmbeddedDynamoDB, session: Any = None) -> AsyncIterator[Any]:
    """A client of aiobotocore."""
    options = {"region_name": REGION, "endpoint_url": database.endpoint_url}
    async with (session or get_session()).create_client("dynamodb", **options, **KEYS) as client:
        yield client


def get(world: Mirrored, number: object) -> dict[str, Any]:
    """The arguments of a GetItem."""
    return {"TableName": world.name, "Key": {"id": {"S": f"{number}"}}}


def options(world: Mirrored, **changes: Any) -> dict[str, Any]:
    """The arguments of `attach`."""
    return {"settings": world.settings, "views": world.specs, **changes}


@pytest.fixture
def world(make: MakeMirrored) -> Mirrored:
    """A table of four items, three of which are mirrored."""
    world = make()
    items = [{"id": f"{number}", "bytes": b"\x00\xff"} for number in range(4)]
    world.put(*items)
    version = SnapshotVersion(100)  # long ago
    world.mirror(*({"id": f"{number}"} for number in range(3)), version=version)
    world.is_complete()
    return world


def test_many_coroutines_get_from_the_cache_what_dynamodb_answers(
    world: Mirrored, dynamodb: EmbeddedDynamoDB
) -> None:
    async def read() -> None:
        async with client_of(dynamodb) as client:
            own = [await client.get_item(**get(world, number)) for number in range(5)]
            attachment = attach(client, **options(world))
            await client.get_item(**get(world, 0))  # describes the table
            calls = [client.get_item(**get(world, number % 5)) for number in range(250)]
            answers = await asyncio.gather(*calls)
            for number, answer in enumerate(answers):
                assert answer.get("Item") == own[number % 5].get("Item")
                expected = "cache" if number % 5 < 3 else "table"
                assert source_of(answer) == expected
                assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
            assert attachment.counts["GetItem"].cache == 151
            assert attachment.faults == 0
            keys = [{"id": {"S": f"{number}"}} for number in range(5)]
            batch = await client.batch_get_item(RequestItems={world.name: {"Keys": keys}})
            found = sorted(item["id"]["S"] for item in batch["Responses"][world.name])
            assert found == ["0", "1", "2", "3"]
            assert source_of(await client.get_item(**get(world, 0), ConsistentRead=True)) == "table"
            assert attach(client, **options(world)) is attachment
            assert detach(client)
            assert source_of(await client.get_item(**get(world, 0))) == "table"
            assert not detach(client)

    before = set(threading.enumerate())
    asyncio.run(read())
    assert set(threading.enumerate()) <= before


def test_clients_that_a_session_makes_later_are_attached_in_every_event_loop(
    world: Mirrored, dynamodb: EmbeddedDynamoDB, cache: Cache
) -> None:
    def connections() -> int:
        (listed,) = cache.broadcast(b"CLIENT", b"LIST")
        return len(listed.splitlines())

    before = connections()
    session = get_session()
    session.set_credentials("local", "local")
    attachment = attach(session, **options(world))

    async def read() -> None:
        async with client_of(dynamodb, session) as client:
            assert source_of(await client.get_item(**get(world, 1))) == "cache"

    for _ in range(3):
        asyncio.run(read())  # which also closes the connections
        wait_until(lambda: connections() <= before)
    assert len(attachment._gates) == 1  # type: ignore[attr-defined]
    assert attachment.counts["GetItem"].cache == 3
    attachment.detach()
    assert attachment.faults == 0


def test_a_cache_that_hangs_costs_all_callers_one_timeout_and_later_ones_nothing(
    world: Mirrored, dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey
) -> None:
    with Wire(valkey.port) as wire:
        settings = Settings(host="127.0.0.1", port=wire.port, tls=False, timeout=0.4)

        async def read() -> None:
            async with client_of(dynamodb) as client:
                attachment = attach(client, **options(world, settings=settings, pause=60))
                wire.to_client.lost = True

                async def sources() -> set[str]:
                    calls = [client.get_item(**get(world, 0)) for _ in range(32)]
                    return {source_of(answer) for answer in await asyncio.gather(*calls)}

                assert source_of(await client.get_item(**get(world, 0))) == "table"
                loop = asyncio.get_running_loop()
                begin = loop.time()
                cache, gate = attachment._gates[loop]  # type: ignore[attr-defined]
                assert not gate.breaker(cache.cluster.seed).admits()
                assert await sources() == {"table"}
                assert loop.time() - begin < 30
                assert attachment.faults == 0
                attachment.detach()

        asyncio.run(read())


def test_callers_that_wait_less_than_the_timeout_get_the_table_after_a_few_of_them(
    world: Mirrored,
    dynamodb: EmbeddedDynamoDB,
    valkey: EmbeddedValkey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dynamirror.reader.async_guarded_cache._SLOW", 0.2 / 60)
    with Wire(valkey.port) as wire:
        settings = Settings(host="127.0.0.1", port=wire.port, tls=False, timeout=60)

        async def read() -> int:
            async with client_of(dynamodb) as client:
                await client.get_item(**get(world, 0))  # connects
                given = options(world, settings=settings, pause=60, schemas=(world.schema,))
                attachment = attach(client, **given)
                wire.to_client.lost = True
                for cancelled in range(10):
                    try:
                        async with asyncio.timeout(0.5):
                            answer = await client.get_item(**get(world, 0))
                    except TimeoutError:
                        continue
                    assert source_of(answer) == "table"
                    attachment.detach()
                    return cancelled
                raise AssertionError("it was never read from the table")

        assert asyncio.run(read()) == 3


def test_cancelled_calls_leave_the_others_their_answers(
    world: Mirrored, dynamodb: EmbeddedDynamoDB
) -> None:
    random = Random(17)

    async def read() -> int:
        cancelled = 0
        async with client_of(dynamodb) as client:
            attachment = attach(client, **options(world))
            for _ in range(10):
                calls = [
                    asyncio.create_task(client.get_item(**get(world, number % 3)))
                    for number in range(60)
                ]
                for _ in range(random.randrange(5)):
                    await asyncio.sleep(0)
                for call in calls:
                    if random.random() < 0.5:
                        call.cancel()
                answers = await asyncio.gather(*calls, return_exceptions=True)
                for number, answer in enumerate(answers):
                    if isinstance(answer, asyncio.CancelledError):
                        cancelled += 1
                        continue
                    assert not isinstance(answer, BaseException), answer
                    assert answer["Item"]["id"] == {"S": f"{number % 3}"}
            # A look-up of the table that was cancelled is no refusal of it.
            assert source_of(await client.get_item(**get(world, 0))) == "cache"
            assert attachment.faults == 0
            attachment.detach()
        return cancelled

    assert asyncio.run(read()) > 100


def test_answers_are_compared_without_the_caller_waiting(
    world: Mirrored, dynamodb: EmbeddedDynamoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow, "_PAUSES", (0.01, 0.02))

    async def read() -> None:
        async with client_of(dynamodb) as client:
            attachment = attach(client, **options(world, shadow=1.0))
            world.put({"id": "0", "bytes": b"newer"})  # which the mirror never hears of
            assert source_of(await client.get_item(**get(world, 1))) == "table"
            answer = await client.get_item(**get(world, 0))
            assert answer["Item"]["bytes"] == {"B": b"newer"}
            await asyncio.gather(*attachment._comparisons)  # type: ignore[attr-defined]
            counts = attachment.counts["GetItem"]
            assert (counts.agreed, counts.differed, counts.undecided) == (1, 1, 0)
            attachment.detach()

    asyncio.run(read())


def test_own_writes_are_seen_by_the_reads_after_them(
    world: Mirrored, dynamodb: EmbeddedDynamoDB
) -> None:
    async def read() -> None:
        async with client_of(dynamodb) as client:
            attachment = attach(client, **options(world, min_time="own-writes"))
            assert source_of(await client.get_item(**get(world, 0))) == "cache"
            item = {"id": {"S": "0"}, "name": {"S": "new"}}
            await client.put_item(TableName=world.name, Item=item)
            answer = await client.get_item(**get(world, 0))
            assert (source_of(answer), answer["Item"]) == ("table", item)
            assert source_of(await client.get_item(**get(world, 1))) == "cache"
            assert attachment.faults == 0
            attachment.detach()

    asyncio.run(read())


def test_a_fault_of_ours_is_counted_and_passed_on(
    world: Mirrored, dynamodb: EmbeddedDynamoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_arguments: object) -> Any:
        raise LookupError("of a test")

    monkeypatch.setattr(AsyncCache, "execute", broken)
    monkeypatch.setattr(AsyncCache, "read_one", broken)

    async def read() -> None:
        async with client_of(dynamodb) as client:
            with attach(client, **options(world)) as attachment:
                assert source_of(await client.get_item(**get(world, 0))) == "table"
                assert attachment.faults == 1

    asyncio.run(read())


def test_connections_of_the_other_kind_are_refused(
    world: Mirrored, dynamodb: EmbeddedDynamoDB, client: Any
) -> None:
    with pytest.raises(ConfigError, match="cache: must be a Cache"):
        attach(client, **options(world, cache=AsyncCache(world.settings)))

    async def refused() -> None:
        async with client_of(dynamodb) as other:
            with pytest.raises(ConfigError, match="cache: must be an AsyncCache"):
                attach(other, **options(world, cache=world.cache))

    asyncio.run(refused())
