"""The main job on one machine: a live table mirrored into a real cache, measured and compared."""

import random
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from statistics import quantiles
from time import monotonic, time
from types import TracebackType
from typing import Any, Self

from dynamirror import simulator
from dynamirror.aws import aws_errors, describe_table
from dynamirror.cache import Cache, Failure
from dynamirror.config import load_views
from dynamirror.entry import Put, of_row
from dynamirror.errors import CacheError, ConfigError, DynamirrorError
from dynamirror.handler import Context, Replicator
from dynamirror.local.delivery import Delivery
from dynamirror.local.dynamodb import EmbeddedDynamoDB, create_table, write_items
from dynamirror.local.example import find_probe, load_example
from dynamirror.local.load import load_items
from dynamirror.local.valkey import EmbeddedValkey
from dynamirror.marker import Watch, note_complete, note_gap
from dynamirror.report import Batch, Tally
from dynamirror.snapshot import scan_table
from dynamirror.stored import read_command, stored_value
from dynamirror.stream.positions import Positions
from dynamirror.stream.reader import Record, StreamReader
from dynamirror.verify import Comparison, compare
from dynamirror.version import RowVersion
from dynamirror.view import Schema, View, Views, ViewSpec

_TABLE = "users"
_SHOWN = 5
# As the simulator writes them.
_SAMPLES: tuple[dict[str, Any], ...] = tuple(
    {"id": {"S": str(number)}, "name": {"S": "Ada"}, "timestamp": {"S": ""}}
    for number in range(1, _SHOWN + 1)
)
_DRAIN_SECONDS = 120.0
_KEPT_RECORDS = 50


@dataclass(slots=True)
class Totals(Tally):
    """What has happened so far."""

    loaded: int = 0
    written: int = 0
    lags: list[float] = field(default_factory=list)

    def lag_ms(self) -> dict[str, float | None]:
        """Write acknowledged to visible in the cache, in milliseconds."""
        lags = sorted(self.lags)
        if len(lags) < 2:  # noqa: PLR2004 - quantiles of one value are not defined
            return {"p50": None, "p99": None}
        cuts = quantiles(lags, n=100, method="inclusive")
        return {"p50": round(cuts[49] * 1000, 1), "p99": round(cuts[98] * 1000, 1)}


