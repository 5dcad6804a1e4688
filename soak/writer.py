"""The writer: a process that makes changes at a rate, and answers for the table."""

import selectors
import socket
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import msgspec

from soak.changes import Changes, Mix
from soak.stream import Log, line_of

_TICK: Final = 0.005
# What is made at once, at most, of what is behind.
_MOST: Final = 500
_LENGTH: Final = 4
_MOST_ITEMS: Final = 1_000
ADDRESS: Final = "table"


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """A question about the table.

    Args:
        numbers: of the items that are asked for; None for a page.
        first: first number of a page.
        end: the number before which it ends.
        most: the most items of a page.
    """

    numbers: list[int] | None
    first: int = 0
    end: int = 0
    most: int = 0


class Page(msgspec.Struct, frozen=True, array_like=True):
    """An answer.

    Args:
        items: the items that exist, in JSON.
        last: the number at which a page ended before its end; None where it did not.
        count: how many items there are.
        made: how many changes have been made.
    """

    items: list[str]
    last: int | None = None
    count: int = 0
    made: int = 0


class Plan(msgspec.Struct, frozen=True):
    """What the writer does.

    Args:
        mix: which items change, and how.
        seed: of the changes.
        lanes: number of lanes.
        rate: changes per second.
        folder: holds the stream, and the socket of the table.
        changes: the most changes; None for any number.
    """

    mix: Mix
    seed: int
    lanes: int
    rate: float
    folder: str
    changes: int | None = None


class _Writer:
    def __init__(self, plan: Plan) -> None:
        folder = Path(plan.folder)
        self._plan = plan
        self._changes = Changes(plan.mix, plan.seed)
        self._logs = [Log(folder, lane) for lane in range(plan.lanes)]
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ADDRESS))
        self._listener.listen(64)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def run(self, pipe: Connection) -> None:
        """Make changes until asked to stop, and answer questions until the pipe is closed."""
        plan, begin = self._plan, time.monotonic()
        is_writing = True
        self._selector.register(pipe, selectors.EVENT_READ)
        while True:
            began = time.monotonic()
            if is_writing:
                due = int((began - begin) * plan.rate) - self._changes.made
                if plan.changes is not None:
                    due = min(due, plan.changes - self._changes.made)
                self._make(min(due, _MOST))
            pause = _TICK if is_writing else 1.0
            for key, _ in self._selector.select(max(0.0, began + pause - time.monotonic())):
                if key.fileobj is pipe:
                    try:
                        pipe.recv()
                    except (EOFError, ConnectionError):
                        return
                    is_writing = False
                    pipe.send((self._changes.made, time.process_time()))
                elif key.fileobj is self._listener:
                    connection, _ = self._listener.accept()
                    self._selector.register(connection, selectors.EVENT_READ)
                else:
                    self._answer(key.fileobj)

    def _make(self, count: int) -> None:
        if count <= 0:
            return
        lanes: list[list[str]] = [[] for _ in self._logs]
        now = time.time()
        change = self._changes.change
        for _ in range(count):
            number, record = change(int(now))
            lanes[number % len(lanes)].append(line_of(now, record))
        for log, lines in zip(self._logs, lanes, strict=True):
            if lines:
                log.append(lines)

    def _answer(self, connection: Any) -> None:
        try:
            connection.settimeout(None)
            question = msgspec.msgpack.decode(receive(connection), type=Ask)
            send(connection, self._page(question))
        except (EOFError, ConnectionError):
            self._selector.unregister(connection)
            connection.close()

    def _page(self, ask: Ask) -> Page:
        images, made = self._changes.images, self._changes.made
        if ask.numbers is not None:
            return Page([image for n in ask.numbers if (image := images[n])], made=made)
        if not ask.most:
            return Page([], count=len(images) - images.count(None), made=made)
        found: list[str] = []
        for number in range(ask.first, ask.end):
            if image := images[number]:
                found.append(image)
                if len(found) >= min(ask.most, _MOST_ITEMS):
                    return Page(found, number, made=made)
        return Page(found, made=made)


def send(connection: socket.socket, message: Any) -> None:
    """Send a message with its length before it."""
    data = msgspec.msgpack.encode(message)
    connection.sendall(len(data).to_bytes(_LENGTH, "big") + data)


def receive(connection: socket.socket) -> bytes:
    """Receive a message.

    Raises:
        EOFError: the connection ended.
    """
    return _exactly(connection, int.from_bytes(_exactly(connection, _LENGTH), "big"))


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def main(plan: Plan, pipe: Connection) -> None:
    """Run the writer until the pipe is closed."""
    with suppress(KeyboardInterrupt):
        _Writer(plan).run(pipe)
