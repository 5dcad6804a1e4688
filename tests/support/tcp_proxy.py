"""A TCP proxy before a port of this machine."""

import socket
import socketserver
import threading
from contextlib import suppress
from types import TracebackType
from typing import ClassVar, Self

HOST = "127.0.0.1"


class TcpProxy:
    """Relay each connection in a thread of its own, inside `with`.

    Args:
        target: the port of the server.
    """

    # Whether closing leaves the connections' threads alone.
    daemon_threads: ClassVar[bool] = True

    def __init__(self, target: int) -> None:
        proxy = self

        class Relay(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError), socket.create_connection((HOST, target)) as server:
                    proxy.relay(self.request, server)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = self.daemon_threads

        self._server = Server((HOST, 0), Relay)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def relay(self, client: socket.socket, server: socket.socket) -> None:
        """Relay a connection until it ends."""
        raise NotImplementedError
