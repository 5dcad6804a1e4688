"""A demo: a live table mirrored into a real cache on this machine, then compared with it."""

import random
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from itertools import islice
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

from dynamirror.cache.answers import Failure
from dynamirror.cache.checkpoints import Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_complete, record_gap
from dynamirror.cache.entry_state import read_command
from dynamirror.demo.contents import MOST_SAMPLES, read_contents
from dynamirror.demo.example import assumed_key_named
from dynamirror.demo.lag_probe import LagProbe
from dynamirror.demo.random_writer import RandomWriter
from dynamirror.demo.servers import Servers, running_servers
from dynamirror.demo.totals import Totals
from dynamirror.dynamodb.client import aws_errors, describe_table
from dynamirror.dynamodb.scan import scan_table
from dynamirror.dynamodb.stream_reader import Record, StreamReader
from dynamirror.emulators.dynamodb import create_table, write_items
from dynamirror.errors import CacheError, DynamirrorError
from dynamirror.inspection.tally import Tally
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.comparison import Comparison
from dynamirror.recovery.verify import compare
from dynamirror.replication.gap_detector import GapDetector
from dynamirror.replication.replicator import Context, Replicator
from dynamirror.runner.delivery import Delivery
from dynamirror.runner.heartbeat_thread import HeartbeatThread
from dynamirror.runner.inspection import Inspection, Source
from dynamirror.views.batch_result import BatchResult
from dynamirror.views.entry import Put, entry_of_row
from dynamirror.views.view import Views

_DRAIN_SECONDS = 120.0
_RECENT_RECORDS = 50
THRESHOLDS: Final = (1.0, 10.0, 60.0)
# The inspector begins a round through the table at most so often.
_PATROL_SECONDS = 15.0


