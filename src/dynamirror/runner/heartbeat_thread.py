"""The heartbeat of a delivery in this process, also while the table is idle."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Final

from dynamirror.cache.client import Cache
from dynamirror.cache.heartbeat import Heartbeat, write_heartbeat
from dynamirror.errors import CacheError
from dynamirror.runner.delivery import Delivery
from dynamirror.stoppable_thread import StoppableThread

_INTERVAL_SECONDS: Final = 3.0
# Time to the next try of the first heartbeat: a replicator that has just started is asked for soon.
_FIRST_TRY_SECONDS: Final = 0.1
SILENCE_SECONDS: Final = 10.0


def who_am_i() -> str:
    """Return host and process, which name this process wherever the cache does."""
    return f"{socket.gethostname()}:{os.getpid()}"


class HeartbeatThread(StoppableThread):
    """Writes a heartbeat every few seconds inside `with`.

    Args:
        cache: the cache.
        table: the table's name.
        stream: ARN of the stream that is read.
        delivery: reads it.
        interval: seconds between heartbeats.
        on_written: called after each heartbeat that the cache took.
        may_write: returns whether this process replicates the table.
    """

    def __init__(
        self,
        cache: Cache,
        table: str,
        stream: str,
        delivery: Delivery,
        *,
        interval: float = _INTERVAL_SECONDS,
        on_written: Callable[[], object] = lambda: None,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__("heartbeat")
        self._cache = cache
        self._table = table
        self._stream = stream
        self._delivery = delivery
        self._interval = interval
        self._on_written = on_written
        self._may_write = may_write
        self._who = who_am_i()
        self._first = True

    def run(self) -> None:
        """Write heartbeats until stopped."""
        while not self._halt.is_set():
            begin = monotonic()
            with suppress(CacheError):  # a missing heartbeat is what `status` reports
                self._beat()
            interval = min(self._interval, _FIRST_TRY_SECONDS) if self._first else self._interval
            self._halt.wait(max(0.0, begin + interval - monotonic()))

    def _beat(self) -> None:
        behind = self._delivery.lag()
        if behind is None or not self._may_write():
            return  # a heartbeat would vouch for changes that nobody has looked for
        newest = self._delivery.newest()
        heartbeat = Heartbeat(
            who=self._who,
            behind=behind,
            stream=self._stream,
            sequence_number=newest.after if newest else None,
            created=newest.created if newest else None,
            silence=SILENCE_SECONDS,
        )
        write_heartbeat(self._cache, self._table, self._who, heartbeat, first=self._first)
        self._first = False
        self._on_written()
