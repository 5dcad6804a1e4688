"""What the server does alone: commands that are packed beforehand, on one connection."""

import socket
import time
from collections.abc import Sequence
from itertools import count

import libvalkey

from bench.records import CREATED
from bench.results import Sample
from dynamirror.cache.scripts import PUT
from dynamirror.emulators.process import HOST
from dynamirror.records.version import ChangeVersion
from dynamirror.views.keyspace import fence_key

FENCE_TTL = 93_600
_AT_ONCE = 1_000
_numbers = count(1)

_Command = tuple[bytes | int, ...]


def sets(port: int, records: int) -> Sample:
    """Take the rate of SET."""
    value = str(next(_numbers)).encode() + b"x" * 300
    commands: list[_Command] = [(b"SET", b"set:%d" % at, value) for at in range(records)]
    return Sample("ceiling.set", "commands/s", rate(port, commands, b"+OK\r\n"))


def scripts(name: str, port: int, records: int) -> Sample:
    """Take the rate of the put script, called as `apply` calls it, with values of the same size.

    Args:
        name: of the figure.
        port: the server's.
        records: how many calls.
    """
    number = next(_numbers)
    value = str(number).encode() + b"x" * 300
    commands: list[_Command] = []
    for at in range(records):
        key = f"raw:{at:06d}"
        version = ChangeVersion(1, number * records + at + 1, CREATED)
        call = PUT.command(key.encode(), fence_key(key).encode(), str(version), FENCE_TTL, value)
        commands.append(
            tuple(word.encode() if isinstance(word, str) else word for word in call.words)
        )
    return Sample(name, "commands/s", rate(port, commands, b"$7\r\napplied\r\n"))


def rate(port: int, commands: Sequence[_Command], reply: bytes) -> float:
    """Return the commands a second if each has the same reply.

    Args:
        port: the server's.
        commands: what is sent.
        reply: of each.
    """
    packed = [
        b"".join(libvalkey.pack_command(command) for command in commands[at : at + _AT_ONCE])
        for at in range(0, len(commands), _AT_ONCE)
    ]
    with socket.create_connection((HOST, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begin = time.perf_counter()
        for block, sent in zip(packed, range(0, len(commands), _AT_ONCE), strict=True):
            connection.sendall(block)
            missing = min(_AT_ONCE, len(commands) - sent) * len(reply)
            while missing > 0:
                missing -= len(connection.recv(1 << 16))
        return len(commands) / (time.perf_counter() - begin)
