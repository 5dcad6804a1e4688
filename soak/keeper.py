"""The keeper: a process that rebuilds an incomplete mirror, as `dynamirror run` does."""

import signal
from multiprocessing.connection import Connection
from pathlib import Path

from dynamirror.cache.client import Cache
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.runner.healer import Healer
from dynamirror.settings import Settings, load_views
from dynamirror.views.view import bind_views
from soak.changes import SCHEMA, STREAM
from soak.table import Table, TableClient


def main(environment: dict[str, str], folder: str, items: int, pipe: Connection) -> None:
    """Keep the mirror complete until the pipe is closed, and send what happens.

    Args:
        environment: environment variables of the handler.
        folder: holds the socket of the table.
        items: number of items that the table may have.
        pipe: takes sentences.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    settings = Settings.from_env(environment)
    views = bind_views(load_views(settings.config), SCHEMA)
    client = TableClient(Table(Path(folder)), items)
    rebuild = Rebuild(
        Cache(settings),
        views,
        client,  # type: ignore[arg-type] # it answers what a rebuild asks
        fence_ttl=settings.fence_ttl,
        stream_arn=STREAM,
    )
    healer = Healer(rebuild, stream_arn=lambda: STREAM, notify=pipe.send)
    healer.start()
    try:
        pipe.recv()
    except (EOFError, ConnectionError):
        return
