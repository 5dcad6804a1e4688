"""One connection to a Valkey node: made, authenticated, written to and read from.

libvalkey packs and parses; what is left of a client is here. Valkey's own client for Python brings
its asyncio half along, which is half of a cold start, and takes four calls for each answer.
"""

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from select import poll
from typing import Any, Final

import libvalkey

_BUFFER: Final = 1 << 16
_NOT_YET: Final = object()
_READABLE: Final = 1  # POLLIN; Windows, which has no poll, is not supported


class AnswerError(Exception):
    """An error that a node answered.

    Args:
        text: as it came; begins with a code in capitals.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]


class RefusedError(AnswerError):
    """A node does not accept the user or the password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to connect.

    Args:
        timeout: seconds to wait for a connection, and for each answer.
        tls: what to trust; None for no TLS.
        credentials: gives user and password, asked anew for each connection; None for none.
    """

    timeout: float
    tls: ssl.SSLContext | None = None
    credentials: Callable[[], tuple[str, str]] | None = None


class Connection:
    """A connection, made and authenticated; not for use by several threads at once.

    Args:
        host: name or address of the node.
        port: its port.
        options: how to connect.
        born: when, in seconds of any clock; kept for whoever asks, as are `used`, when it was
            last, and `closed_before`, how often its owner had closed all others.

    Raises:
        OSError: the node cannot be reached; TimeoutError if it does not answer.
        RefusedError: it does not accept the credentials.
        AnswerError: it answers with another error before it has looked at them.
    """

    def __init__(self, host: str, port: int, options: Options, *, born: float = 0.0) -> None:
        self.born = self.used = born
        self.closed_before = 0
        self._reader = libvalkey.Reader(replyError=AnswerError, notEnoughData=_NOT_YET)
        self.is_open = True
        try:
            self._socket = socket.create_connection((host, port), options.timeout)
        except UnicodeError:  # `a..b`, for one
            raise OSError(None, "That is no name of a host") from None
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if options.tls:
                self._socket = options.tls.wrap_socket(self._socket, server_hostname=host)
            if options.credentials:
                self._authenticate(*options.credentials())
        except BaseException:
            self.close()
            raise

    def _authenticate(self, user: str, password: str) -> None:
        self.send(libvalkey.pack_command((b"AUTH", user, password)))
        answer = self.read()
        if isinstance(answer, AnswerError):
            # Others have nothing to do with who we are, such as that there are too many clients.
            raise RefusedError(str(answer)) if answer.code == "WRONGPASS" else answer

    def send(self, packed: bytes) -> None:
        """Send packed commands; after an error the connection must be closed.

        Raises:
            OSError: they may not have arrived; TimeoutError if the node does not take them.
        """
        self._socket.sendall(packed)

    def read(self) -> Any:
        """The next answer, which may be an AnswerError; raises what `read_all` does."""
        answers: list[Any] = []
        self.read_all(answers, 1)
        return answers[0]

    def read_all(self, answers: list[Any], count: int) -> None:
        """Append answers, AnswerErrors among them, until there are `count`.

        After an error the connection must be closed; what came before it stands in `answers`.

        Raises:
            OSError: the connection is lost; TimeoutError if the node does not answer.
        """
        next_answer = self._reader.gets
        while len(answers) < count:
            try:
                answer = next_answer()
            except libvalkey.ProtocolError as error:
                raise ConnectionError(f"what came is no answer of Valkey: {error}") from error
            if answer is _NOT_YET:
                received = self._socket.recv(_BUFFER)
                if not received:
                    raise ConnectionResetError(None, "Connection closed by the node")
                self._reader.feed(received)
            else:
                answers.append(answer)

    def is_idle(self) -> bool:
        """Whether it is still open and nothing is on its way, as far as can be told from here."""
        if not self.is_open:
            return False
        poller = poll()
        poller.register(self._socket, _READABLE)
        return not poller.poll(0)

    def close(self) -> None:
        """Close it."""
        self.is_open = False
        self._socket.close()
