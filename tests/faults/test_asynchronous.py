"""Coroutines read while slots move, and nodes hang or die."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

from tests.support.clusters import (
    HOST,
    Node,
    give,
    hung,
    in_one_slot,
    keys_of,
    knows_all,
    migrate,
    other_than,
    process_of,
    slot_in_between,
)
from tests.support.deadlines import wait_until
from valkey.crc import key_slot

from dynamirror.cache.asynchronous.client import AsyncCache
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError


def get(key: str) -> Command:
    """Read a key."""
    return Command(key.encode(), (b"GET", key.encode()))


def fill(cluster: Cache, keys: list[str]) -> None:
    """Write each key with its own name."""
    cluster.execute([Command(key.encode(), (b"SET", key, key)) for key in keys])


def use(
    nodes: list[Node],
    work: Callable[[AsyncCache], Awaitable[Any]],
    seed: int = 0,
    timeout: float = 0.3,
) -> Any:
    """Run a coroutine with a cache that waits for no answer longer than a time in seconds."""

    async def run() -> Any:
        cache = AsyncCache(nodes[seed].server.settings(timeout=timeout))
        try:
            return await work(cache)
        finally:
            await cache.close()

    return asyncio.run(run())


async def until(condition: Callable[[], object]) -> None:
    """Let other coroutines run until the condition holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what others count
            await asyncio.sleep(0)


def ended(tasks: list[asyncio.Task[None]]) -> bool:
    """Return whether one has ended too soon; awaiting it then raises its error."""
    return any(task.done() for task in tasks)


def test_every_command_reaches_the_node_of_its_key(cluster: Cache, nodes: list[Node]) -> None:
    keys = [key for node in range(3) for key in keys_of(node, 100)]
    fill(cluster, keys)
    before = [node.errors("MOVED") for node in nodes]

    async def read(cache: AsyncCache) -> None:
        answers = [key.encode() for key in keys]
        assert await cache.execute([get(key) for key in keys]) == answers
        single = asyncio.gather(*(cache.read_one(get(key)) for key in keys))
        assert await single == answers
        assert len(cache.cluster._connections) == 3

    use(nodes, read)
    assert [node.errors("MOVED") for node in nodes] == before


def test_slots_that_move_under_reads_change_no_answer(cluster: Cache, nodes: list[Node]) -> None:
    keys = in_one_slot("reading", 40)
    fill(cluster, keys)
    slot = key_slot(keys[0].encode())
    others = [key for node in range(3) for key in keys_of(node, 5)]
    fill(cluster, others)

    async def read(cache: AsyncCache) -> int:
        done = asyncio.Event()
        reads = 0

        async def go_on(mine: list[str]) -> None:
            nonlocal reads
            while not done.is_set():
                answers = await cache.execute([get(key) for key in mine])
                assert answers == [key.encode() for key in mine]
                assert await cache.read_one(get(mine[0])) == mine[0].encode()
                reads += 1

        async def some_more(number: int) -> None:
            goal = reads + number
            await until(lambda: reads >= goal or ended(readers))

        readers = [asyncio.create_task(go_on([*keys[index::8], *others])) for index in range(8)]
        with slot_in_between(nodes, slot, to=(new := other_than(slot))) as source:
            for first in range(0, 40, 4):  # key by key: some are asked for where they went
                await asyncio.to_thread(migrate, nodes, source, new, keys[first : first + 4])
                await some_more(8)
            await asyncio.to_thread(give, nodes, slot, to=new)
            await some_more(16)
            assert nodes[source].errors("ASK") > 0
            done.set()
            await asyncio.gather(*readers)
            redirected = nodes[source].errors("MOVED")
            assert await cache.read_one(get(keys[0])) == keys[0].encode()
            assert nodes[source].errors("MOVED") == redirected, "the move was remembered"
        return reads

    assert use(nodes, read, timeout=10) > 80  # no node hangs, but the machine may be busy


def test_a_node_that_hangs_costs_one_timeout_and_what_is_on_it(
    cluster: Cache, nodes: list[Node]
) -> None:
    keys = [key for node in range(3) for key in keys_of(node, 20)]
    fill(cluster, keys)
    reads = [get(key) for key in keys]

    async def read(cache: AsyncCache) -> None:
        assert await cache.execute(reads) == [key.encode() for key in keys]
        with hung(nodes[1].server):
            for _ in range(2):  # the second time it is known to be suspect
                begin = time.monotonic()
                calls = [cache.execute(reads) for _ in range(32)]
                for answers in await asyncio.gather(*calls):
                    assert answers[:20] == [key.encode() for key in keys[:20]]
                    assert answers[40:] == [key.encode() for key in keys[40:]]
                    reasons = {answer.reason for answer in answers[20:40]}
                    assert reasons == {f"{HOST}:{nodes[1].port}: no answer in time"}
                assert time.monotonic() - begin < 10, "32 one after the other would take longer"
        expected = [key.encode() for key in keys]
        for _ in range(200):
            if await cache.execute(reads) == expected:
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError(await cache.execute(reads))

    use(nodes, read)
    wait_until(lambda: all(map(knows_all, nodes)))


def test_a_cluster_that_hangs_whole_costs_few_timeouts(cluster: Cache, nodes: list[Node]) -> None:
    fill(cluster, ["k"])

    async def read(cache: AsyncCache) -> list[float]:
        took = []
        assert await cache.read_one(get("k")) == b"k"
        with ExitStack() as stack:
            for node in nodes:
                stack.enter_context(hung(node.server))
            for _ in range(3):
                begin = time.monotonic()
                answers = await asyncio.gather(
                    *(cache.read_one(get("k")) for _ in range(100)), return_exceptions=True
                )
                took.append(time.monotonic() - begin)
                assert {type(answer) for answer in answers} == {CacheError}
        return took

    # The first waits for its node; each later one for the slot map, of one node and then of all.
    took = use(nodes, read)
    assert max(took) < 10, "100 callers one after the other would take half a minute"
    wait_until(lambda: all(map(knows_all, nodes)))


def test_a_server_that_is_killed_and_started_again_is_found_again() -> None:
    async def read(stack: ExitStack) -> None:
        server = stack.enter_context(EmbeddedValkey(cluster=False))
        cache = AsyncCache(server.settings(timeout=0.3))
        ended = asyncio.Event()
        answers: set[object] = set()

        async def go_on() -> None:
            while not ended.is_set():
                try:
                    answers.add(await cache.read_one(Command(b"k", (b"ECHO", b"1"))))
                except CacheError:
                    answers.add(None)
                await asyncio.sleep(0)

        async def seen(expected: object) -> None:
            answers.clear()
            await until(lambda: expected in answers)

        readers = [asyncio.create_task(go_on()) for _ in range(50)]
        await seen(b"1")
        os.kill(process_of(server), signal.SIGKILL)
        await seen(None)
        again = EmbeddedValkey(cluster=False, port=server.port)
        stack.callback(again.stop)
        await seen(b"1")
        ended.set()
        await asyncio.gather(*readers)
        await cache.close()

    with ExitStack() as stack:
        asyncio.run(asyncio.wait_for(read(stack), 60))
