"""A rebuild from start to end, by the threads of one process."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from dynamirror.backoff import Backoff
from dynamirror.cache.slot_scan import MOVING_SECONDS, MovingError, SlotRange
from dynamirror.dynamodb.scan import Rate
from dynamirror.errors import CacheError, SourceError
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.recovery.rebuild_state import LostError, Progress, Run, total
from dynamirror.recovery.sweep import SweepProgress, total_swept

# One core parses all answers of DynamoDB, so that more threads do not help.
_THREADS = 8


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """The state of a backfill.

    Args:
        phase: waiting, loading, sweeping, done or again.
        progress: the progress of all segments together.
        swept: the progress of the sweep.
        detail: the reason why the backfill waits or starts again.
    """

    phase: str
    progress: Progress = field(default_factory=Progress)
    swept: SweepProgress = field(default_factory=SweepProgress)
    detail: str = ""


class Backfill:
    """Runs one rebuild; after a crash, the next run resumes each segment at its last page.

    Args:
        rebuild: the steps of the rebuild.
        segments: the number of segments of a new rebuild.
        consistent: whether reads are strongly consistent.
        rate: read units per second, or a limit that others share; None for no limit.
        patience: the number of consecutive failures to retry; None for any number.
        stop: set to end early.
        on_progress: called with the state, by several threads, one at a time.
    """

    def __init__(
        self,
        rebuild: Rebuild,
        *,
        segments: int = 8,
        consistent: bool = True,
        rate: float | Rate | None = None,
        patience: int | None = 8,
        stop: threading.Event | None = None,
        on_progress: Callable[[BackfillProgress], object] = lambda _state: None,
    ) -> None:
        self._rebuild = rebuild
        self._segments = segments
        self._consistent = consistent
        self._patience = patience
        self._stop = stop or threading.Event()
        limit = rate if isinstance(rate, Rate) else Rate(rate)
        self._rate = limit.waiting_by(self._pause)
        self._report = on_progress
        self._lock = threading.Lock()
        self._parts: dict[int, Progress] = {}
        self._failed = threading.Event()

    def run(self, *, restart: bool = False) -> BackfillProgress | None:
        """Run the rebuild, and return its final state, or None if stopped.

        Args:
            restart: whether to discard the progress of an interrupted rebuild.

        Raises:
            CacheError: the cache cannot be reached.
            SourceError: the table cannot be read.
        """
        while not self._stop.is_set():
            try:
                run = self._begin(restart=restart)
                if run is None or not self._load(run):
                    return None
                swept = self._sweep(run)
                if not swept.done:
                    return None
                self._rebuild.finish(run)
            except LostError as error:
                # `begin` joins another process's rebuild if that suffices, or else starts one.
                self._report(BackfillProgress("again", detail=str(error)))
                restart = False
            else:
                progress = self._rebuild.progress(run)
                return BackfillProgress("done", progress, swept)
        return None

    def _begin(self, *, restart: bool) -> Run | None:
        while not self._stop.is_set():
            step = self._rebuild.begin(
                segments=self._segments, consistent=self._consistent, restart=restart
            )
            if step.run is not None:
                return step.run
            self._report(
                BackfillProgress(
                    "waiting", detail=f"{step.wait} s, until snapshot rows are newer than the gap"
                )
            )
            self._stop.wait(min(step.wait, 1))
        return None

    def _load(self, run: Run) -> bool:
        """Load all segments, and return whether all are loaded."""
        self._parts = {}
        self._failed.clear()
        with ThreadPoolExecutor(min(_THREADS, run.segments)) as pool:
            futures = [pool.submit(self._load_segment, run, index) for index in range(run.segments)]
            try:
                return all(list(map(Future.result, futures)))
            except BaseException:
                self._failed.set()
                raise

    def _load_segment(self, run: Run, index: int) -> bool:
        backoff = Backoff(self._stop)

        def record(progress: Progress) -> None:
            backoff.reset()
            with self._lock:
                self._parts[index] = progress
                self._report(
                    BackfillProgress("loading", total(list(self._parts.values()), run.segments))
                )

        while self._should_continue():
            try:
                progress = self._rebuild.load(
                    run,
                    index,
                    rate=self._rate,
                    workers=min(_THREADS, run.segments),
                    in_time=self._should_continue,
                    on_progress=record,
                )
            except (CacheError, SourceError) as error:
                if self._patience is not None and backoff.failures >= self._patience:
                    raise
                backoff.wait(error)
            else:
                record(progress)
                return progress.done
        return False

    def _should_continue(self) -> bool:
        return not (self._stop.is_set() or self._failed.is_set())

    def _sweep(self, run: Run) -> SweepProgress:
        """Sweep all ranges, and return the progress, which is not done if it was stopped."""
        loaded = total(list(self._parts.values()), run.segments)
        ranges, backoff = self._rebuild.sweep_ranges(run), Backoff(self._stop)
        parts: dict[SlotRange, SweepProgress] = {}
        since = monotonic()

        def record(slots: SlotRange, progress: SweepProgress) -> None:
            nonlocal since
            backoff.reset()
            since = monotonic()
            parts[slots] = progress
            self._report(
                BackfillProgress("sweeping", loaded, total_swept(list(parts.values()), len(ranges)))
            )

        for slots in ranges:
            while self._should_continue():
                try:
                    progress = self._rebuild.sweep(
                        run,
                        slots,
                        rate=self._rate,
                        in_time=self._should_continue,
                        on_progress=partial(record, slots),
                    )
                except (CacheError, SourceError) as error:
                    if self._gives_up(backoff, error, since):
                        raise
                    backoff.wait(error)
                else:
                    record(slots, progress)
                    break
        return total_swept(list(parts.values()), len(ranges))

    def _gives_up(self, backoff: Backoff, error: Exception, since: float) -> bool:
        """Return whether a sweep that has made no progress since a time should end."""
        if self._patience is None:
            return False
        if isinstance(error, MovingError):
            return monotonic() - since >= MOVING_SECONDS
        return backoff.failures >= self._patience

    def _pause(self, seconds: float) -> None:
        end = monotonic() + seconds
        while self._should_continue() and (left := end - monotonic()) > 0:
            self._stop.wait(min(left, 0.5))
