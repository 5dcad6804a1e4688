"""Keeps a mirror complete: notices that it is not, and rebuilds it beside the stream."""

import logging
import threading
from collections.abc import Callable

from dynamirror.backoff import Backoff
from dynamirror.errors import CacheError, SourceError
from dynamirror.recovery.backfill import Backfill, Now
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.replication.gap_detector import Watch

logger = logging.getLogger("dynamirror")

_LOOK_SECONDS = 2.0


class Healer(threading.Thread):
    """Looks at the marker now and then.

    Args:
        rebuild: the steps of a rebuild.
        stream_arn: tells the stream that is followed now.
        tell: is told, in a sentence, what a person should know.
        heal: whether to rebuild, or only to tell.
        segments: how many parts the table is read in.
        rate: read units a second; None for no limit.
    """

    def __init__(
        self,
        rebuild: Rebuild,
        *,
        stream_arn: Callable[[], str],
        tell: Callable[[str], None],
        heal: bool = True,
        segments: int = 4,
        rate: float | None = None,
    ) -> None:
        super().__init__(name="healer", daemon=True)
        self._rebuild = rebuild
        self._stream_arn = stream_arn
        self._tell = tell
        self._heal = heal
        self._segments = segments
        self._rate = rate
        self._halt = threading.Event()
        self._watch = Watch(rebuild.cache, rebuild.views)
        self._told: str | None = None
        self.complete: bool | None = None  # None until it has looked

    def run(self) -> None:
        """Look until stopped."""
        backoff, failures = Backoff(self._halt), 0
        while not self._halt.is_set():
            try:
                self._look()
            except (CacheError, SourceError) as error:
                failures += 1
                backoff.wait(failures, error)
            else:
                failures = 0
                self._halt.wait(_LOOK_SECONDS)

    def stop(self) -> None:
        """End after the page under way; the next one goes on there."""
        self._halt.set()
        self.join()

    def _look(self) -> None:
        self._watch.look(self._stream_arn())
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
            self._tell(f"the mirror is incomplete: {marker.reason}; {follows}")
        if self._heal:
            self._rebuild_it()

    def _rebuild_it(self) -> None:
        def note(now: Now) -> None:
            if now.phase == "again":
                self._tell(f"{now.detail}; beginning anew")

        backfill = Backfill(
            self._rebuild,
            segments=self._segments,
            rate=self._rate,
            patience=None,
            stop=self._halt,
            tell=note,
        )
        done = backfill.run()
        if done is not None:
            self.complete, self._told = True, None
            self._tell(
                f"the mirror is complete: {done.progress.items:,} items read, "
                f"{done.progress.applied:,} entries written, {done.swept.deleted:,} left-over "
                "entries deleted"
            )
