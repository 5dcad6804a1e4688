"""Serves /livez and /readyz for orchestrators."""

import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

from dynamirror.errors import ConfigError

LIVE_PATH: Final = "/livez"
READY_PATH: Final = "/readyz"


class HealthEndpoint:
    """Serves the health of this process inside `with`.

    /livez answers 200 while the process works. /readyz answers 200 while the mirror is complete
    and live, else 503 and the reason.

    Args:
        host: the address to listen on.
        port: the port; 0 for any free one.
        why_not_ready: returns why the mirror is not complete or not live; None if it is both.

    Raises:
        ConfigError: the address is not available.
    """

    def __init__(self, host: str, port: int, why_not_ready: Callable[[], str | None]) -> None:
        class Handler(_Handler):
            def why_not_ready(self) -> str | None:
                return why_not_ready()

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        in_url = f"[{host}]" if ":" in host else host
        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise ConfigError(
                f"--health: {in_url}:{port} is not available ({error.strerror}); give another "
                "address"
            ) from None
        self.url = f"http://{in_url}:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )

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
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    # A client that sends nothing must not hold its thread.
    timeout = 10

    def why_not_ready(self) -> str | None:
        """Return why the mirror is not complete or not live; None if it is both."""
        raise NotImplementedError

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == LIVE_PATH:
            self._answer(HTTPStatus.OK, "live")
        elif path == READY_PATH:
            reason = self.why_not_ready()
            status = HTTPStatus.OK if reason is None else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, reason or "ready")
        else:
            self._answer(HTTPStatus.NOT_FOUND, f"only {LIVE_PATH} and {READY_PATH} are here")

    do_HEAD = do_GET  # noqa: N815 - same

    def _answer(self, status: HTTPStatus, text: str) -> None:
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing: probes come every few seconds."""
