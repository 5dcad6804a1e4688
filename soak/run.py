"""One run of the soak: starts all processes, does harm, and collects what the inspector found."""

import json
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from math import ceil
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from chaos.cluster import wait_until

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import read_marker, record_complete, record_gap
from dynamirror.dynamodb.scan import scan_table
from dynamirror.errors import CacheError, DynamirrorError
from dynamirror.inspection.tally import Tally, Violation, merged
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.comparison import Comparison
from dynamirror.recovery.verify import compare
from dynamirror.settings import Settings, load_views
from dynamirror.views.view import bind_views
from soak import keeper, watcher, worker, writer
from soak.changes import SCHEMA, STREAM, TABLE, Mix
from soak.cluster import ReplicatedCluster
from soak.faults import FAULTS
from soak.outages import Outages, Split
from soak.processes import Process
from soak.stream import Checkpoint, remove_read
from soak.table import Table, TableClient
from soak.tampering import Tampering
from soak.worker import Counts, Disorder, Work, read_counts

VIEWS: Final = Path(__file__).with_name("mirror.toml")
_REBUILD_SECONDS: Final = 300.0
_COMPARE_SECONDS: Final = 30.0


class Options(msgspec.Struct, frozen=True):
    """What a run does.

    Args:
        seconds: how long changes are made.
        rate: changes per second.
        seed: of changes, deliveries and faults.
        faults: names of the faults that occur, in any order; none for a quiet run.
        calm: mean seconds between two faults.
        thresholds: ages in seconds at which the inspector asks.
        lanes: number of lanes of the stream.
        workers: number of workers.
        watchers: number of watchers.
        mix: which items change, and how.
        disorder: how records are delivered.
        tampering: what is done wrong on purpose.
        changes: the most changes; None for any number.
    """

    seconds: float
    rate: float
    seed: int = 1
    faults: tuple[str, ...] = tuple(FAULTS)
    calm: float = 8.0
    thresholds: tuple[float, ...] = (1.0, 10.0, 60.0, 300.0)
    lanes: int = 6
    workers: int = 3
    watchers: int = 1
    mix: Mix = Mix()
    disorder: Disorder = Disorder()
    tampering: Tampering = Tampering()
    changes: int | None = None


class Findings(msgspec.Struct):
    """What a run came to.

    Args:
        tally: the counts of all inspectors.
        split: the answers outside of outages and in them.
        outage_seconds: how long outages took, together.
        outages: how many there were.
        faults: how often each fault occurred.
        written: changes made.
        seconds: how long changes were made.
        delivered: what the workers did.
        differences: entries that were not as the table has them in the end.
        items: items in the table in the end.
        cpu_seconds: CPU time by part.
        took: seconds from begin to end.
    """

    tally: Tally
    split: Split
    outage_seconds: float
    outages: int
    faults: dict[str, int]
    written: int
    seconds: float
    delivered: Counts
    differences: int
    items: int
    cpu_seconds: dict[str, float]
    took: float


