"""A stand-in for ElastiCache Serverless: a real Valkey that takes no key of more than 4 KiB."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

from tests.support.tcp_proxy import TcpProxy

LONGEST = 4096
# As Serverless answers: https://github.com/typeorm/typeorm/issues/11562
REFUSAL = f"ERR Request contains a key that is longer than the max key size of {LONGEST} bytes"


class Serverless(TcpProxy):
    """A TCP proxy before a Valkey.

    A command with a longer key is replaced by one that is answered with Serverless's error, so that
    the answers keep their order.

    Args:
        target: the port of the Valkey.
        refusals: errors for other commands, by a part of the command.

    Attributes:
        errors: other wordings of the server's errors, by their code.
        refused: the number of refused commands.
    """

    def __init__(self, target: int, refusals: dict[bytes, str] | None = None) -> None:
        self.refusals = refusals if refusals is not None else {}
        self.errors: dict[bytes, bytes] = {}
        self.refused = 0
        super().__init__(target)

    def relay(self, client: socket.socket, server: socket.socket) -> None:
        """Replace refused commands; the answers come back unchanged, but for `errors`."""
        back = threading.Thread(target=self._copy, args=(server, client))
        back.start()
        with suppress(OSError):
            self._relay(client, server)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)
        back.join()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        stream = client.makefile("rb")
        while head := stream.readline():
            count = int(head[1:])
            words = []
            for _ in range(count):
                length = int(stream.readline()[1:])
                words.append(stream.read(length))
                stream.read(2)
            server.sendall(packed(self._allowed(words)))

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                for code, other in self.errors.items():
                    data = re.sub(rb"-%b [^\r]*" % code, other, data)
                target.sendall(data)

    def _allowed(self, words: list[bytes]) -> list[bytes]:
        error = REFUSAL if any(len(key) > LONGEST for key in _keys(words)) else None
        for part, other in self.refusals.items():
            if any(part in word for word in words):
                error = other
        if error is None:
            return words
        self.refused += 1
        return [b"EVAL", f"return redis.error_reply({error!r})".encode(), b"0"]


def packed(words: list[bytes]) -> bytes:
    """A command as it goes over the wire."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


def _keys(words: list[bytes]) -> Iterator[bytes]:
    if words[0].upper() == b"EVALSHA":
        yield from words[3 : 3 + int(words[2])]
    elif words[0].upper() not in (b"SCRIPT", b"INFO", b"CLUSTER"):
        yield from words[1:2]
