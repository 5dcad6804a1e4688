"""A way to a server on which bytes can be held back, lost or cut off."""

import select
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from tests.support.tcp_proxy import TcpProxy

_RESET_WHEN_CLOSED = struct.pack("ii", 1, 0)


@dataclass
class Direction:
    """What happens to the bytes of one direction.

    Args:
        held: they wait.
        lost: they are swallowed.
        left: after so many more, the connection is reset, once.
        instead: what comes in the place of the next, once.
    """

    held: bool = False
    lost: bool = False
    left: int | None = None
    instead: bytes | None = None


class Wire(TcpProxy):
    """A TCP proxy whose directions can be changed."""

    daemon_threads = False  # so that closing waits for them

    def __init__(self, target: int) -> None:
        self.to_server = Direction()
        self.to_client = Direction()
        self._stopped = threading.Event()
        super().__init__(target)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        super().__exit__(kind, error, trace)

    def relay(self, client: socket.socket, server: socket.socket) -> None:
        """Relay the bytes as the directions say."""
        ways = {client: (server, self.to_server), server: (client, self.to_client)}
        while ways and not self._stopped.is_set():
            open_ = [end for end, (_, direction) in ways.items() if not direction.held]
            readable, _, _ = select.select(open_, [], [], 0.01)
            for end in readable:
                other, direction = ways[end]
                if direction.held:  # since it was looked at
                    continue
                data = _receive(end, direction)
                left = direction.left  # which a test may set once it has the last of this
                cut = left is not None and left <= len(data)
                if cut:
                    data = data[:left]
                if not direction.lost:
                    with suppress(OSError):  # the other end has left; this one is read to its end
                        other.sendall(data)
                if cut:
                    direction.left = None
                    for one in (client, server):
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_WHEN_CLOSED)
                        one.close()
                    return
                if left is not None:
                    direction.left = left - len(data)
                if not data:
                    with suppress(OSError):
                        other.shutdown(socket.SHUT_WR)
                    del ways[end]


def _receive(end: socket.socket, direction: Direction) -> bytes:
    try:
        data = end.recv(65_536)
    except OSError:
        return b""
    if direction.instead is not None:
        data, direction.instead = direction.instead, None
    return data
