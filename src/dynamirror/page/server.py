"""Serves the page on 127.0.0.1, from a thread of this process."""

import logging
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache as once
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Final, Self

import uvicorn
from fastapi import FastAPI
from nicegui import ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.local.process import HOST
from dynamirror.page.sampler import Mirrored, Sampler
from dynamirror.page.view import build

_START_SECONDS = 20.0
# What a page of ours may load and speak to is this server: the browser sees to it.
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class Page:
    """The page of one mirror, from `with` on; a process has one at a time.

    Args:
        mirrored: the mirror.
        port: to listen on; None for any free one.
        every: seconds between looks at the mirror.

    Raises:
        ConfigError: the port is taken.
        DynamirrorError: the server did not start.
    """

    _shown: Sampler | None = None

    def __init__(self, mirrored: Mirrored, *, port: int | None = None, every: float) -> None:
        if Page._shown is not None:
            raise DynamirrorError("this process shows a page already")
        self._socket = _listening(port)
        self.url = f"http://{HOST}:{self._socket.getsockname()[1]}/"
        self.sampler = Sampler(mirrored, every=every)
        config = uvicorn.Config(
            _application(),
            log_config=None,
            access_log=False,
            lifespan="on",
            loop="asyncio",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="page", daemon=True
        )

    def __enter__(self) -> Self:
        Page._shown = self.sampler
        self.sampler.start()
        self._thread.start()
        end = monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or monotonic() > end:
                self.stop()
                raise DynamirrorError("the page's server did not start")
            sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Serve no more."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        self.sampler.stop()
        Page._shown = None


def _listening(port: int | None) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port or 0))
    except OSError as error:
        listening.close()
        raise ConfigError(f"--page-port: {port} cannot be used: {error.strerror}") from None
    return listening


class _SameOrigin:
    """Refuses what another site asks, in a browser that shows this one, too."""

    def __init__(self, app: Asgi) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        if origin is not None and origin != b"http://" + headers.get(b"host", b""):
            await _refuse(scope["type"], send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), text.encode()) for name, text in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


async def _refuse(kind: str, send: Send) -> None:
    if kind == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "http.response.start", "status": 403, "headers": []})
    await send({"type": "http.response.body", "body": b"another origin\n"})


@once
def _application() -> Any:
    """NiceGUI knows one application a process."""
    # It reports what is not found, and so on, to standard error, which is the terminal's.
    logging.getLogger("nicegui").setLevel(logging.ERROR)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @ui.page("/")
    def show() -> None:
        if Page._shown is not None:  # noqa: SLF001 - of this module
            build(Page._shown)  # noqa: SLF001 - same

    ui.run_with(
        app,
        title="dynamirror",
        favicon=_FAVICON,
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
    )
    return TrustedHostMiddleware(_SameOrigin(app), allowed_hosts=[HOST, "localhost"])


_FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<rect width="32" height="32" rx="8" fill="#3056d3"/>'
    '<path d="M10 9h5v14h-5z" fill="#fff"/>'
    '<path d="M17 9h5v14h-5z" fill="#fff" opacity=".55"/></svg>'
)
