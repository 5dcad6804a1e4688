"""Connections that rest: kept for the next call, and closed when they are too many or too old."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.deadlines import wait_until

from dynamirror.cache.client import Cache
from dynamirror.cache.connection import Connection
from dynamirror.cache.scripts import Command
from dynamirror.emulators.valkey import EmbeddedValkey

READ = Command(b"k", (b"GET", b"k"))
THREADS = 150


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def server() -> Iterator[EmbeddedValkey]:
    """A Valkey that nobody else is connected to."""
    with EmbeddedValkey(cluster=False) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    """The pool's clock."""
    return Clock()


@pytest.fixture
def pool(server: EmbeddedValkey, clock: Clock) -> Iterator[Cache]:
    """A cache whose connections are counted."""
    cache = Cache(server.settings(timeout=30), clock=clock)
    yield cache
    cache.close()


@pytest.fixture
def admin(server: EmbeddedValkey) -> Iterator[Cache]:
    """Counts them."""
    cache = Cache(server.settings())
    count(cache)
    yield cache
    cache.close()


def count(admin: Cache) -> int:
    """How many clients the server has."""
    (listed,) = admin.broadcast(b"CLIENT", b"LIST")
    return len(listed.splitlines())


def crowd(pool: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in many threads at once, each of which holds a connection when all do."""
    pool.read_one(READ)
    barrier = threading.Barrier(THREADS)
    read = Connection.read

    def wait(connection: Connection) -> Any:
        answer = read(connection)
        barrier.wait(60)
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "read", wait)
        threads = [threading.Thread(target=pool.read_one, args=(READ,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_a_crowd_leaves_few_connections(
    pool: Cache, admin: Cache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = count(admin)
    crowd(pool, monkeypatch)
    wait_until(lambda: count(admin) <= before + 64)
    # One reader goes on; the others' connections rest, and are not needed any more.
    clock.now += 59
    pool.read_one(READ)
    assert count(admin) == before + 64
    clock.now += 2
    pool.read_one(READ)
    wait_until(lambda: count(admin) <= before + 4)
    assert pool.read_one(READ) is None


def test_a_few_connections_rest_for_good(pool: Cache, admin: Cache, clock: Clock) -> None:
    before = count(admin)
    pool.read_one(READ)
    node = pool.cluster.node_of(b"k")
    assert node is not None
    taken = [pool.cluster.checkout(node) for _ in range(4)]
    for connection in taken:
        pool.cluster.release(node, connection)
    clock.now += 3_600
    for _ in range(3):
        pool.read_one(READ)
    assert count(admin) == before + 4


def test_busy_threads_keep_their_connections(pool: Cache, admin: Cache, clock: Clock) -> None:
    pool.read_one(READ)
    node = pool.cluster.node_of(b"k")
    assert node is not None
    before = count(admin)
    known: set[int] = set()
    for _ in range(100):
        taken = [pool.cluster.checkout(node) for _ in range(40)]
        known |= {id(connection) for connection in taken}
        clock.now += 30
        for connection in taken:
            pool.cluster.release(node, connection)
    assert len(known) == 40
    assert count(admin) == before + 39


def test_what_is_in_use_when_the_cache_is_closed_is_closed_when_it_is_given_back(
    pool: Cache, admin: Cache
) -> None:
    before = count(admin)
    pool.read_one(READ)
    node = pool.cluster.node_of(b"k")
    assert node is not None
    taken = [pool.cluster.checkout(node) for _ in range(3)]
    pool.close()
    for connection in taken:
        pool.cluster.release(node, connection)
    wait_until(lambda: count(admin) == before)
    assert pool.read_one(READ) is None, "it may be used again"
    assert count(admin) == before + 1