class Run:
    """One run.

    Args:
        options: what it does.
        cluster: the cache, empty.
        notify: called with a sentence now and then.
    """

    def __init__(
        self,
        options: Options,
        cluster: ReplicatedCluster,
        notify: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        self.options = options
        self.cluster = cluster
        self._notify = notify
        self._random = random.Random(f"faults {options.seed}")
        self.outages = Outages()
        self._split = Split(self.outages)
        self._faults: dict[str, int] = {}
        self._reports: dict[int, watcher.Report] = {}
        self.violations: list[Violation] = []
        self._resources = ExitStack()
        self._fault_error: BaseException | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-"))
            self.folder = Path(folder)
            settings = self.cluster.nodes[0].server.settings()
            self._environment = settings.to_env() | {
                "DYNAMIRROR_CONFIG": str(VIEWS),
                "DYNAMIRROR_KEY_SCHEMA": ",".join(SCHEMA.keys),
            }
            self._views = bind_views(load_views(str(VIEWS)), SCHEMA)
            self._cache = Cache(Settings.from_env(self._environment))
            stack.callback(self._cache.close)
            self._begin_complete()
            self._start(stack)
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._resources.close()

    def _begin_complete(self) -> None:
        """Mark the mirror of an empty table complete: the stream has all that is to come."""
        now = int(time.time())
        record_gap(self._cache, self._views, stream=STREAM, at=now - 60, reason="it is new")
        assert record_complete(self._cache, self._views, SnapshotVersion(now)) is None

    def _start(self, stack: ExitStack) -> None:
        options, folder = self.options, str(self.folder)
        plan = writer.Plan(
            options.mix, options.seed, options.lanes, options.rate, folder, options.changes
        )
        self._began = time.monotonic()
        self._writer = Process(writer.main, plan, Connection)
        stack.callback(self._writer.close)
        wait_until((self.folder / writer.ADDRESS).exists, "the writer")
        self._keeper = Process(
            keeper.main, self._environment, folder, options.mix.items, Connection
        )
        stack.callback(self._keeper.close)
        self._watchers = [
            Process(watcher.main, watch, Connection, self.folder / f"watcher-{number}.log")
            for number in range(options.watchers)
            for watch in [
                watcher.Watch(
                    tuple(range(number, options.lanes, options.watchers)),
                    options.thresholds,
                    folder,
                    self._environment,
                    options.mix.items,
                )
            ]
        ]
        for process in self._watchers:
            stack.callback(process.close)
        self._workers: dict[int, Process] = {}
        for number in range(options.workers):
            self._start_worker(number)
        stack.callback(self._end_workers)

    def _start_worker(self, number: int) -> None:
        options = self.options
        work = Work(
            number=number,
            lanes=tuple(range(number, options.lanes, options.workers)),
            all_lanes=options.lanes,
            seed=options.seed,
            folder=str(self.folder),
            environment=self._environment,
            disorder=options.disorder,
            tampering=options.tampering,
        )
        log = self.folder / f"worker-{number}.log"
        self._workers[number] = Process(worker.main, work, Connection, log)

    def _end_workers(self) -> None:
        for process in self._workers.values():
            process.close()

    def worker_numbers(self) -> list[int]:
        """Return the numbers of the workers."""
        return list(self._workers)

    def kill_worker(self, number: int) -> None:
        """End a worker without warning, and start it again."""
        self._workers[number].kill()
        self._start_worker(number)

    def freeze_worker(self, number: int) -> Callable[[], None]:
        """Stop a worker, start another for its lanes; return what wakes the first and ends it."""
        frozen = self._workers[number]
        frozen.signal(signal.SIGSTOP)
        self._start_worker(number)

        def wake() -> None:
            frozen.signal(signal.SIGCONT)
            ending = threading.Timer(0.3, frozen.kill)
            ending.start()

        return wake

    def note_loss(self, reason: str) -> None:
        """Record that the cache may have lost writes that it acknowledged."""

        def recorded() -> bool:
            at = ceil(time.time()) + 2
            try:
                record_gap(self._cache, self._views, stream=STREAM, at=at, reason=reason)
            except CacheError:
                return False
            return True

        wait_until(recorded, "the cache to take a gap")

    def run(self) -> Findings:
        """Make changes and do harm for a while, wait until all is checked, and return the rest."""
        options = self.options
        halt = threading.Event()
        harm = threading.Thread(target=self._harm, args=(halt,), daemon=True)
        harm.start()
        end = self._began + options.seconds
        self._collect(lambda: time.monotonic() >= end or self._fault_error is not None)
        halt.set()
        self._writer.pipe.send(None)
        written, writer_cpu = self._writer.pipe.recv()
        seconds = time.monotonic() - self._began
        # The last fault is lifted; a watcher whose reports nobody takes would stand still.
        self._collect(lambda: not harm.is_alive())
        if self._fault_error is not None:
            raise self._fault_error
        self._notify(f"{written:,} changes made; waiting until all are checked")
        idle_from = time.time()

        def is_idle() -> bool:
            reports = self._reports.values()
            return len(reports) == options.watchers and all(
                each.is_idle and each.at > idle_from for each in reports
            )

        self._collect(is_idle)
        comparison = self._compare()
        return Findings(
            tally=merged(each.tally for each in self._reports.values()),
            split=self._split,
            outage_seconds=self.outages.seconds,
            outages=len(self.outages.all),
            faults=self._faults,
            written=written,
            seconds=seconds,
            delivered=self._delivered(),
            differences=comparison.differences,
            items=comparison.items,
            cpu_seconds=self._cpu_seconds(writer_cpu),
            took=time.monotonic() - self._began,
        )

    def _compare(self) -> Comparison:
        """Compare all of the table with all of the cache, again while workers are behind."""
        end = time.monotonic() + _COMPARE_SECONDS
        with closing(Table(self.folder)) as table:
            client: Any = TableClient(table, self.options.mix.items)
            while True:
                comparison = compare(scan_table(client, TABLE), self._cache, self._views)
                if not comparison.differences or time.monotonic() > end:
                    return comparison
                time.sleep(1)

    def _collect(self, is_over: Callable[[], bool]) -> None:
        """Take reports until something is over."""
        pipes = {each.pipe: number for number, each in enumerate(self._watchers)}
        told = time.monotonic()
        while not is_over():
            for pipe in wait([*pipes, self._keeper.pipe], timeout=0.1):
                if pipe is self._keeper.pipe:
                    self._notify(self._keeper.pipe.recv())
                    continue
                report = msgspec.msgpack.decode(pipe.recv_bytes(), type=watcher.Report)  # type: ignore[union-attr]
                number = pipes[pipe]  # type: ignore[index]
                self._reports[number] = report
                self._split.add(number, report.at, report.tally)
                self.violations += report.violations
                for violation in report.violations[:3]:
                    self._notify(f"violation: {json.dumps(msgspec.to_builtins(violation))}")
            if time.monotonic() - told > 30:
                told = time.monotonic()
                self._notify(self._state())
                self._remove_read()

    def _state(self) -> str:
        total = merged(each.tally for each in self._reports.values()).total
        read = sum(each.records for each in self._reports.values())
        return (
            f"{time.monotonic() - self._began:.0f} s: {read:,} changes read, "
            f"{total.checks:,} checks, {sum(total.violations.values())} violations"
        )

    def _remove_read(self) -> None:
        for lane in range(self.options.lanes):
            names = (worker.CHECKPOINT, watcher.CHECKPOINT)
            positions = [Checkpoint(self.folder, name, lane).read() for name in names]
            remove_read(self.folder, lane, positions)

    def _harm(self, halt: threading.Event) -> None:
        try:
            deck: list[str] = []
            while self.options.faults:
                calm = self.options.calm * self._random.uniform(0.5, 1.5)
                if halt.wait(calm):
                    return
                # Every kind comes up once before any comes up again.
                deck = deck or self._random.sample(self.options.faults, len(self.options.faults))
                self._do_harm(deck.pop(), halt)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self._fault_error = error

    def _do_harm(self, name: str, halt: threading.Event) -> None:
        fault = FAULTS[name]
        self._faults[name] = self._faults.get(name, 0) + 1
        with ExitStack() as stack:
            if fault.is_outage:
                stack.enter_context(self.outages.declared(name))
            began = time.monotonic()
            with fault.begin(self, self._random):
                halt.wait(self._random.uniform(fault.shortest, fault.longest))
            if fault.loses:
                wait_until(self._is_complete, "the rebuild", _REBUILD_SECONDS)
        self._notify(f"{name}: {time.monotonic() - began:.1f} s")

    def _is_complete(self) -> bool:
        with suppress(DynamirrorError):
            return read_marker(self._cache, TABLE).is_complete
        return False

    def _delivered(self) -> Counts:
        counts = [read_counts(self.folder, number) for number in self._workers]
        return Counts(
            *(sum(values) for values in zip(*map(msgspec.structs.astuple, counts), strict=True))
        )

    def _cpu_seconds(self, writer_cpu: float) -> dict[str, float]:
        servers = 0.0
        for node in (*self.cluster.nodes, self.cluster.replica):
            fields = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
            servers += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return {
            "writer": writer_cpu,
            "workers": self._delivered().cpu_us / 1e6,
            "inspector": sum(each.cpu_seconds for each in self._reports.values()),
            "servers": servers,
        }


@contextmanager
def replicated_cluster() -> Iterator[ReplicatedCluster]:
    """Start a cluster, and stop it at the end."""
    cluster = ReplicatedCluster()
    try:
        yield cluster
    finally:
        cluster.stop()
