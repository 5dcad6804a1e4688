"""Clusters that are to be hurt, and caches that are closed at the end."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.access import Login
from tests.support.clusters import Node, three_nodes
from tests.support.deadlines import done, settle
from tests.support.wire import Wire

from dynamirror.cache.client import Cache
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.settings import Settings

OpenCache = Callable[[Settings], Cache]


@pytest.fixture(scope="session")
def cluster_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """Three nodes, of which the last survives its own death."""
    folder = tmp_path_factory.mktemp("cluster") / "node"
    with three_nodes((None, None, folder)) as nodes:
        yield nodes


@pytest.fixture
def nodes(cluster_nodes: list[Node]) -> list[Node]:
    """The three nodes, empty."""
    for node in cluster_nodes:
        node.ask(b"FLUSHALL")
    return cluster_nodes


@pytest.fixture
def cluster(nodes: list[Node], open_cache: OpenCache) -> Cache:
    """The cluster, reached through its first node; waits for no answer longer than 0.3 s."""
    return open_cache(nodes[0].server.settings(timeout=0.3))


@pytest.fixture
def single(single_valkey: EmbeddedValkey, open_cache: OpenCache) -> Cache:
    """A single Valkey, empty."""
    cache = open_cache(single_valkey.settings())
    settle(done(lambda: cache.broadcast(b"FLUSHALL")))
    return cache


@pytest.fixture
def wire(single_valkey: EmbeddedValkey) -> Iterator[Wire]:
    """The way to the single Valkey."""
    with Wire(single_valkey.port) as wire:
        yield wire


@pytest.fixture
def over_wire(wire: Wire, open_cache: OpenCache) -> Cache:
    """The single Valkey at the other end of the wire; waits for no answer longer than 0.3 s."""
    return open_cache(Settings(host="127.0.0.1", port=wire.port, tls=False, timeout=0.3))


@pytest.fixture
def admin(server: EmbeddedValkey, open_cache: OpenCache) -> Cache:
    """The server without limits; empty."""
    cache = open_cache(server.settings())
    cache.broadcast(b"FLUSHALL")
    cache.broadcast(b"SCRIPT", b"FLUSH", b"SYNC")
    return cache


@pytest.fixture
def login(
    server: EmbeddedValkey, admin: Cache, open_cache: OpenCache, tmp_path: Path
) -> Iterator[Login]:
    """Connect as a user with an access string."""
    password = tmp_path / "password"
    password.write_text("right\n", encoding="utf-8")

    def login_(access: str) -> Cache:
        admin.broadcast(b"ACL", b"SETUSER", b"limited", b"reset", b">right", *access.split())
        return open_cache(server.settings(user="limited", password_file=str(password)))

    yield login_
    admin.broadcast(b"ACL", b"DELUSER", b"limited")
