"""A cache that hangs or is gone costs callers next to nothing: DynamoDB answers."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.attaching import Attached, source_of
from tests.support.deadlines import wait_until
from tests.support.mirrored import MakeMirrored, Mirrored

from dynamirror.attachment.attachment import ThreadedAttachment
from dynamirror.attachment.gate import Gate
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError
from dynamirror.reader.guarded_cache import DOWN
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.view import ViewSpec

KEY = {"id": {"S": "1"}}


@pytest.fixture
def fragile() -> Iterator[EmbeddedValkey]:
    """A Valkey of the test's own."""
    with EmbeddedValkey(cluster=False) as server:
        yield server


@pytest.fixture
def world(make: MakeMirrored, fragile: EmbeddedValkey) -> Iterator[Mirrored]:
    """A mirrored item in that Valkey."""
    world = make(ViewSpec(encoding=DYNAMODB_JSON))
    world.settings, world.cache = fragile.settings(timeout=0.5), Cache(fragile.settings())
    world.put({"id": "1"})
    world.mirror({"id": "1"})
    world.is_complete()
    yield world
    world.cache.close()


def test_a_cache_that_hangs_costs_one_timeout(
    world: Mirrored, client: Any, attached: Attached, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Command] = []

    def ask(cache: Cache, command: Command) -> Any:
        asked.append(command)
        return real(cache, command)

    real = Cache.read_one
    attachment = attached(client, world, pause=60)
    request = {"TableName": world.name, "Key": KEY}
    assert source_of(client.get_item(**request)) == "cache"
    monkeypatch.setattr(Cache, "read_one", ask)
    world.cache.broadcast(b"CLIENT", b"PAUSE", b"60000", b"ALL")
    for _ in range(20):
        assert client.get_item(**request)["Item"] == KEY
    assert len(asked) <= 1
    assert attachment.counts["GetItem"].reasons == {"down": 20}
    assert attachment.faults == 0


def test_while_a_call_waits_for_the_cache_others_do_not(
    world: Mirrored, client: Any, attached: Attached
) -> None:
    attachment = attached(client, world, pause=60)
    request = {"TableName": world.name, "Key": KEY}
    assert source_of(client.get_item(**request)) == "cache"
    world.cache.broadcast(b"CLIENT", b"PAUSE", b"60000", b"ALL")
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: client.get_item(**request), range(640)))
    assert all(answer["Item"] == KEY for answer in answers)
    assert attachment.counts["GetItem"].reasons == {"down": 640}


def test_a_cache_that_comes_back_is_asked_again(
    world: Mirrored, client: Any, attached: Attached, fragile: EmbeddedValkey
) -> None:
    attached(client, world, pause=0.2)
    request = {"TableName": world.name, "Key": KEY}
    assert source_of(client.get_item(**request)) == "cache"
    fragile.stop()
    for _ in range(5):
        answer = client.get_item(**request)
        assert (source_of(answer), answer["Item"]) == ("table", KEY)
    with EmbeddedValkey(cluster=False, port=world.settings.port):
        world.cache.close()
        world.cache = Cache(world.settings)
        world.mirror({"id": "1"})
        world.is_complete()
        wait_until(lambda: source_of(client.get_item(**request)) == "cache", 10)


class Node:
    """A node that answers only while it works, and its clock.

    Attributes:
        meanwhile: what others get while a caller waits.
    """

    def __init__(self) -> None:
        self.cluster: Any = SimpleNamespace(node_of=lambda _key: "node")
        self.now = 0.0
        self.works = True
        self.meanwhile: list[Any] = []
        self.ask: Callable[[], Any] = list

    def read_one(self, _command: Command) -> Any:
        if self.works:
            return b"value"
        self.now += 0.3
        self.meanwhile.append(self.ask())
        self.now += 1.7
        raise CacheError("no answer in time")


def test_one_caller_at_a_time_tries_a_node_that_hung() -> None:
    node: Any = Node()
    gate = Gate(node, timeout=2.0, failures=100, pause=5.0, clock=lambda: node.now)
    node.ask = partial(gate.ask, Command(b"key", (b"GET", b"key")))
    assert node.ask() == b"value"
    node.works = False
    assert [node.ask() for _ in range(3)] == [DOWN] * 3
    assert (node.now, node.meanwhile) == (2.0, [DOWN])
    node.now += 5.1
    assert node.ask() is DOWN
    assert node.meanwhile == [DOWN, DOWN]
    node.works = True
    assert node.ask() is DOWN
    node.now += 5.1
    assert [node.ask() for _ in range(3)] == [b"value"] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_reads_although_a_thread_held_a_lock(
    world: Mirrored, client: Any, attached: Attached
) -> None:
    attachment = attached(client, world)
    assert isinstance(attachment, ThreadedAttachment)
    request = {"TableName": world.name, "Key": KEY}
    assert source_of(client.get_item(**request)) == "cache"
    with attachment._gate._lock, attachment._counts._lock, attachment._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            os._exit(source_of(client.get_item(**request)) != "cache")
    assert os.waitpid(child, 0)[1] == 0
    assert source_of(client.get_item(**request)) == "cache"


def test_a_fault_of_ours_is_counted_and_never_the_callers(
    world: Mirrored,
    client: Any,
    attached: Attached,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    attachment = attached(client, world)
    request = {"TableName": world.name, "Key": KEY}
    monkeypatch.setattr("dynamirror.reader.wire.get_item", None)
    assert [source_of(client.get_item(**request)) for _ in range(3)] == ["table"] * 3
    assert attachment.faults == 3
    messages = [one.message for one in caplog.records if one.name == "dynamirror"]
    assert messages == ["attached call passed on after a fault"]
