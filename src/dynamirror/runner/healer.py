"""Keeps a mirror complete: notices that it is not, and rebuilds it beside the stream."""

import logging
import threading
from collections.abc import Callable

from dynamirror.backoff import Backoff
from dynamirror.errors import CacheError, SourceError
from dynamirror.recovery.backfill import Backfill, BackfillProgress
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.replication.gap_detector import GapDetector

logger = logging.getLogger("dynamirror")

_LOOK_SECONDS = 2.0


class Healer(threading.Thread):
    """Looks at the marker now and then.

    Args:
        rebuild: the steps of a rebuild.
        stream_arn: tells the stream that is followed now.
        notify: is told, in a sentence, what a person should know.
        auto_rebuild: whether to rebuild, or only to tell.
        segments: how many parts the table is read in.
        rate: read units a second; None for no limit.
    """

    def __init__(
        self,
        rebuild: Rebuild,
        *,
        stream_arn: Callable[[], str],
        notify: Callable[[str], None],
        auto_rebuild: bool = True,
        segments: int = 4,
        rate: float | None = None,
    ) -> None:
        super().__init__(name="healer", daemon=True)
        self._rebuild = rebuild
        self._stream_arn = stream_arn
        self._notify = notify
        self._heal = auto_rebuild
        self._segments = segments
        self._rate = rate
        self._halt = threading.Event()
        self._watch = GapDetector(rebuild.cache, rebuild.views)
        self._told: str | None = None
        self.complete: bool | None = None  # None until it has looked

    def run(self) -> None:
        """Look until stopped."""
        backoff = Backoff(self._halt)
        while not self._halt.is_set():
            try:
                self._look()
            except (CacheError, SourceError) as error:
                backoff.wait(error)
            else:
                backoff.reset()
                self._halt.wait(_LOOK_SECONDS)

    def stop(self) -> None:
        """End after the page under way; the next one goes on there."""
        self._halt.set()
        self.join()

    def _look(self) -> None:
        self._watch.check(self._stream_arn())
        marker = self._watch.marker
        if marker is None:
            return
        self.complete = marker.is_complete
        if self.complete:
            self._told = None
            return
        if self._told != marker.reason:
            self._told = marker.reason
            follows = "rebuilding it" if self._heal else "`dynamirror backfill` rebuilds it"
            self._notify(f"the mirror is incomplete: {marker.reason}; {follows}")
        if self._heal:
            self._rebuild_it()

    def _rebuild_it(self) -> None:
        def note(now: BackfillProgress) -> None:
            if now.phase == "again":
                self._notify(f"{now.detail}; beginning anew")

        backfill = Backfill(
            self._rebuild,
            segments=self._segments,
            rate=self._rate,
            patience=None,
            stop=self._halt,
            on_progress=note,
        )
        done = backfill.run()
        if done is not None:
            self.complete, self._told = True, None
            self._notify(
                f"the mirror is complete: {done.progress.items:,} items read, "
                f"{done.progress.applied:,} entries written, {done.swept.deleted:,} left-over "
                "entries deleted"
            )
