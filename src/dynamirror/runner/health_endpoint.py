"""Serves /livez and /readyz for orchestrators."""

import socket
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType, TracebackType
from typing import Final, Self

from dynamirror.listening import authority, listening

LIVE_PATH: Final = "/livez"
READY_PATH: Final = "/readyz"


class HealthEndpoint:
    """Serves the health of this process inside `with`.

    /livez answers 200 while the process works, and /readyz while the mirror is complete and live;
    else 503 and the reason. In standby, both name who leads, and /readyz answers 200 while this
    process could take over.

    Args:
        host: the address to listen on.
        port: the port; 0 for any free one.
        why_not_live: returns why this process should be restarted; None while it works.
        why_not_ready: returns why the mirror is not complete or not live; None if it is both.
        role: returns what this process does while it does not lead; None if it leads.

    Raises:
        ConfigError: the address is not available.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        why_not_live: Callable[[], str | None],
        why_not_ready: Callable[[], str | None],
        role: Callable[[], str | None] = lambda: None,
    ) -> None:
        class Handler(_Handler):
            standby = staticmethod(role)
            checks = MappingProxyType(
                {LIVE_PATH: ("live", why_not_live), READY_PATH: ("ready", why_not_ready)}
            )

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        with listening("--health", host, port):
            self._server = Server((host, port), Handler)
        self.url = f"http://{authority(host, self._server.server_port)}"
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

    # By path: the answer, and what returns why not.
    checks: Mapping[str, tuple[str, Callable[[], str | None]]]
    standby: Callable[[], str | None]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path not in self.checks:
            self._answer(HTTPStatus.NOT_FOUND, f"only {LIVE_PATH} and {READY_PATH} are here")
            return
        answer, why_not = self.checks[path]
        reason = why_not()
        status = HTTPStatus.OK if reason is None else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, reason or "; ".join(filter(None, (answer, self.standby()))))

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
