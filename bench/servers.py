"""The cache that is measured against, near and a millisecond away."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from valkey import Valkey

from dynamirror.cache.client import Cache
from dynamirror.emulators.process import HOST, EmbeddedServer, ServerProcess, answers
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.settings import Settings

# Added to a round trip: about what a cache in another zone is away.
AWAY_MS = 1.0
_PINGS = 200
_SCRIPT = str(Path(__file__).with_name("proxy.py"))
_TLS_SCRIPT = str(Path(__file__).with_name("tls.py"))


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


class Secure(EmbeddedServer):
    """TLS in front of a Valkey in cluster mode, which announces this port from then on.

    Args:
        server: the Valkey; for clients with TLS only, since it announces no other port.
        folder: for the certificate and its key.
    """

    def __init__(self, server: EmbeddedValkey, folder: Path) -> None:
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        _make_certificate(certificate, key)
        self.ca_file = str(certificate)
        self.server = server

        def ready(port: int) -> bool:
            with socket.create_connection((HOST, port), 1) as plain:
                ssl.create_default_context(cafile=certificate).wrap_socket(
                    plain, server_hostname=HOST
                ).close()
            return True

        self._process = ServerProcess(
            "tls",
            lambda listen, _folder: [
                *(sys.executable, "-I", "-S", _TLS_SCRIPT, str(server.port)),
                *(self.ca_file, str(key), str(listen)),
            ],
            ready=ready,
        )
        with Valkey(host=HOST, port=server.port) as client:
            client.config_set("cluster-announce-port", self.port)

    @property
    def port(self) -> int:
        """The port that speaks TLS."""
        return self._process.port

    def settings(self) -> Settings:
        """Return settings that connect over TLS, and verify the certificate."""
        return Settings(host=HOST, port=self.port, tls=True, ca_file=self.ca_file)

    def round_trip_ms(self) -> float:
        """Return the median of many PINGs over TLS, in milliseconds."""
        context = ssl.create_default_context(cafile=self.ca_file)
        with (
            socket.create_connection((HOST, self.port)) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as connection,
        ):
            return sorted(_timed_pings(connection))[_PINGS // 2]


def _make_certificate(certificate: Path, key: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        sys.exit("bench: openssl is not installed; it makes the certificate for TLS")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-keyout", os.fspath(key), "-out", os.fspath(certificate), "-days", "2"),
            *("-subj", "/CN=bench", "-addext", f"subjectAltName=IP:{HOST}"),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )


class ServerCpu:
    """Reads the CPU time that a server has used.

    Args:
        port: the server's, without TLS.
    """

    def __init__(self, port: int) -> None:
        self._client: Any = Valkey(host=HOST, port=port)

    def seconds(self) -> float:
        """Return the CPU seconds used so far, in user mode and in the kernel."""
        used = self._client.info("cpu")
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


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
    with socket.create_connection((HOST, port)) as connection:
        return _timed_pings(connection)


def _timed_pings(connection: socket.socket) -> list[float]:
    taken = []
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(_PINGS):
        begin = time.perf_counter()
        connection.sendall(b"PING\r\n")
        connection.recv(64)
        taken.append((time.perf_counter() - begin) * 1000)
    return taken
