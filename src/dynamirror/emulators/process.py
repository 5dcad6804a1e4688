"""A server on 127.0.0.1 that ends with this process."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from dynamirror.errors import DynamirrorError

HOST = "127.0.0.1"
_ATTEMPTS = 5
_GRACE_SECONDS = 10.0


class ServerProcess:
    """A server, started and stopped by a guard process.

    Args:
        name: the name for messages.
        command: returns the command line for a port and the server's own folder.
        env: returns additional environment variables for a port.
        ready: returns whether the server at a port is ready.
        port: the port; None for any free one.
        highest_port: the highest port to choose.
        deadline: seconds to wait until the server is ready.

    Raises:
        DynamirrorError: the server did not become ready.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[int, Path], Sequence[str]],
        *,
        env: Callable[[int], Mapping[str, str]] = lambda _port: {},
        ready: Callable[[int], bool],
        port: int | None = None,
        highest_port: int = 65_535,
        deadline: float = 60.0,
    ) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            with _reserved(port, highest_port) as self.port:
                log = self._start(name, command, env)
                try:
                    if self._wait(ready, deadline):
                        return
                    tail = os.pread(log, 10_000, 0).decode(errors="replace")[-500:]
                finally:
                    os.close(log)
            self.stop()
            # Another process may have taken the port where it cannot be reserved: try again.
            if attempt == _ATTEMPTS or "in use" not in tail.lower():
                raise DynamirrorError(f"{name} did not start: {tail.strip() or 'no output'}")

    def _start(
        self,
        name: str,
        command: Callable[[int, Path], Sequence[str]],
        env: Callable[[int], Mapping[str, str]],
    ) -> int:
        """Start the guard, and return a file descriptor of its log."""
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        log = self.folder / "log"
        with log.open("wb") as output:
            self._guard = subprocess.Popen(  # noqa: S603 - our own command line
                [
                    *(sys.executable, "-S", "-E", str(Path(__file__).with_name("guard.py"))),
                    *(str(self.folder), *command(self.port, self.folder)),
                ],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(self.folder), **env(self.port)},
                start_new_session=True,
            )
            return os.open(log, os.O_RDONLY)

    def _wait(self, ready: Callable[[int], bool], deadline: float) -> bool:
        end = time.monotonic() + deadline
        while time.monotonic() < end and self._guard.poll() is None:
            with suppress(OSError):
                if ready(self.port):
                    return True
            time.sleep(0.01)
        return False

    @property
    def pid(self) -> int:
        """The process id of the guard, whose child the server is."""
        return self._guard.pid

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        if self._guard.stdin:
            self._guard.stdin.close()
        try:
            self._guard.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        # The guard removes the folder, unless it was killed.
        shutil.rmtree(self.folder, ignore_errors=True)


class EmbeddedServer:
    """A server that is stopped by `stop`, by the end of a `with`, or by the end of this process."""

    _process: ServerProcess

    @property
    def guard_pid(self) -> int:
        """The process id of the guard, whose child the server is."""
        return self._process.pid

    def stop(self) -> None:
        """Stop the server."""
        self._process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


@contextmanager
def _reserved(port: int | None, highest: int) -> Iterator[int]:
    """Reserve a port for a server that is about to start.

    With SO_REUSEADDR, Linux lets the server listen on a port that is merely bound (man 7 socket),
    and never assigns a bound port to a process that asks for any.
    """
    with socket.socket() as holder:
        port = port or free_port(highest)
        if sys.platform == "linux":
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):  # the server reports it
                holder.bind((HOST, port))
        yield port


def free_port(highest: int = 65_535) -> int:
    """Return a port that nothing listens on now."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        if port <= highest:
            return port


def answers(port: int) -> bool:
    """Return whether something accepts connections at a port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
