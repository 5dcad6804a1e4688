"""A rebuild from its beginning to its end, in one process, on several threads."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic

from dynamirror.backoff import Backoff
from dynamirror.errors import CacheError, SourceError
from dynamirror.rebuild import LostError, Progress, Rebuild, Run, read_progress, total
from dynamirror.snapshot import Rate
from dynamirror.sweep import Swept

# More would only wait for each other: what DynamoDB sends is taken apart by one core.
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Now:
    """What a backfill is doing.

    Args:
        phase: waiting, loading, sweeping, done or again.
        progress: of all segments together.
        swept: of the sweep.
        detail: a sentence that says why it waits, or begins again.
    """

    phase: str
    progress: Progress = field(default_factory=Progress)
    swept: Swept = field(default_factory=Swept)
    detail: str = ""


class _StoppedError(Exception):
    pass


class Backfill:
    """Runs one rebuild; killed, the next goes on at the page that each segment had come to.

    Args:
        rebuild: the steps.
        segments: how many parts the table is read in, if none is to be resumed.
        consistent: whether reads are strongly consistent.
        rate: read units a second; None for no limit.
        patience: how many failures in a row are put up with; None for any number.
        stop: set to end early.
        tell: is told what is being done; by several threads, one at a time.
    """

    def __init__(
        self,
        rebuild: Rebuild,
        *,
        segments: int = 8,
        consistent: bool = True,
        rate: float | None = None,
        patience: int | None = 8,
        stop: threading.Event | None = None,
        tell: Callable[[Now], object] = lambda _now: None,
    ) -> None:
        self._rebuild = rebuild
        self._segments = segments
        self._consistent = consistent
        self._patience = patience
        self._stop = stop or threading.Event()
        self._rate = Rate(rate, wait=self._pause)
        self._tell = tell
        self._lock = threading.Lock()
        self._parts: dict[int, Progress] = {}
        self._failed = threading.Event()

    def run(self, *, anew: bool = False) -> Now | None:
        """Do it all; returns what was done, or None if asked to stop.

        Args:
            anew: do not go on with an earlier one.

        Raises:
            CacheError: the cache cannot be reached.
            SourceError: the table cannot be read.
        """
        while not self._stop.is_set():
            try:
                run = self._begin(anew=anew)
                if run is None or not self._load(run):
                    return None
                swept = self._sweep(run)
                self._rebuild.finish(run)
            except LostError as error:
                # With another's run, if that suffices; else one is begun.
                self._tell(Now("again", detail=str(error)))
                anew = False
            except _StoppedError:
                return None
            else:
                progress = read_progress(self._rebuild.cache, self._rebuild.schema.table, run)
                return Now("done", progress, swept)
        return None

    def _begin(self, *, anew: bool) -> Run | None:
        while not self._stop.is_set():
            step = self._rebuild.begin(
                segments=self._segments, consistent=self._consistent, anew=anew
            )
            if step.run is not None:
                return step.run
            self._tell(Now("waiting", detail=f"{step.wait} s, until rows are newer than the gap"))
            self._stop.wait(min(step.wait, 1))
        return None

    def _load(self, run: Run) -> bool:
        """Load all segments; False if stopped before."""
        self._parts = {}
        self._failed.clear()
        with ThreadPoolExecutor(min(_THREADS, run.segments)) as pool:
            futures = [pool.submit(self._segment, run, index) for index in range(run.segments)]
            try:
                return all(list(map(Future.result, futures)))
            except BaseException:
                self._failed.set()
                raise

    def _segment(self, run: Run, index: int) -> bool:
        backoff, failures = Backoff(self._stop), 0

        def note(progress: Progress) -> None:
            nonlocal failures
            failures = 0
            with self._lock:
                self._parts[index] = progress
                self._tell(Now("loading", total(list(self._parts.values()), run.segments)))

        while self._goes_on():
            try:
                progress = self._rebuild.load(
                    run, index, rate=self._rate, in_time=self._goes_on, tell=note
                )
            except (CacheError, SourceError) as error:
                failures += 1
                if self._patience is not None and failures > self._patience:
                    raise
                backoff.wait(failures, error)
            else:
                note(progress)
                return progress.done
        return False

    def _goes_on(self) -> bool:
        return not (self._stop.is_set() or self._failed.is_set())

    def _sweep(self, run: Run) -> Swept:
        progress = total(list(self._parts.values()), run.segments)

        def tell(swept: Swept) -> None:
            if self._stop.is_set():
                raise _StoppedError
            self._tell(Now("sweeping", progress, swept))

        return self._rebuild.sweep(run, tell, rate=self._rate)

    def _pause(self, seconds: float) -> None:
        end = monotonic() + seconds
        while self._goes_on() and (left := end - monotonic()) > 0:
            self._stop.wait(min(left, 0.5))
