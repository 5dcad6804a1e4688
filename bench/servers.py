"""The cache that is measured against, near and a millisecond away."""

import socket
import sys
import time
from pathlib import Path

from dynamirror.cache.client import Cache
from dynamirror.emulators.process import HOST, EmbeddedServer, ServerProcess, answers
from dynamirror.emulators.valkey import EmbeddedValkey

# Added to a round trip: about what a cache in another zone is away.
AWAY_MS = 1.0
_PINGS = 200
_SCRIPT = str(Path(__file__).with_name("proxy.py"))


class Far(EmbeddedServer):
    """The way to a server, made longer by `proxy.py`.

    Args:
        port: the server's.
        milliseconds: what is waited on a round trip.
    """

    def __init__(self, port: int, milliseconds: float) -> None:
        self._process = ServerProcess(
            "proxy",
            lambda listen, _folder: [
                *(sys.executable, "-I", "-S", _SCRIPT),
                *(str(port), str(milliseconds), str(listen)),
            ],
            ready=answers,
        )

    @property
    def port(self) -> int:
        """Where it begins."""
        return self._process.port


def away(port: int, milliseconds: float = AWAY_MS) -> Far:
    """Open a way that adds so much to a round trip, all told.

    What the proxy takes for its own work is measured, and waited less.

    Args:
        port: the server's.
        milliseconds: what is added.
    """
    with Far(port, milliseconds) as trial:
        excess = min(_pings_ms(trial.port)) - min(_pings_ms(port)) - milliseconds
    return Far(port, milliseconds - min(max(excess, 0.0), milliseconds / 2))


def cache_at(server: EmbeddedValkey, port: int) -> Cache:
    """Connect by a port, and by no other that the server may name."""
    return Cache(server.settings(port=port), single=True)


def round_trip_ms(port: int) -> float:
    """A PING and its answer, the median of many, in milliseconds."""
    return sorted(_pings_ms(port))[_PINGS // 2]


def _pings_ms(port: int) -> list[float]:
    taken = []
    with socket.create_connection((HOST, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(_PINGS):
            begin = time.perf_counter()
            connection.sendall(b"PING\r\n")
            connection.recv(64)
            taken.append((time.perf_counter() - begin) * 1000)
    return taken
