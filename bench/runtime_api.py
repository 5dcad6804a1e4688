"""Lambda's Runtime API, which hands one event to a runtime client.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import socket
import threading
import time
from contextlib import suppress
from typing import Final, Self

from bench.records import STREAM
from dynamirror.emulators.process import HOST

_REQUEST: Final = "00000000-0000-0000-0000-000000000000"
_TIMEOUT_MS: Final = 60_000


class RuntimeApi:
    """Serves the next event to one client after the other."""

    def __init__(self) -> None:
        self.event = b""
        self._listener = socket.create_server((HOST, 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Host and port, as in AWS_LAMBDA_RUNTIME_API."""
        return f"{HOST}:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        """Answer the first request of a connection with the event; later clients connect again."""
        with suppress(OSError), connection:
            head = connection.recv(1 << 16)
            if head.startswith(b"GET") and self.event:
                event, self.event = self.event, b""
                deadline = round(time.time() * 1000) + _TIMEOUT_MS
                lines = (
                    "HTTP/1.1 200 OK",
                    f"Content-Length: {len(event)}",
                    "Content-Type: application/json",
                    f"Lambda-Runtime-Aws-Request-Id: {_REQUEST}",
                    f"Lambda-Runtime-Deadline-Ms: {deadline}",
                    f"Lambda-Runtime-Invoked-Function-Arn: {STREAM}",
                    "Connection: close",
                )
                connection.sendall("\r\n".join((*lines, "", "")).encode() + event)
            elif head.startswith(b"POST"):
                connection.sendall(
                    b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
            else:
                connection.recv(1)  # until the client ends: there is no other event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
