"""Comparisons that no caller waits for, on a thread of their own."""

from collections.abc import Callable
from queue import Empty, Full, Queue
from threading import Lock, Thread
from typing import Final

from dynamirror.reader.steps import Steps

_MOST_WAITING: Final = 64
_IDLE_SECONDS: Final = 5.0


class Later:
    """Carries out steps, one after the other; the thread ends when there are none.

    Args:
        carry_out: carries out steps, and raises no exception.
    """

    def __init__(self, carry_out: Callable[[Steps[None]], None]) -> None:
        self._carry_out = carry_out
        self._lock = Lock()
        self._waiting: Queue[Steps[None]] = Queue(_MOST_WAITING)
        self._thread: Thread | None = None

    def submit(self, steps: Steps[None]) -> None:
        """Have steps carried out; if too many wait, they are closed."""
        with self._lock:
            try:
                self._waiting.put_nowait(steps)
            except Full:
                next(steps)  # or its end is not noticed
                steps.close()
                return
            if self._thread is None:
                self._thread = Thread(target=self._run, name="dynamirror-shadow", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                steps = self._waiting.get(timeout=_IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._waiting.empty():
                        self._thread = None
                        return
            else:
                self._carry_out(steps)
