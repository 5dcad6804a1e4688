"""One connection to a Valkey node, on which the commands of many coroutines are pipelined."""

import asyncio
import os
import socket
from asyncio import AbstractEventLoop, Future, Handle, Transport
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import libvalkey

from dynamirror.cache.connection import (
    BREAKING,
    AnswerError,
    Credentials,
    HandshakeTimeoutError,
    Options,
    RefusedError,
)
from dynamirror.cache.slot_map import Node

_BUFFER: Final = 1 << 16
_NOT_YET: Final = object()
# A timer that fires so much later than it should, as part of the timeout: the loop was held up.
_HELD_UP: Final = 0.25

Answers = list[Any]


class AsyncConnection(asyncio.BufferedProtocol):
    """Sends commands in the order of the calls, and gives each call its own answers.

    A coroutine that is cancelled leaves its place in the queue: its answers are read and dropped.

    Args:
        loop: the event loop that the connection belongs to.
        timeout: seconds to wait for each part of an answer.
    """

    def __init__(self, loop: AbstractEventLoop, timeout: float) -> None:
        self.is_open = True
        self.error: AnswerError | OSError | None = None  # which closed the connection
        self._loop = loop
        self._timeout = timeout
        self._reader = libvalkey.Reader(replyError=AnswerError, notEnoughData=_NOT_YET)
        self._buffer = bytearray(_BUFFER)
        self._transport: Transport | None = None
        self._unsent: list[bytes] = []
        # For each call its future, how many answers it gets, and those that it has.
        self._pending: deque[tuple[Future[Answers], int, Answers]] = deque()
        self._progress = 0.0
        self._due = 0.0
        self._timer: Handle | None = None
        self._closes_when_idle = False

    def ask(self, packed: bytes, count: int = 1) -> "Future[Answers]":
        """Send packed commands.

        Args:
            packed: the commands.
            count: how many answers they get.

        Returns:
            A future of the answers, AnswerErrors among them. There are fewer than `count` if the
            connection was lost: then `error` has the reason.
        """
        future = self._loop.create_future()
        if not self.is_open:
            future.set_result([])
            return future
        if self._pending:
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent.append(packed)
        else:
            self._progress = self._loop.time()
            if self._timer is None:
                self._watch(self._timeout)
            assert self._transport is not None
            self._transport.write(packed)
        self._pending.append((future, count, []))
        return future

    def _flush(self) -> None:
        if self._unsent and self._transport is not None:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _watch(self, seconds: float) -> None:
        self._due = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._due, self._check)

    def _check(self) -> None:
        """Give up the connection if the node has not answered for too long."""
        self._timer = None
        if not self._pending or not self.is_open:
            return
        now = self._loop.time()
        if now - self._due > self._timeout * _HELD_UP:
            # Something else held up the loop, perhaps before the command was even sent.
            self._progress = now
        left = self._progress + self._timeout - now
        if left > 0:
            self._watch(left)
        else:
            self._lose(TimeoutError())

    def connection_made(self, transport: Any) -> None:
        """Take the transport (called by asyncio, as are the next three)."""
        self._transport = transport

    def get_buffer(self, _sizehint: int) -> bytearray:
        """Return where to put received bytes: always the same place, which takes no allocation."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Give the answers that have come to those who wait for them."""
        pending, next_answer = self._pending, self._reader.gets
        self._progress = self._loop.time()
        self._reader.feed(self._buffer, 0, nbytes)  # type: ignore[arg-type] # it takes any bytes
        try:
            while (answer := next_answer()) is not _NOT_YET:
                if not pending:
                    self._lose(ConnectionError("the node answered what nobody asked"))
                    return
                if type(answer) is AnswerError and answer.code in BREAKING:
                    self._lose(answer)
                    return
                future, count, answers = pending[0]
                answers.append(answer)
                if len(answers) == count:
                    pending.popleft()
                    if not future.done():  # else it was cancelled
                        future.set_result(answers)
        except libvalkey.ProtocolError as error:
            self._lose(ConnectionError(f"the answer is not in Valkey's protocol: {error}"))
        if not pending and self._closes_when_idle:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give what has come so far to those who wait."""
        lost = exc if isinstance(exc, OSError) else None
        self._lose(lost or ConnectionResetError(None, "Connection closed by the node"))

    def _lose(self, error: AnswerError | OSError) -> None:
        if not self.is_open:
            return
        self.error = error
        self._end()
        for future, _count, answers in self._pending:
            if not future.done():
                future.set_result(answers)
        self._pending.clear()

    def _end(self) -> None:
        self.is_open = False
        self._unsent.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()  # a node that hangs would not say goodbye

    def close_when_idle(self) -> None:
        """Close the connection after the answers to what was sent."""
        if self._pending:
            self._closes_when_idle = True
        else:
            self.close()

    def close(self) -> None:
        """Close the connection; calls that wait get what has come so far."""
        self._lose(ConnectionAbortedError(None, "the connection was closed"))

    async def log_in(self, credentials: Credentials) -> None:
        """Authenticate.

        Raises:
            RefusedError: the node does not accept the credentials.
            AnswerError: the node answers with another error.
            OSError: the connection is lost; TimeoutError if the node does not answer.
        """
        password = await _at_hand(credentials, credentials.password)
        try:
            await self._authenticate(credentials.user, password)
        except RefusedError:
            renew, refused = credentials.renew, password
            if renew is not None:
                password = await _at_hand(credentials, lambda: renew(refused))
            if password == refused:
                raise
            await self._authenticate(credentials.user, password)

    async def _authenticate(self, user: str, password: str) -> None:
        answers = await self.ask(libvalkey.pack_command((b"AUTH", user, password)))
        if not answers:
            assert self.error is not None
            raise self.error
        if isinstance(answers[0], AnswerError):
            error = answers[0]
            # Other errors do not concern the credentials, such as too many clients.
            raise RefusedError(str(error)) if error.code == "WRONGPASS" else error


async def _at_hand(credentials: Credentials, read: Callable[[], str]) -> str:
    """Return a password; botocore, which may have to fetch it, runs on a thread."""
    if not credentials.blocks:
        return read()
    return await asyncio.get_running_loop().run_in_executor(None, read)


async def connect(node: Node, options: Options) -> AsyncConnection:
    """Open an authenticated connection.

    Raises:
        OSError: the node cannot be reached; TimeoutError if it does not answer.
        RefusedError: the node does not accept the credentials.
        AnswerError: the node answers with another error before it checks the credentials.
        CacheError: there are no credentials.
    """
    loop = asyncio.get_running_loop()
    connection = AsyncConnection(loop, options.timeout)
    async with asyncio.timeout(options.timeout):
        found = await _connected_socket(loop, node)
    try:
        async with asyncio.timeout(options.timeout):
            await loop.create_connection(
                lambda: connection,
                sock=found,
                ssl=options.tls,
                server_hostname=node.host if options.tls else None,
            )
    except TimeoutError as error:
        found.close()
        raise HandshakeTimeoutError from error
    except BaseException:
        found.close()
        raise
    try:
        if options.credentials:
            await connection.log_in(options.credentials)
    except BaseException:
        connection.close()
        raise
    return connection


async def _connected_socket(loop: AbstractEventLoop, node: Node) -> socket.socket:
    """Connect to the first address that a name has and that accepts."""
    kind = socket.SOCK_STREAM
    try:
        try:  # an address needs no thread, on which asyncio looks up names
            numeric = socket.AI_NUMERICHOST
            addresses = socket.getaddrinfo(node.host, node.port, type=kind, flags=numeric)
        except socket.gaierror:
            addresses = await loop.getaddrinfo(node.host, node.port, type=kind)
    except UnicodeError:  # `a..b`, for one
        raise OSError(None, "That is not a host name") from None
    reason = OSError(None, "The name has no address")
    for family, _kind, protocol, _name, address in addresses:
        found = socket.socket(family, kind, protocol)
        try:
            found.setblocking(False)  # noqa: FBT003 - its only argument
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await loop.sock_connect(found, address)
        except OSError as error:
            found.close()
            # asyncio's own sentence names the address, not what is wrong.
            reason = OSError(error.errno, os.strerror(error.errno)) if error.errno else error
        except BaseException:
            found.close()
            raise
        else:
            return found
    raise reason