class Demo:
    """Both servers, the table, the replicator and the simulator; `with` it to start and stop.

    Args:
        ids: how many different items are written.
        rate: writes a second.
        seed: of the random writes.
        view: path of a `mirror.toml`; None for the default view.
        load: path of a file to fill the table from first; None for none.
        key: attribute of the file that identifies a row.

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
    ) -> None:
        specs = load_views(view)
        example = load_example(view)
        self.schema = example.schema if example else Schema(_table_of(specs), ("id",), ("S",))
        if load and self.schema.keys != ("id",):
            raise ConfigError(
                "--load fills a table whose key is `id`, but the [[table]] has others"
            )
        self._example = example
        self.items = load_items(load, key) if load else example.items if example else []
        self._views = Views(specs, lambda _table, _keys: self.schema)
        self.views = self._views.bind(self.schema)
        self.samples = example.items if example else list(_SAMPLES)
        self.expiring = example.ttl if example else frozenset[str]()
        self._ids = ids
        self._rate = rate
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._resources = ExitStack()
        self._halt = threading.Event()
        self._errors: list[BaseException] = []
        self.totals = Totals()
        self.recent: list[Record] = []
        self.is_replicating = False

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            with ThreadPoolExecutor(2) as pool:
                database = pool.submit(EmbeddedDynamoDB)
                server = pool.submit(EmbeddedValkey)
            # Should one fail to start, the other is stopped.
            for future in (database, server):
                if not future.exception():
                    starting.callback(future.result().stop)
            self.database, self.valkey = database.result(), server.result()
            self.cache = Cache(self.valkey.settings())
            starting.callback(self.cache.close)
            self.client = self.database.aws.dynamodb()
            keys = dict(zip(self.schema.keys, self.schema.types, strict=True))
            create_table(self.client, self.schema.table, keys)
            self._prepare()
            self.start_replicator()
            starting.callback(self.stop_replicator)
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

    def _prepare(self) -> None:
        self.replicator = self.replicator_told(self.totals.add)
        self.stream_arn = describe_table(self.client, self.schema.table).stream_arn
        # The cache is as empty as the table, and the stream is read from its beginning.
        note_gap(self.cache, self.views, stream=self.stream_arn, at=0, reason="both were new")
        note_complete(self.cache, self.views, RowVersion(1))

    def replicator_told(self, observe: Callable[[Batch], None]) -> Replicator:
        """Make a replicator into the demo's cache.

        Args:
            observe: is told of every batch.
        """
        fence_ttl = self.valkey.settings().fence_ttl
        return Replicator(self.cache, self._views, fence_ttl=fence_ttl, observe=observe)

    def start_replicator(self) -> None:
        """Go on where it was stopped, in the background."""
        arn = self.stream_arn
        delivery = Delivery(
            StreamReader(self.database.aws.streams(), arn),
            self._replicate,
            Positions(self.cache, arn),
            poll_seconds=0.02,
            discover_seconds=2,
            note_gap=partial(Watch(self.cache, self.views).note, arn),
        )
        delivery.start()  # first: somebody may be waiting for the one that is there
        self.delivery = delivery
        self.is_replicating = True

    def stop_replicator(self) -> None:
        """Leave what comes in the stream."""
        self.is_replicating = False
        self.delivery.stop()

    def _replicate(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        answer = self.replicator(event, context)
        self.recent = [*self.recent, *event["Records"]][-_KEPT_RECORDS:]
        return answer

    def wait(self) -> None:
        """Wait for as long as there is a stream to follow, now or once it is started again.

        Raises:
            DynamirrorError: what ended it.
        """
        while not self._halt.is_set():
            delivery = self.delivery
            if delivery.wait(0.5) and delivery is self.delivery and self.is_replicating:
                return
            if not self.is_replicating:
                self._halt.wait(0.1)

    def fill(self) -> Generator[int, None, None]:
        """Load the file's items into the table; gives the number loaded so far."""
        for start in range(0, len(self.items), 500):
            chunk = self.items[start : start + 500]
            with aws_errors(f"table {self.schema.table}"):
                write_items(self.client, self.schema.table, chunk)
            self.totals.loaded += len(chunk)
            yield self.totals.loaded

    def write(
        self, seconds: float, tick: float = 0.25, stop: threading.Event | None = None
    ) -> Generator[float, None, None]:
        """Write random changes; gives the seconds gone by, now and then.

        Args:
            seconds: for how long.
            tick: seconds between what it gives.
            stop: set to end early.

        Raises:
            DynamirrorError: a part has failed.
        """
        begin = monotonic()
        stop = stop or threading.Event()
        threads = [
            threading.Thread(target=self._guarded, args=(work, stop), daemon=True)
            for work in (self._simulate, self._probe)
        ]
        for thread in threads:
            thread.start()
        try:
            while (
                not stop.is_set() and (gone := monotonic() - begin) < seconds and not self._errors
            ):
                yield gone
                stop.wait(min(tick, seconds - gone))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self._check()
        yield monotonic() - begin

    def drain(self, tick: float = 0.25) -> Generator[float, None, None]:
        """Wait until everything written has been delivered; gives the seconds gone by.

        Raises:
            DynamirrorError: it takes too long, or a part has failed.
        """
        if not self.is_replicating:
            self.start_replicator()
        begin = monotonic()
        while not self.delivery.caught_up(begin):
            gone = monotonic() - begin
            if gone > _DRAIN_SECONDS:
                raise DynamirrorError(f"the cache has not caught up within {gone:.0f} s")
            yield gone
            self._halt.wait(min(tick, 0.05))

    def compare(self) -> Comparison:
        """Compare the whole table with the whole cache."""
        return compare(scan_table(self.client, self.schema.table), self.cache, self.views)

    def shown(self) -> dict[str, bytes | None]:
        """A few entries as they are now: key to value."""
        puts = (of_row(v, one, one, RowVersion(0)) for one in self.samples for v in self.views)
        shown = list(islice((put for put in puts if isinstance(put, Put)), _SHOWN))
        commands = [read_command(put.key.encode(), put.view) for put in shown]
        try:
            answers = self.cache.execute(commands)
        except CacheError:
            return {}  # it hangs for a moment, perhaps because somebody wanted to see that
        return {put.key: _visible(answer) for put, answer in zip(shown, answers, strict=True)}

    def _check(self) -> None:
        if self._errors:
            raise self._errors[0]

    def _guarded(self, work: Callable[[threading.Event], None], stop: threading.Event) -> None:
        try:
            work(stop)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            self._errors.append(error)
            stop.set()

    def _simulate(self, stop: threading.Event) -> None:
        begin = monotonic()
        for number, write in enumerate(self._writes()):
            if stop.wait(max(0.0, begin + number / self._rate - monotonic())):
                return
            write()
            self.totals.written += 1

    def _writes(self) -> Iterator[Callable[[], None]]:
        """Random writes without end, of the items beside the views or of the simulator."""
        client, table = self.client, self.schema.table
        if self._example:
            for change in self._example.changes(self._rng, time):
                yield partial(change.write, client, table)
        for operation in simulator.operations(self._rng, ids=self._ids):
            yield partial(simulator.write, client, table, operation)

    def _probe(self, stop: threading.Event) -> None:
        """Measure the lag as a reader sees it: write an item of its own, then read until it shows.

        Nobody else writes that item, so what shows is what was written.
        """
        client, table = self.database.aws.dynamodb(), self.schema.table
        probe = find_probe(self.views, self.samples)
        if probe is None:
            return
        number = 0
        while not stop.wait(0.05):
            number += 1
            item = probe.item(number)
            key, value = probe.key, probe.view.encode(item)
            with aws_errors(f"table {table}"):
                client.put_item(TableName=table, Item=item)
            acknowledged = monotonic()
            while not stop.is_set():
                if self._holds(key, probe.view) == value:
                    self.totals.lags.append(monotonic() - acknowledged)
                    break
                stop.wait(0.001)
        with aws_errors(f"table {table}"):
            client.delete_item(TableName=table, Key=dict(self.schema.key_of(probe.item(0))))

    def _holds(self, key: str, view: View) -> bytes | None:
        try:
            (answer,) = self.cache.execute([read_command(key.encode(), view)])
        except CacheError:
            return None
        return stored_value(answer, view) if answer and not isinstance(answer, Failure) else None


def _visible(answer: Any) -> bytes | None:
    if isinstance(answer, Failure):
        return answer.reason.encode()
    return b" ".join(answer) if isinstance(answer, list) else answer


def _table_of(specs: tuple[ViewSpec, ...]) -> str:
    tables = {spec.table for spec in specs if spec.table}
    if len(tables) > 1:
        raise ConfigError(
            f"the demo has one table, but the views name {', '.join(sorted(tables))}; name one"
        )
    return tables.pop() if tables else _TABLE
