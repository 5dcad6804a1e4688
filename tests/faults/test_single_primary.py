"""Cluster mode off: one primary behind an address that moves to the replica that takes over."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from select import select

import pytest
from tests.support.deadlines import settle
from tests.support.mirroring import Mirror, Table, entries
from tests.support.scans import scanned_keys

from dynamirror.cache.client import Cache
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError
from dynamirror.settings import Settings

OpenCache = Callable[[Settings], Cache]
HOST = "127.0.0.1"
IDS = [str(number) for number in range(50)]


class PrimaryEndpoint:
    """An address that leads new connections to the node that it names, as ElastiCache's name does.

    Connections that are open stay with their node, as they do when a name changes.

    Args:
        port: port of the node.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self._stopped = threading.Event()
        endpoint = self

        class Relay(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError), socket.create_connection((HOST, endpoint.target)) as node:
                    endpoint._relay(self.request, node)

        self._server = socketserver.ThreadingTCPServer((HOST, 0), Relay)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def _relay(self, client: socket.socket, node: socket.socket) -> None:
        other = {client: node, node: client}
        while not self._stopped.is_set():
            for end in select(list(other), [], [], 0.05)[0]:
                data = end.recv(65_536)
                if not data:
                    return
                other[end].sendall(data)

    def close(self) -> None:
        """Close the address and all connections."""
        self._stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@dataclass
class Pair:
    """A primary, its replica, and the address of whichever is the primary."""

    primary: Cache
    replica: Cache
    replica_port: int
    primary_port: int
    endpoint: PrimaryEndpoint

    def fail_over(self) -> None:
        """Have the replica take over, and the primary follow it."""
        assert self.primary.broadcast(b"WAIT", 1, 5_000) == [1]
        self.replica.broadcast(b"REPLICAOF", b"NO", b"ONE")
        self.primary.broadcast(b"REPLICAOF", HOST, self.replica_port)
        settle(lambda: self.primary.broadcast(b"ROLE")[0][3] == b"connected")
        self.endpoint.target = self.replica_port


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A primary that its replica has caught up with."""
    with ExitStack() as stack:
        options = ("--repl-diskless-sync-delay", "0", "--shutdown-timeout", "0")
        first, second = (
            stack.enter_context(EmbeddedValkey(cluster=False, options=options)) for _ in range(2)
        )
        primary, replica = (
            stack.enter_context(closing(Cache(server.settings()))) for server in (first, second)
        )
        replica.broadcast(b"REPLICAOF", HOST, first.port)
        settle(lambda: replica.broadcast(b"ROLE")[0][3] == b"connected")
        endpoint = stack.enter_context(closing(PrimaryEndpoint(first.port)))
        yield Pair(primary, replica, second.port, first.port, endpoint)


def test_a_mirror_behind_one_primary_endpoint_survives_a_failover(
    pair: Pair, open_cache: OpenCache
) -> None:
    cache = open_cache(Settings(host=HOST, port=pair.endpoint.port, tls=False, timeout=2))
    mirror, table = Mirror(cache), Table()
    assert mirror.deliver(table.puts(IDS, name="old")) is None
    pair.fail_over()
    # The connection leads to the former primary still, which only reads now.
    records = table.puts(IDS, name="new")
    identifier = mirror.deliver(records)
    assert identifier is not None
    mirror.deliver_again(records, identifier)
    assert entries(cache) == table.shown()
    assert len(set(scanned_keys(cache, "users:*"))) == len(IDS)


def test_a_scan_after_a_failover_is_one_of_the_new_primary(
    pair: Pair, open_cache: OpenCache
) -> None:
    cache = open_cache(Settings(host=HOST, port=pair.endpoint.port, tls=False, timeout=2))
    cache.broadcast(b"SET", b"users:1", b"x")
    pair.fail_over()
    with suppress(CacheError):
        cache.broadcast(b"SET", b"users:2", b"x")
    cache.broadcast(b"SET", b"users:2", b"x")
    assert set(scanned_keys(cache, "users:*")) == {b"users:1", b"users:2"}
