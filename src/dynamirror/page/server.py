"""Serve the page from a thread of this process, on 127.0.0.1 by default."""

import logging
import socket
import threading
from functools import cache
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

import uvicorn
from fastapi import FastAPI
from nicegui import ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from dynamirror.emulators.process import HOST
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.listening import authority, listening
from dynamirror.page.mirror_source import MirrorSource
from dynamirror.page.same_origin import SameOrigin
from dynamirror.page.sampler import Sampler
from dynamirror.page.view import build

_START_SECONDS = 20.0


class LivePage:
    """One mirror's page, served inside `with`; a process has one at a time.

    Args:
        port: port to listen on; None for any free one.
        host: address to listen on.
        interval: seconds between reads of the mirror.

    Raises:
        ConfigError: the port is taken.
        DynamirrorError: the process has a page already, or the server does not start.
    """

    _served: Sampler | None = None

    def __init__(
        self, mirror: MirrorSource, *, port: int | None = None, host: str = HOST, interval: float
    ) -> None:
        if LivePage._served is not None:
            raise DynamirrorError("this process serves a page already; close that one first")
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{authority(host, self.port)}/"
        self._sampler = Sampler(mirror, interval=interval)
        config = uvicorn.Config(
            # Other addresses have names that nobody knows here, and no page there has buttons.
            TrustedHostMiddleware(
                _application(), allowed_hosts=[HOST, "localhost"] if host == HOST else ["*"]
            ),
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
        LivePage._served = self._sampler
        self._sampler.start()
        self._thread.start()
        end = monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or monotonic() > end:
                self.stop()
                raise DynamirrorError(
                    f"the page's server did not start on {self.url} in {_START_SECONDS:.0f} s"
                )
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
        """Stop the server and the sampler."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        self._sampler.stop()
        LivePage._served = None


def _listen(host: str, port: int | None) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        with listening("--page-port", host, port or 0):
            listener.bind((host, port or 0))
    except ConfigError:
        listener.close()
        raise
    return listener


@cache
def _application() -> Any:
    """Return the process's application: NiceGUI allows only one."""
    # These loggers write harmless warnings, such as a missing path, to the user's terminal.
    logging.getLogger("nicegui").setLevel(logging.ERROR)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @ui.page("/")
    def show() -> None:
        if LivePage._served is not None:  # noqa: SLF001 - of this module
            build(LivePage._served)  # noqa: SLF001 - same

    ui.run_with(
        app,
        title="dynamirror",
        favicon=_FAVICON,
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
    )
    return SameOrigin(app)


_FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<rect width="32" height="32" rx="8" fill="#3056d3"/>'
    '<path d="M10 9h5v14h-5z" fill="#fff"/>'
    '<path d="M17 9h5v14h-5z" fill="#fff" opacity=".55"/></svg>'
)
