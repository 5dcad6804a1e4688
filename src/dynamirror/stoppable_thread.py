"""A thread that works in the background until it is stopped."""

import threading
from types import TracebackType
from typing import Self


class StoppableThread(threading.Thread):
    """Works until stopped, or inside `with`. A subclass looks at `_halt` in its `run`.

    Args:
        name: name of the thread; None for a numbered one.
        halt: is set to stop it; None for an event of its own.
    """

    def __init__(self, name: str | None = None, halt: threading.Event | None = None) -> None:
        super().__init__(name=name, daemon=True)
        self._halt = threading.Event() if halt is None else halt

    def stop(self) -> None:
        """Stop, and wait for the thread."""
        self._halt.set()
        self.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
