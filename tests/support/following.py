"""`dynamirror run` in a thread."""

import threading
from collections.abc import Callable

from dynamirror.runner.event_source_mapping import DeliveryCounts
from dynamirror.runner.follower import Follower


class Following:
    """`dynamirror run` in a thread."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.counts = DeliveryCounts()
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        try:
            self.follower.follow(self._report, interval=0.05)
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def _report(self, counts: DeliveryCounts) -> None:
        self.counts = counts
        if self._stop.is_set():
            raise InterruptedError

    @property
    def ended(self) -> bool:
        """Whether it has given up."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """As Ctrl-C does."""
        self._stop.set()
        self._thread.join(30)
        assert self.ended


Start = Callable[..., Following]
