"""A rebuild from start to end, by the threads of one process."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

import msgspec

from dynamirror.backoff import Backoff
from dynamirror.cache.slot_scan import MOVING_SECONDS, MovingError, SlotRange
from dynamirror.dynamodb.scan import Rate
from dynamirror.errors import CacheError, SourceError
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.recovery.rebuild_state import LostError, Progress, Run, total
from dynamirror.recovery.sweep import SweepProgress, total_swept

# One core parses all answers of DynamoDB, so that more threads do not help.
_THREADS = 8
_SIGNAL_SECONDS = 1.0


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
        # Of the segments under way, and the sum of those that are done; there may be a million.
        self._parts: dict[int, Progress] = {}
        self._ended, self._number_ended = Progress(), 0
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
        self._parts, self._ended, self._number_ended = {}, Progress(), 0
        self._failed.clear()
        indexes, threads = iter(range(run.segments)), min(_THREADS, run.segments)
        with ThreadPoolExecutor(threads) as pool:
            futures = [pool.submit(self._load_segments, run, indexes) for _ in range(threads)]
            try:
                # Another thread may take a signal: then this one handles it only when it runs.
                while wait(futures, _SIGNAL_SECONDS).not_done:
                    pass
            except BaseException:  # Ctrl-C or SIGTERM; else the pool would load all that is left
                self._failed.set()
                raise
            return all(list(map(Future.result, futures)))

    def _load_segments(self, run: Run, indexes: Iterator[int]) -> bool:
        """Load segments that no other thread has taken, and return whether all of them are done."""
        try:
            while self._should_continue():
                with self._lock:
                    index = next(indexes, None)
                if index is None:
                    return True
                if not self._load_segment(run, index):
                    break
        except BaseException:
            self._failed.set()
            raise
        return False

    def _load_segment(self, run: Run, index: int) -> bool:
        backoff, last = Backoff(self._stop), None

        def record(progress: Progress) -> None:
            nonlocal last
            backoff.reset()
            last = progress
            with self._lock:
                self._parts[index] = progress
                if progress.done:
                    self._ended = total([self._ended, self._parts.pop(index)], 2)
                    self._number_ended += 1
                self._report(BackfillProgress("loading", self._loaded(run)))

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
                if progress is not last:  # it was done before
                    record(progress)
                return progress.done
        return False

    def _loaded(self, run: Run) -> Progress:
        """Return the progress of all segments together."""
        parts = total([self._ended, *self._parts.values()], 0)
        return msgspec.structs.replace(parts, done=self._number_ended == run.segments)

    def _should_continue(self) -> bool:
        return not (self._stop.is_set() or self._failed.is_set())

    def _sweep(self, run: Run) -> SweepProgress:
        """Sweep all ranges, and return the progress, which is not done if it was stopped."""
        loaded = self._loaded(run)
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
