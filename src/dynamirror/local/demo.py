"""The main job on one machine: a live table mirrored into a real cache, measured and compared."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from statistics import quantiles
from time import monotonic
from types import TracebackType
from typing import Any, Self

from dynamirror import simulator
from dynamirror.aws import aws_errors, describe_table
from dynamirror.cache import Cache
from dynamirror.config import load_views
from dynamirror.entry import Put, of_row
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.handler import Replicator
from dynamirror.local.delivery import Delivery
from dynamirror.local.dynamodb import EmbeddedDynamoDB, create_table, write_items
from dynamirror.local.load import load_items
from dynamirror.local.valkey import EmbeddedValkey
from dynamirror.marker import Watch, note_complete, note_gap
from dynamirror.report import Tally
from dynamirror.snapshot import scan_table
from dynamirror.stream.positions import Positions
from dynamirror.stream.reader import StreamReader
from dynamirror.verify import Comparison, compare, read_command, stored_value
from dynamirror.version import RowVersion
from dynamirror.view import Schema, View, Views, ViewSpec

_TABLE = "users"
_SHOWN_IDS = ("1", "2", "3", "4", "5")
_PROBE_ID = "dynamirror-probe"
_DRAIN_SECONDS = 120.0


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
        self.items = load_items(load, key) if load else []
        self.schema = Schema(_table_of(specs), ("id",), ("S",))
        self._views = Views(specs, lambda _table, _keys: self.schema)
        self.views = self._views.bind(self.schema)
        self._ids = ids
        self._rate = rate
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._resources = ExitStack()
        self._halt = threading.Event()
        self._errors: list[BaseException] = []
        self.totals = Totals()

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
            self._client = self.database.aws.dynamodb()
            create_table(self._client, self.schema.table, {"id": "S"})
            self.delivery = self._deliver()
            starting.callback(self.delivery.stop)
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

    def _deliver(self) -> Delivery:
        settings = self.valkey.settings()
        replicator = Replicator(
            self.cache, self._views, fence_ttl=settings.fence_ttl, observe=self.totals.add
        )
        arn = describe_table(self._client, self.schema.table).stream_arn
        # The cache is as empty as the table, and the stream is read from its beginning.
        note_gap(self.cache, self.views, stream=arn, at=0, reason="both were new")
        note_complete(self.cache, self.views, RowVersion(1))
        reader = StreamReader(self.database.aws.streams(), arn)
        delivery = Delivery(
            reader,
            replicator,
            Positions(self.cache, arn),
            poll_seconds=0.02,
            discover_seconds=2,
            note_gap=partial(Watch(self.cache, self.views).note, arn),
        )
        delivery.start()
        return delivery

    def fill(self) -> Iterator[int]:
        """Load the file's items into the table; gives the number loaded so far."""
        for start in range(0, len(self.items), 500):
            chunk = self.items[start : start + 500]
            with aws_errors(f"table {self.schema.table}"):
                write_items(self._client, self.schema.table, chunk)
            self.totals.loaded += len(chunk)
            yield self.totals.loaded

    def write(self, seconds: float, tick: float = 0.25) -> Iterator[float]:
        """Write random changes; gives the seconds gone by, now and then.

        Raises:
            DynamirrorError: a part has failed.
        """
        begin = monotonic()
        stop = threading.Event()
        threads = [
            threading.Thread(target=self._guarded, args=(work, stop), daemon=True)
            for work in (self._simulate, self._probe)
        ]
        for thread in threads:
            thread.start()
        try:
            while (gone := monotonic() - begin) < seconds and not self._errors:
                yield gone
                stop.wait(min(tick, seconds - gone))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self._check()
        yield monotonic() - begin

    def drain(self, tick: float = 0.25) -> Iterator[float]:
        """Wait until everything written has been delivered; gives the seconds gone by.

        Raises:
            DynamirrorError: it takes too long, or a part has failed.
        """
        begin = monotonic()
        while not self.delivery.caught_up(begin):
            gone = monotonic() - begin
            if gone > _DRAIN_SECONDS:
                raise DynamirrorError(f"the cache has not caught up within {gone:.0f} s")
            yield gone
            self._halt.wait(min(tick, 0.05))

    def compare(self) -> Comparison:
        """Compare the whole table with the whole cache."""
        return compare(scan_table(self._client, self.schema.table), self.cache, self.views)

    def shown(self) -> dict[str, bytes | None]:
        """A few entries as they are now: key to value."""
        puts = [_expected(self.views[0], {"id": {"S": item_id}}) for item_id in _SHOWN_IDS]
        keys = [key for key, _value in filter(None, puts)]
        answers = self.cache.execute(read_command(key.encode(), self.views[0]) for key in keys)
        return {
            key: b" ".join(answer) if isinstance(answer, list) else answer
            for key, answer in zip(keys, answers, strict=True)
        }

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
        for number, operation in enumerate(simulator.operations(self._rng, ids=self._ids)):
            if stop.wait(max(0.0, begin + number / self._rate - monotonic())):
                return
            simulator.write(self._client, self.schema.table, operation)
            self.totals.written += 1

    def _probe(self, stop: threading.Event) -> None:
        """Measure the lag as a reader sees it: write an item of its own, then read until it shows.

        Nobody else writes that item, so what shows is what was written.
        """
        client, view = self.database.aws.dynamodb(), self.views[0]
        number = 0
        while not stop.wait(0.05):
            number += 1
            mark = {"S": f"probe {number}"}
            item = {"id": {"S": _PROBE_ID}, "name": mark, "timestamp": mark}
            expected = _expected(view, item)
            with aws_errors(f"table {self.schema.table}"):
                client.put_item(TableName=self.schema.table, Item=item)
            acknowledged = monotonic()
            if expected is None or expected[1] is None:
                continue
            while not stop.is_set():
                (answer,) = self.cache.execute([read_command(expected[0].encode(), view)])
                if answer and stored_value(answer, view) == expected[1]:
                    self.totals.lags.append(monotonic() - acknowledged)
                    break
                stop.wait(0.001)
        with aws_errors(f"table {self.schema.table}"):
            client.delete_item(TableName=self.schema.table, Key={"id": {"S": _PROBE_ID}})


def _expected(view: View, item: dict[str, Any]) -> tuple[str, bytes | None] | None:
    put = of_row(view, item, item, RowVersion(0))
    return (put.key, view.encoding.encode(item)) if isinstance(put, Put) else None


def _table_of(specs: tuple[ViewSpec, ...]) -> str:
    tables = {spec.table for spec in specs if spec.table}
    if len(tables) > 1:
        raise ConfigError(
            f"the demo has one table, but the views name {', '.join(sorted(tables))}; name one"
        )
    return tables.pop() if tables else _TABLE
