"""Keeps a mirror complete: detects that it is not, and rebuilds it beside the stream."""

import logging
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from dynamirror.backoff import Backoff
from dynamirror.cache.completeness_marker import read_marker
from dynamirror.cache.doubt import (
    doubt,
    is_time_to_rebuild,
    note_evictions,
    noted_evictions,
)
from dynamirror.cache.eviction import read_memory
from dynamirror.counted import counted
from dynamirror.dynamodb.scan import Rate
from dynamirror.errors import CacheError, ConfigError, SourceError
from dynamirror.recovery.backfill import Backfill, BackfillProgress
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.replication.gap_detector import GapDetector
from dynamirror.stoppable_thread import StoppableThread

logger = logging.getLogger("dynamirror")

_CHECK_SECONDS = 2.0
_NO_ROOM_SECONDS = 60.0
# As often as a watchdog in AWS looks, and more often than a node restarts.
_EVICTIONS_SECONDS = 60.0
# A rebuild of a doubtful mirror may make the cache evict again.
_REPAIR_SECONDS = 86_400.0


class Healer(StoppableThread):
    """Checks the completeness marker every two seconds, and for evictions every minute.

    It rebuilds an incomplete mirror at once. It rebuilds a doubtful one as soon as the cache has
    evicted nothing for ten minutes, and no node is nearly full, but once a day at most. When
    stopped, it ends after the page under way, where the next healer resumes.

    Args:
        rebuild: the steps of a rebuild.
        stream_arn: returns the ARN of the stream that is followed now.
        notify: called with a sentence for the operator.
        auto_rebuild: whether to rebuild, or only to notify.
        segments: number of parts in which the table is read.
        rate: read units a second, or a limit that others share; None for no limit.
    """

    def __init__(
        self,
        rebuild: Rebuild,
        *,
        stream_arn: Callable[[], str],
        notify: Callable[[str], None],
        auto_rebuild: bool = True,
        segments: int = 4,
        rate: float | Rate | None = None,
    ) -> None:
        super().__init__("healer")
        self._rebuild = rebuild
        self._stream_arn = stream_arn
        self._notify = notify
        self._auto_rebuild = auto_rebuild
        self._segments = segments
        self._rate = rate
        self._detector = GapDetector(rebuild.cache, rebuild.views)
        self._notified: str | None = None
        self._refused: str | None = None
        self._looked = float("-inf")
        self._repaired = float("-inf")
        self._doubted: int | None = None  # when the evictions were noticed that are notified
        self.complete: bool | None = None  # None before the first check
        self.reason = "its completeness marker has not been read yet"
        self.check_errors = 0
        self.rebuild_errors = 0
        self._checked = monotonic()
        self._rebuild_began: float | None = None

    def check_age(self) -> float:
        """Return the seconds since the last check that succeeded; 0 during a rebuild."""
        return 0.0 if self._rebuild_began is not None else monotonic() - self._checked

    def rebuild_running(self) -> float:
        """Return the seconds since the rebuild under way began; 0 for none."""
        began = self._rebuild_began
        return 0.0 if began is None else monotonic() - began

    def run(self) -> None:
        """Check until stopped."""
        self._checked = monotonic()  # it may have waited long for its turn
        backoff = Backoff(self._halt)
        while not self._halt.is_set():
            try:
                self._check()
            except (CacheError, SourceError) as error:
                self._count_error()
                backoff.wait(error)
            except Exception as error:
                self._count_error()
                logger.exception("fault of the program")
                backoff.wait(error)
            else:
                self._checked = monotonic()
                backoff.reset()
                self._halt.wait(_CHECK_SECONDS)

    def _count_error(self) -> None:
        if self._rebuild_began is None:
            self.check_errors += 1
            return
        self.rebuild_errors += 1
        self._checked, self._rebuild_began = monotonic(), None

    def _check(self) -> None:
        self._detector.check(self._stream_arn())
        is_doubtful = self._is_doubtful_and_quiet()
        marker = self._detector.marker
        if marker is None:
            return
        self.complete = marker.is_complete
        if self.complete:
            self._notified = None
            if is_doubtful and self._auto_rebuild:
                self._repaired = monotonic()
                self._notify("the cache has room again, so the doubtful mirror is rebuilt")
                self._run_rebuild()
            return
        self.reason = marker.reason
        if self._notified != marker.reason:
            self._notified = marker.reason
            follows = "rebuilding it" if self._auto_rebuild else "`dynamirror backfill` rebuilds it"
            self._notify(f"the mirror is incomplete: {marker.reason}; {follows}")
        if self._auto_rebuild:
            self._run_rebuild()

    def _look_meanwhile(self) -> None:
        """Notice that a complete mirror is lost during its rebuild, as by a flush."""
        if self.complete:
            with suppress(CacheError):  # the rebuild itself meets it, too
                marker = read_marker(self._rebuild.cache, self._rebuild.schema.table)
                self.complete, self.reason = marker.is_complete, marker.reason

    def _is_doubtful_and_quiet(self) -> bool:
        """Note evictions each minute; return whether it is time to repair what came of them."""
        if monotonic() - self._looked < _EVICTIONS_SECONDS:
            return False
        self._looked = monotonic()
        cache, table = self._rebuild.cache, self._rebuild.schema.table
        note_evictions(cache, table)
        evictions = noted_evictions(cache, table)
        sentence = doubt(evictions)
        if sentence is None:
            return False
        if self._doubted != evictions.at:
            self._doubted = evictions.at
            self._notify(sentence)
        if monotonic() - self._repaired < _REPAIR_SECONDS:
            return False
        return is_time_to_rebuild(evictions, read_memory(cache))

    def _run_rebuild(self) -> None:
        def on_progress(progress: BackfillProgress) -> None:
            self._look_meanwhile()
            if progress.phase == "again":
                self._notify(f"{progress.detail}; restarting")

        backfill = Backfill(
            self._rebuild,
            segments=self._segments,
            rate=self._rate,
            patience=None,
            stop=self._halt,
            on_progress=on_progress,
        )
        self._rebuild_began = monotonic()
        try:
            done = backfill.run()
        except ConfigError as error:  # the cache has no room, until somebody gives it some
            self._count_error()
            self.reason = str(error)
            if self._refused != self.reason:
                self._refused = self.reason
                self._notify(f"the mirror cannot be rebuilt: {error}")
            self._halt.wait(_NO_ROOM_SECONDS)
            return
        self._rebuild_began = None
        if done is not None:
            self.complete, self._notified = True, None
            quarantined = done.progress.quarantined
            parked = f", {counted(quarantined, 'items')} quarantined" * bool(quarantined)
            self._notify(
                f"the mirror is complete: {counted(done.progress.items, 'items')} read, "
                f"{counted(done.progress.applied, 'entries')} applied, "
                f"{counted(done.swept.deleted, 'orphaned entries')} deleted"
                f"{parked}"
            )