class Demo:
    """A context manager that starts and stops a mirror with its servers.

    Args:
        ids: the number of different items to write.
        rate: writes per second.
        seed: the seed of the random writes.
        view: path of a `mirror.toml`; None for the default view.
        load: path of a file to fill the table from first; None for none.
        key: the attribute of the file that identifies an item, or two, as in `pk,sk`.
        table: the table of several in the `mirror.toml`; None for the only one.
        servers: starts both servers, or returns those that run.
        thresholds: ages of a change at which the inspector asks for it, in seconds.

    Raises:
        ConfigError: the view or the file is wrong.
        DynamirrorError: a server did not start.
    """

    def __init__(
        self,
        *,
        ids: int,
        rate: float,
        seed: int,
        view: str | None = None,
        load: str | None = None,
        key: str | None = None,
        table: str | None = None,
        servers: Callable[[], AbstractContextManager[Servers]] = running_servers,
        thresholds: Sequence[float] = THRESHOLDS,
    ) -> None:
        self._servers = servers
        self._thresholds = thresholds
        with assumed_key_named(view):
            contents = read_contents(view, load, key, ids=ids, table=table)
            self.schema, self.items, self.loaded = contents.schema, contents.items, contents.loaded
            self._bindable_views = Views.for_schema(contents.specs, self.schema)
            self.views = self._bindable_views.bind(self.schema)
        self.samples = contents.samples
        self.expiring = contents.example.ttl if contents.example else frozenset[str]()
        self._writer_of = partial(
            RandomWriter,
            table=self.schema.table,
            example=contents.example,
            rng=random.Random(seed),  # noqa: S311 - no secret
            ids=ids,
            rate=rate,
        )
        self._resources = ExitStack()
        self._halt = threading.Event()
        self._errors: list[BaseException] = []
        self.totals = Totals()
        self.recent: list[Record] = []
        self.is_replicating = False

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self.database, self.valkey = starting.enter_context(self._servers())
            self.cache = Cache(self.valkey.settings())
            starting.callback(self.cache.close)
            self.client = self.database.aws.dynamodb()
            keys = dict(zip(self.schema.keys, self.schema.types, strict=True))
            create_table(self.client, self.schema.table, keys)
            self._mark_complete()
            self.replicator = self.replicator_observed_by(self.totals.add)
            self._writer = self._writer_of(self.client)
            self._lag_probe = LagProbe(
                self.database.aws.dynamodb(), self.cache, self.views, self.samples
            )
            self.start_replicator()
            starting.callback(self.stop_replicator)
            self._inspection = starting.enter_context(self._new_inspection(starting))
            starting.callback(self._halt.set)
            self._resources = starting.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables: one."""
        return (self.schema.table,)

    @property
    def probe_key(self) -> str | None:
        """The key of the entry that measures the lag; None for none."""
        return self._lag_probe.key

    def _new_inspection(self, resources: ExitStack) -> Inspection:
        """Return an inspection of all items, with a connection of its own."""
        cache = Cache(self.valkey.settings())
        resources.callback(cache.close)
        return Inspection(
            *(self.database.aws, cache, self.views),
            thresholds=self._thresholds,
            source=Source.BOTH,
            round_seconds=_PATROL_SECONDS,
            stores=True,
        )

    def inspection(self) -> Tally:
        """Return what the inspector has measured so far."""
        return self._inspection.tally()

    def _mark_complete(self) -> None:
        """Mark the mirror complete: table and cache are empty, and the stream has just begun."""
        self.stream_arn = describe_table(self.client, self.schema.table).stream_arn
        record_gap(self.cache, self.views, stream=self.stream_arn, at=0, reason="both were new")
        record_complete(self.cache, self.views, SnapshotVersion(1))

    def replicator_observed_by(self, observe: Callable[[BatchResult], None]) -> Replicator:
        """Return a new replicator into the demo's cache.

        Args:
            observe: called once per batch.
        """
        fence_ttl = self.valkey.settings().fence_ttl
        return Replicator(self.cache, self._bindable_views, fence_ttl=fence_ttl, observe=observe)

    def start_replicator(self) -> None:
        """Resume replication in the background, from the checkpoints."""
        arn = self.stream_arn
        delivery = Delivery(
            StreamReader(self.database.aws.streams(), arn),
            self._replicate,
            Checkpoints(self.cache, arn),
            poll_seconds=0.02,
            discover_seconds=2,
            record_gap=partial(GapDetector(self.cache, self.views).record_gap, arn),
        )
        delivery.start()  # first: `wait` takes a delivery that has not started for an ended one
        self.delivery = delivery
        self._heartbeat = HeartbeatThread(self.cache, self.schema.table, arn, delivery)
        self._heartbeat.start()
        self.is_replicating = True

    def stop_replicator(self) -> None:
        """Stop replication; the stream keeps what is written meanwhile."""
        self.is_replicating = False
        self._heartbeat.stop()
        self.delivery.stop()

    def _replicate(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        answer = self.replicator(event, context)
        self.recent = [*self.recent, *event["Records"]][-_RECENT_RECORDS:]
        return answer

    def wait(self) -> None:
        """Wait until the stream ends while replication runs.

        Raises:
            DynamirrorError: the error that ended replication.
        """
        while not self._halt.is_set() and not self.has_ended(0.5):
            if not self.is_replicating:
                self._halt.wait(0.1)

    def has_ended(self, timeout: float) -> bool:
        """Wait a while, and return whether the stream has ended while replication runs.

        Args:
            timeout: seconds to wait at the most.

        Raises:
            DynamirrorError: the error that ended replication.
        """
        delivery = self.delivery
        return delivery.wait(timeout) and delivery is self.delivery and self.is_replicating

    def fill(self) -> Generator[int, None, None]:
        """Load the file's items into the table; yield the number loaded so far."""
        for start in range(0, len(self.items), 500):
            chunk = self.items[start : start + 500]
            with aws_errors(f"table {self.schema.table}"):
                write_items(self.client, self.schema.table, chunk)
            self.totals.loaded += len(chunk)
            yield self.totals.loaded

    def write(
        self, seconds: float, tick: float = 0.25, stop: threading.Event | None = None
    ) -> Generator[float, None, None]:
        """Write random changes and measure the lag; yield the seconds elapsed.

        Args:
            seconds: how long to write.
            tick: seconds between two yields.
            stop: set to end early.

        Raises:
            DynamirrorError: a write failed.
        """
        begin = monotonic()
        stop = stop or threading.Event()
        threads = [
            threading.Thread(target=self._guarded, args=(work, stop), daemon=True)
            for work in (
                partial(self._writer.run, self.totals),
                partial(self._lag_probe.run, self.totals.lags),
            )
        ]
        for thread in threads:
            thread.start()
        try:
            while (
                not stop.is_set()
                and (elapsed := monotonic() - begin) < seconds
                and not self._errors
            ):
                yield elapsed
                stop.wait(min(tick, seconds - elapsed))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]
        yield monotonic() - begin

    def _guarded(self, work: Callable[[threading.Event], None], stop: threading.Event) -> None:
        try:
            work(stop)
        except BaseException as error:  # noqa: BLE001 - `write` raises it again
            self._errors.append(error)
            stop.set()

    def drain(self, tick: float = 0.25) -> Generator[float, None, None]:
        """Wait until every change is applied; yield the seconds elapsed.

        Raises:
            DynamirrorError: this takes too long, or replication failed.
        """
        if not self.is_replicating:
            self.start_replicator()
        begin = monotonic()
        while not self.delivery.caught_up(begin):
            elapsed = monotonic() - begin
            if elapsed > _DRAIN_SECONDS:
                raise DynamirrorError(f"the cache has not caught up within {elapsed:.0f} s")
            yield elapsed
            self._halt.wait(min(tick, 0.05))

    def compare(self) -> Comparison:
        """Compare the whole table with the whole cache."""
        return compare(scan_table(self.client, self.schema.table), self.cache, self.views)

    def sample_entries(self) -> dict[str, bytes | None]:
        """Read a few entries; return values by key, or nothing while the cache is unreachable."""
        puts = list(islice(self._sample_puts(), MOST_SAMPLES))
        commands = [read_command(put.key.encode(), put.view) for put in puts]
        try:
            answers = self.cache.execute(commands)
        except CacheError:
            return {}
        return {put.key: _as_bytes(answer) for put, answer in zip(puts, answers, strict=True)}

    def sample_command(self) -> tuple[str, ...]:
        """Return the command that reads the first sample's entry; empty if no sample has one."""
        for put in self._sample_puts():
            words = read_command(put.key.encode(), put.view).words
            assert isinstance(words, tuple)
            return tuple(word.decode() for word in words if isinstance(word, bytes))
        return ()

    def _sample_puts(self) -> Iterator[Put]:
        for item in self.samples:
            for view in self.views:
                entry = entry_of_row(view, item, item, SnapshotVersion(0))
                if isinstance(entry, Put):
                    yield entry


def _as_bytes(answer: Any) -> bytes | None:
    if isinstance(answer, Failure):
        return answer.reason.encode()
    return b" ".join(answer) if isinstance(answer, list) else answer
