"""Valkey behind TLS, and caches that are closed at the end."""

import os
import select
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from dynamirror.cache.client import Cache
from dynamirror.settings import Settings

HOST = "127.0.0.1"

OpenCache = Callable[[Settings], Cache]
StartTlsProxy = Callable[[int, str], tuple[int, str]]


@pytest.fixture
def password_file(tmp_path: Path) -> Callable[[str], str]:
    """Write a password into a file of its own; gives the file's path."""
    number = count()

    def write(password: str) -> str:
        path = tmp_path / f"password-{next(number)}"
        path.write_text(f"{password}\n", encoding="utf-8")
        return os.fspath(path)

    return write


@pytest.fixture
def start_tls_proxy(tmp_path: Path) -> Iterator[StartTlsProxy]:
    """Put a TLS server before a port; gives its own port and the file of its certificate.

    The second argument is what the certificate vouches for, as in `IP:127.0.0.1`.
    """
    with ExitStack() as stack:

        def start(target: int, vouched: str) -> tuple[int, str]:
            certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
            _make_certificate(certificate, key, vouched)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            return stack.enter_context(_tls_proxy(target, context)), os.fspath(certificate)

        yield start


def _make_certificate(certificate: Path, key: Path, vouched: str) -> None:
    openssl = shutil.which("openssl")
    assert openssl is not None
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-keyout", os.fspath(key), "-out", os.fspath(certificate), "-days", "2"),
            *("-subj", "/CN=dynamirror test", "-addext", f"subjectAltName={vouched}"),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )


@contextmanager
def _tls_proxy(target: int, context: ssl.SSLContext) -> Iterator[int]:
    stopped = threading.Event()

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                with (
                    context.wrap_socket(self.request, server_side=True) as client,
                    socket.create_connection((HOST, target)) as server,
                ):
                    _relay(client, server, stopped)
            except OSError:
                pass  # the client refused our certificate, or left

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = False  # so that closing waits for them

    with Server((HOST, 0), Relay) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            stopped.set()
            server.shutdown()
            thread.join()


def _relay(client: ssl.SSLSocket, server: socket.socket, stopped: threading.Event) -> None:
    other: dict[socket.socket, socket.socket] = {client: server, server: client}
    while not stopped.is_set():
        readable, _, _ = select.select(list(other), [], [], 0.05)
        for end in readable:
            # One TLS record is at most 16 KiB, so that none stays behind unseen.
            data = end.recv(65_536)
            if not data:
                return
            other[end].sendall(data)
