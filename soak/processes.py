"""Processes of a soak, forked from one that has imported what they need, so they start at once."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["soak.worker", "soak.watcher", "soak.keeper", "soak.writer"])


class Process:
    """A process, and a pipe that ends it when it is closed.

    Args:
        target: the function that it runs.
        arguments: of the function; the type `Connection` stands for its end of the pipe.
    """

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        self.pipe, pipe = _CONTEXT.Pipe()
        placed = [pipe if each is Connection else each for each in arguments]
        self.process = _CONTEXT.Process(target=target, args=placed, daemon=True)
        self.process.start()
        pipe.close()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def close(self) -> None:
        """Let it end."""
        self.pipe.close()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
