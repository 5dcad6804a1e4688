"""TLS in front of a server that has none, as the embedded Valkey is built."""

import os
import select
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOST = "127.0.0.1"


def make_certificate(folder: Path, vouched: str, *, authority: bool = True) -> tuple[Path, Path]:
    """Write a certificate and its key; return both files.

    Args:
        folder: the folder of both.
        vouched: what the certificate vouches for, as in `IP:127.0.0.1`.
        authority: whether it is an authority's; GLIDE accepts none as a server's.
    """
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    openssl = shutil.which("openssl")
    assert openssl is not None
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-keyout", os.fspath(key), "-out", os.fspath(certificate), "-days", "2"),
            *("-subj", "/CN=dynamirror test", "-addext", f"subjectAltName={vouched}"),
            *("-addext", f"basicConstraints=critical,CA:{'TRUE' if authority else 'FALSE'}"),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return certificate, key


@contextmanager
def tls_proxy(target: int, certificate: Path, key: Path) -> Iterator[int]:
    """Put a TLS server before a port; gives its own port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
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
