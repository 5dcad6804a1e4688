"""A mirror for one test: replicates emulated tables, and waits until writes are visible."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

from dynamirror.cache.checkpoints import Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_complete, record_gap
from dynamirror.cache.quarantine import read_quarantine
from dynamirror.dynamodb.client import Aws, aws_errors, describe_table
from dynamirror.dynamodb.stream_reader import StreamReader
from dynamirror.emulators.dynamodb import create_table
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.reader import Reader
from dynamirror.records.version import SnapshotVersion
from dynamirror.replication.gap_detector import GapDetector
from dynamirror.replication.replicator import Replicator
from dynamirror.runner.delivery import Delivery
from dynamirror.settings import Settings, load_tables, load_views
from dynamirror.views.batch_result import BatchResult
from dynamirror.views.view import Schema, View, Views, check_stream

_POLL_SECONDS = 0.02
_CHECK_SECONDS = 0.005
_MOST_NAMED = 3


class Mirror:
    """Replicates tables into a cache, each from a thread, until it is closed.

    Args:
        aws: creates the clients of the emulated DynamoDB.
        settings: where the cache is, and which views it holds. Each `[[table]]` beside the views is
            created and followed.

    Raises:
        ConfigError: the views or a table are wrong.
    """

    def __init__(self, aws: Aws, settings: Settings) -> None:
        self.settings = settings
        self._aws = aws
        self._client = aws.dynamodb()
        self._specs = load_views(settings.config)
        self._tables = load_tables(settings.config)
        self._schemas: dict[str, Schema] = {}
        self._views = Views(self._specs, lambda table, _keys: self._schemas[table])
        self._deliveries: dict[str, Delivery] = {}
        self._streams: dict[str, str] = {}
        self._parked: set[str] = set()
        self._reasons: dict[str, str] = {}
        self._is_paused = False
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self._cache = Cache(self.settings)
            starting.callback(self._cache.close)
            self._replicator = Replicator(
                self._cache,
                self._views,
                fence_ttl=self.settings.fence_ttl,
                observe=self._observe,
            )
            starting.callback(self._stop)
            for table in self._tables:
                create_table(self._client, table.name, table.keys)
                self.follow(table.name)
            self._resources = starting.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()

    def follow(self, table: str) -> None:
        """Mirror a table that the test has created, with a stream and without items.

        A table that is followed already stays as it is.

        Args:
            table: the table's name.

        Raises:
            ConfigError: the stream is off or cannot feed the views, or the table has items.
            SourceError: there is no such table.
        """
        if table in self._streams:
            return
        source = describe_table(self._client, table)
        with aws_errors(f"table {table}"):
            if self._client.scan(TableName=table, Limit=1)["Count"]:
                raise ConfigError(
                    f"table {table} already has items; call mirror.follow before the first write"
                )
        self._schemas[table] = source.schema
        views = self._views.bind(source.schema)
        check_stream(views, source.view_type, table)
        reason = "table and cache were empty"
        record_gap(self._cache, views, stream=source.stream_arn, at=0, reason=reason)
        record_complete(self._cache, views, SnapshotVersion(1))
        self._streams[table] = source.stream_arn
        if not self._is_paused:
            self._start(table)

    def wait(self, timeout: float = 30.0) -> None:
        """Wait until everything that was written before this call is visible in the cache.

        Args:
            timeout: seconds to wait at most.

        Raises:
            DynamirrorError: the cache did not catch up in time, or an item was quarantined since
                the last call.
        """
        if self._is_paused:
            raise DynamirrorError("the mirror is paused; wait for it after mirror.paused() ends")
        begin = time.monotonic()
        for table, delivery in self._deliveries.items():
            while not delivery.caught_up(begin):
                if time.monotonic() - begin > timeout:
                    reason = f": {self._reasons[table]}" if table in self._reasons else ""
                    raise DynamirrorError(
                        f"table {table}: the cache did not catch up within {timeout:g} s{reason}"
                    )
                time.sleep(_CHECK_SECONDS)
        while self._parked:
            self._raise_quarantined(self._parked.pop())

    def _raise_quarantined(self, table: str) -> None:
        items = read_quarantine(self._cache, table)
        reasons = "; ".join(f"{item.name}: {item.note.reason}" for item in items[:_MOST_NAMED])
        raise DynamirrorError(f"table {table}: the quarantine lists {len(items)}: {reasons}")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the cache lag behind the table meanwhile.

        What was written before is visible. What is written meanwhile is visible after the context,
        and a call of `wait`.
        """
        self.wait()
        self._is_paused = True
        self._stop()
        try:
            yield
        finally:
            self._is_paused = False
            for table in self._streams:
                self._start(table)

    def reader(self, table: str | None = None, **options: Any) -> Reader:
        """Return a reader of a table, which is closed with the mirror.

        Args:
            table: the table's name; None for the only one that is followed.
            options: further arguments of `Reader`.

        Raises:
            ConfigError: the table must be named, or the options are wrong.
        """
        if table is None:
            if len(self._streams) != 1:
                known = ", ".join(self._streams) or "none"
                raise ConfigError(f"name the table to read; the mirror follows {known}")
            (table,) = self._streams
        return self._resources.enter_context(
            Reader(self.settings, table, client=self._client, **options)
        )

    def _views_of(self, table: str) -> tuple[View, ...]:
        return self._views.bind(self._schemas[table])

    def _start(self, table: str) -> None:
        arn = self._streams[table]
        delivery = Delivery(
            StreamReader(self._aws.streams(), arn),
            self._replicator,
            Checkpoints(self._cache, arn),
            poll_seconds=_POLL_SECONDS,
            record_gap=partial(GapDetector(self._cache, self._views_of(table)).record_gap, arn),
        )
        delivery.start()
        self._deliveries[table] = delivery

    def _stop(self) -> None:
        while self._deliveries:
            _table, delivery = self._deliveries.popitem()
            delivery.stop()

    def _observe(self, batch: BatchResult) -> None:
        if batch.parked:
            self._parked.add(batch.table)
        self._reasons.pop(batch.table, None)  # of a failure that is over
        for entry in batch.report.failed[:1]:
            self._reasons[batch.table] = entry.reason
