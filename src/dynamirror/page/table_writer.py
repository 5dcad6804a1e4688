"""Write random changes to the demo's table in the background."""

import threading
from collections.abc import Callable

from dynamirror.demo.demo import Demo
from dynamirror.errors import DynamirrorError


class TableWriter:
    """A thread that writes until stopped, and adds an event if an error ends it."""

    def __init__(self, demo: Demo, add_event: Callable[[str], object]) -> None:
        self._demo = demo
        self._add_event = add_event
        self._thread: threading.Thread | None = None
        self._halt = threading.Event()

    @property
    def is_started(self) -> bool:
        """Return whether `start` was called, and `stop` was not called since."""
        return self._thread is not None

    def start(self) -> None:
        """Start the thread."""
        self._halt.clear()
        self._thread = threading.Thread(target=self._write, name="writes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for it, if there is one."""
        self._halt.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self) -> None:
        try:
            for _ in self._demo.write(float("inf"), stop=self._halt):
                pass
        except DynamirrorError as error:
            self._add_event(f"Writing ended: {error}")
