"""A cache that is further away: passes TCP on, each direction half a round trip later.

A process of its own, lest it share the interpreter with what is measured: `python proxy.py PORT
MILLISECONDS LISTEN_PORT`. What comes while other bytes wait is not held up by them, so pipelining
works as it does over a real line; the bandwidth is that of loopback.
"""

import asyncio
import ctypes
import selectors
import socket
import sys
from collections import deque
from contextlib import suppress

_HOST = "127.0.0.1"
_PR_SET_TIMERSLACK = 29  # prctl(2)


class _Line(asyncio.Protocol):
    """One direction: hands on to its peer what it gets, later."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self.transport: asyncio.Transport | None = None
        self.peer: _Line | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        due = self._loop.time() + self._delay
        self._waiting.append((due, data))
        if len(self._waiting) == 1:
            self._loop.call_at(due, self._hand_on)

    def _hand_on(self) -> None:
        now = self._loop.time()
        ready = []
        while self._waiting and self._waiting[0][0] <= now:
            ready.append(self._waiting.popleft()[1])
        if ready and self.peer is not None and self.peer.transport is not None:
            self.peer.transport.write(b"".join(ready))
        if self._waiting:
            self._loop.call_at(self._waiting[0][0], self._hand_on)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.close()


class _Accepted(_Line):
    """The client's side, which begins to read once the server's is there."""

    def __init__(self, delay: float, port: int) -> None:
        super().__init__(delay)
        self._port = port
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self._opening = self._loop.create_task(self._open())

    async def _open(self) -> None:
        assert self.transport is not None
        _, other = await self._loop.create_connection(lambda: _Line(self._delay), _HOST, self._port)
        self.peer, other.peer = other, self
        self.transport.resume_reading()


async def serve(port: int, milliseconds: float, listen_port: int) -> None:
    """Pass on what comes to one port to the other, until cancelled.

    Args:
        port: the server's.
        milliseconds: what is added to a round trip.
        listen_port: ours.
    """
    delay = milliseconds / 2 / 1000
    server = await asyncio.get_running_loop().create_server(
        lambda: _Accepted(delay, port), _HOST, listen_port
    )
    async with server:
        await server.serve_forever()


def main() -> None:
    """Run until ended."""
    port, milliseconds, listen_port = sys.argv[1:]
    # Linux wakes those who sleep 50 us late by default.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)
    # epoll waits in whole milliseconds; select, in microseconds.
    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    ) as runner:
        runner.run(serve(int(port), float(milliseconds), int(listen_port)))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
