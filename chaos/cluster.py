"""A cluster of three real Valkey nodes that outlive their own death."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dynamirror.cache.client import Cache
from dynamirror.emulators.process import HOST
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError

_RANGES = ((0, 5_460), (5_461, 10_922), (10_923, 16_383))


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> float:
    """Return how long it took until the condition held.

    Raises:
        TimeoutError: it did not come to hold in time.
    """
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.01)
    return time.monotonic() - begin


class Node:
    """One node. What it acknowledged is on disk, so it survives SIGKILL.

    Args:
        slots: first and last hash slot that it takes; None for none.
        options: additional arguments of the server.
    """

    def __init__(self, slots: tuple[int, int] | None, options: tuple[str, ...] = ()) -> None:
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="chaos-node-"))
        self.server = self._start(slots, None)
        self.port = self.server.port
        # The machine is kept busy: what is asked directly may take its time.
        self.direct = Cache(self.server.settings(timeout=30.0), single=True)
        self.name: bytes = self.ask(b"CLUSTER", b"MYID")

    def _start(self, slots: tuple[int, int] | None, port: int | None) -> EmbeddedValkey:
        options = (
            *("--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", "always"),
            *("--maxmemory-policy", "noeviction", "--cluster-require-full-coverage", "no"),
            *self._options,
        )
        return EmbeddedValkey(slots=slots, port=port, options=options)

    def ask(self, *words: bytes | str | int) -> Any:
        """Have the node carry out a command."""
        (answer,) = self.direct.broadcast(*words)
        return answer

    @property
    def pid(self) -> int:
        """The server's process id."""
        children = Path(f"/proc/{self.server.guard_pid}/task/{self.server.guard_pid}/children")
        return int(children.read_text().split()[0])

    def signal(self, number: signal.Signals) -> None:
        """Send the server a signal."""
        os.kill(self.pid, number)

    def restart(self) -> None:
        """Start the server again, where it was and with what it had."""
        self.server.stop()
        self.server = self._start(None, self.port)

    def in_order(self) -> bool:
        """Whether it finds the cluster in order."""
        wanted = (b"cluster_state:ok", b"cluster_slots_ok:16384", b"cluster_size:3")
        with suppress(CacheError):
            info = self.ask(b"CLUSTER", b"INFO")
            return all(line + b"\r" in info for line in wanted)
        return False

    def stop(self) -> None:
        """Stop the server, hung or not, and remove its data."""
        with suppress(OSError, IndexError):
            self.signal(signal.SIGCONT)
        self.direct.close()
        self.server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


class Cluster:
    """Three nodes that share the slots.

    Args:
        options: additional arguments of the servers.
    """

    def __init__(self, options: tuple[str, ...] = ()) -> None:
        self.nodes: list[Node] = []
        try:
            self.nodes += [Node(slots, options) for slots in _RANGES]
            for node in self.nodes[1:]:
                self.nodes[0].ask(b"CLUSTER", b"MEET", HOST, node.port)
            self.settle()
        except BaseException:
            self.stop()
            raise

    def settle(self) -> None:
        """Wait until all nodes find the cluster in order."""
        wait_until(lambda: all(node.in_order() for node in self.nodes), "the cluster")

    def stop(self) -> None:
        """Stop all nodes."""
        for node in self.nodes:
            node.stop()
