"""Counts the commands of this process to the cache, and ends the process between two of them."""

import os
import signal
from collections.abc import Callable
from random import Random
from typing import Any

from dynamirror.cache.connection import Connection


class Meter:
    """Counts answered commands; once it is armed, kills the process between any two.

    Args:
        farewell: called right before the end.
    """

    def __init__(self, farewell: Callable[[], object]) -> None:
        self.commands = 0
        self.exchanges = 0
        self._farewell = farewell
        self._random = Random(0)
        self._last: int | None = None

    def arm(self, last: int | None, seed: int) -> None:
        """Set the number of commands after which the process ends; None for never."""
        self._last = last
        self._random.seed(seed)

    def install(self) -> None:
        """Count what all connections of this process receive from now on."""
        send, read_all = Connection.send, Connection.read_all

        def counted_send(connection: Connection, packed: bytes) -> None:
            if self._last is not None and self.commands >= self._last:
                self._kill(connection, packed, send)
            send(connection, packed)

        def counted_read_all(connection: Connection, answers: list[Any], count: int) -> None:
            before = len(answers)
            self.exchanges += 1
            try:
                read_all(connection, answers, count)
            finally:
                self.commands += len(answers) - before

        connection: Any = Connection
        connection.send, connection.read_all = counted_send, counted_read_all

    def _kill(
        self,
        connection: Connection,
        packed: bytes,
        send: Callable[[Connection, bytes], None],
    ) -> None:
        """Send some of the commands, and end the process."""
        end = self._random.choice(boundaries(packed))
        if end:
            send(connection, packed[:end])
        self._farewell()
        os.kill(os.getpid(), signal.SIGKILL)


def boundaries(packed: bytes) -> list[int]:
    """Return the offsets at which packed commands begin, and 0.

    Args:
        packed: commands in Valkey's protocol: arrays of bulk strings.
    """
    found, offset = [], 0
    while offset < len(packed):
        found.append(offset)
        end = packed.index(b"\r\n", offset)
        words, offset = int(packed[offset + 1 : end]), end + 2
        for _ in range(words):
            end = packed.index(b"\r\n", offset)
            offset = end + 2 + int(packed[offset + 1 : end]) + 2
    return found or [0]
