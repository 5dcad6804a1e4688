"""One connection to a Valkey node.

libvalkey packs commands and parses answers. Valkey's own client for Python also imports its asyncio
half, which is half of a cold start, and takes four calls for each answer.
"""

import socket
import ssl
from collections.abc import Callable
from math import inf
from select import poll
from typing import Any, Final

import libvalkey
import msgspec

_BUFFER: Final = 1 << 16
_NOT_YET: Final = object()
# After these a node answers nothing else. A replaced primary keeps its connections: only a new one
# finds its successor.
BREAKING: Final = ("READONLY", "LOADING")
_READABLE: Final = 1  # POLLIN; Windows, which has no poll, is not supported


class AnswerError(Exception):
    """An error that a node answered.

    Args:
        text: the answer, which begins with a code in capitals.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]


class RefusedError(AnswerError):
    """A node does not accept the user or the password."""


class HandshakeTimeoutError(TimeoutError):
    """A node does not answer in time to the beginning of TLS."""


class Credentials(msgspec.Struct, frozen=True):
    """The user and the password of connections.

    Args:
        user: name of the user.
        password: returns the password, called for each connection.
        renew: returns the password to try after a node refused the one given; None for no other.
        blocks: whether `password` and `renew` may have to ask AWS first.
    """

    user: str
    password: Callable[[], str]
    renew: Callable[[str], str] | None = None
    blocks: bool = False


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a connection.

    Args:
        timeout: seconds to wait for the connection, and for each answer.
        tls: the TLS context; None for no TLS.
        credentials: user and password; None for none.
        session_seconds: seconds for which the credentials hold.
    """

    timeout: float
    tls: ssl.SSLContext | None = None
    credentials: Credentials | None = None
    session_seconds: float = inf


class Connection:
    """An authenticated connection, not for use by several threads at once.

    Args:
        host: name or address of the node.
        port: port of the node.
        options: options of the connection.
        born: time of creation, in seconds of the caller's clock.
            The owner also sets `used`, the time of the last use, and `closed_before`, how often
            it had closed all others.

    Raises:
        OSError: the node cannot be reached; TimeoutError if it does not answer.
        RefusedError: the node does not accept the credentials.
        AnswerError: the node answers with another error before it checks the credentials.
    """

    def __init__(self, host: str, port: int, options: Options, *, born: float = 0.0) -> None:
        self.born = self.used = born
        self.closed_before = 0
        self._reader = libvalkey.Reader(replyError=AnswerError, notEnoughData=_NOT_YET)
        self.is_open = True
        try:
            self._socket = socket.create_connection((host, port), options.timeout)
        except UnicodeError:  # `a..b`, for one
            raise OSError(None, "That is not a host name") from None
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if options.tls:
                self._begin_tls(options.tls, host)
            if options.credentials:
                self._authenticate(options.credentials)
        except BaseException:
            self.close()
            raise

    def _begin_tls(self, context: ssl.SSLContext, host: str) -> None:
        try:
            self._socket = context.wrap_socket(self._socket, server_hostname=host)
        except TimeoutError as error:
            raise HandshakeTimeoutError from error

    def _authenticate(self, credentials: Credentials) -> None:
        password = credentials.password()
        try:
            self._log_in(credentials.user, password)
        except RefusedError:
            other = credentials.renew(password) if credentials.renew else password
            if other == password:
                raise
            self._log_in(credentials.user, other)

    def _log_in(self, user: str, password: str) -> None:
        self.send(libvalkey.pack_command((b"AUTH", user, password)))
        answer = self.read()
        if isinstance(answer, AnswerError):
            # Other errors do not concern the credentials, such as too many clients.
            raise RefusedError(str(answer)) if answer.code == "WRONGPASS" else answer

    def send(self, packed: bytes) -> None:
        """Send packed commands; after an error, close the connection.

        Raises:
            OSError: the commands may not have arrived; TimeoutError if the node is stuck.
        """
        self._socket.sendall(packed)

    def read(self) -> Any:
        """Return the next answer, which may be an AnswerError; raise as `read_all` does."""
        answers: list[Any] = []
        self.read_all(answers, 1)
        return answers[0]

    def read_all(self, answers: list[Any], count: int) -> None:
        """Append answers, AnswerErrors among them, until there are `count`.

        After an error, close the connection; `answers` holds those that came before it.

        Raises:
            OSError: the connection is lost; TimeoutError if the node does not answer.
        """
        next_answer = self._reader.gets
        while len(answers) < count:
            try:
                answer = next_answer()
            except libvalkey.ProtocolError as error:
                raise ConnectionError(f"the answer is not in Valkey's protocol: {error}") from error
            if answer is _NOT_YET:
                received = self._socket.recv(_BUFFER)
                if not received:
                    raise ConnectionResetError(None, "Connection closed by the node")
                self._reader.feed(received)
            else:
                answers.append(answer)

    def is_idle(self) -> bool:
        """Return whether the connection is open, with no bytes to read."""
        if not self.is_open:
            return False
        poller = poll()
        poller.register(self._socket, _READABLE)
        return not poller.poll(0)

    def close(self) -> None:
        """Close the connection."""
        self.is_open = False
        self._socket.close()
