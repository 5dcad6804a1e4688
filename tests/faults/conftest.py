"""Clusters that are to be hurt, and caches that are closed at the end."""

from collections.abc import Callable, Iterator

import pytest

from clusters import Node, three_nodes
from deadlines import done, settle
from dynamirror.cache.client import Cache
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.settings import Settings
from faults.wire import Wire

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
