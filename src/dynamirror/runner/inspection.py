"""Inspects one table from this process: reads its stream or its rows, and asks the cache."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from random import Random
from time import monotonic, time
from types import TracebackType
from typing import Any, Final, Self

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.client import Aws, describe_table
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.dynamodb.scan import Rate, Scan
from dynamirror.dynamodb.stream_reader import StreamReader
from dynamirror.errors import CacheError, DynamirrorError
from dynamirror.inspection.inspector import Inspector
from dynamirror.inspection.judgement import DEFAULT_THRESHOLDS
from dynamirror.inspection.patrol import Patrol
from dynamirror.inspection.stored import store_tally
from dynamirror.inspection.tally import Tally, Violation
from dynamirror.runner.delivery import Delivery
from dynamirror.runner.event_source_mapping import EventSourceMapping
from dynamirror.runner.heartbeat_thread import who_am_i
from dynamirror.runner.memory_checkpoints import MemoryCheckpoints
from dynamirror.views.view import View, check_stream

logger = logging.getLogger("dynamirror")

# What is due is asked together; between two times lies at least this.
_STEP_SECONDS: Final = 0.1
_STORE_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 10.0
_PAGE_ITEMS: Final = 100
# Read units a second.
_UNITS: Final = 25.0


class Source(StrEnum):
    """Where an inspection learns what the cache should hold."""

    STREAM = "stream"
    """Each change, from the table's stream."""
    TABLE = "table"
    """The items as they are, page by page."""
    BOTH = "both"
    """Both of them."""


class Inspection:
    """Inspects a table in the background, inside `with`.

    Args:
        aws: creates the clients.
        cache: the cache.
        views: all views of the table.
        share: the share of the items, more than 0 and up to 1.
        thresholds: ages of a change at which it is asked, in seconds.
        source: where it learns what the cache should hold.
        rate: the limit of the read units; None for 25 a second.
        round_seconds: seconds between the begins of two rounds through the table at the least.
        stores: whether to store the tally in the cache, for `status`.
        on_violation: called with each violation.
        poll_seconds: pause after a shard had nothing new.

    Raises:
        ConfigError: the share or the thresholds are wrong.
    """

    def __init__(
        self,
        aws: Aws,
        cache: Cache,
        views: Sequence[View],
        *,
        share: float = 1.0,
        thresholds: Sequence[float] = DEFAULT_THRESHOLDS,
        source: Source = Source.STREAM,
        rate: Rate | None = None,
        round_seconds: float = 60.0,
        stores: bool = False,
        on_violation: Callable[[Violation], object] = lambda _violation: None,
        poll_seconds: float = 0.25,
    ) -> None:
        self._aws = aws
        self._cache = cache
        self._views = views
        self._table = views[0].schema.table
        self._source = source
        self._stores = stores
        self._poll_seconds = poll_seconds
        self._halt = threading.Event()
        self.errors = 0
        rate = rate or Rate(_UNITS)
        client = aws.dynamodb()
        reader = SnapshotReader(client, self._table, rate=rate)
        self.inspector = Inspector(
            *(cache, views, share, thresholds),
            read_table=reader.read_many,
            on_violation=on_violation,
        )
        self._patrol = Patrol(
            Scan(client, self._table, limit=_PAGE_ITEMS, rate=rate),
            self.inspector,
            views[0].schema.keys,
            rng=Random(),  # noqa: S311 - the order of a table's segments is no secret
            round_seconds=round_seconds,
        )
        work = [self._ask]
        if source is not Source.TABLE:
            work.append(self._follow)
        if source is not Source.STREAM:
            work.append(self._walk)
        self._threads = [
            threading.Thread(target=self._guarded, args=(each,), name="inspection", daemon=True)
            for each in work
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop, and wait for the threads; what is not decided is not counted."""
        self._halt.set()
        for thread in self._threads:
            thread.join()

    def tally(self) -> Tally:
        """Return the counts so far."""
        return self.inspector.tally()

    def _guarded(self, work: Callable[[], None]) -> None:
        while not self._halt.is_set():
            try:
                work()
            except DynamirrorError as error:
                self.errors += 1
                extra = {"table": self._table, "reason": str(error)}
                logger.warning("table not inspected", extra=extra)
            except Exception:
                self.errors += 1
                logger.exception("fault of the program", extra={"table": self._table})
            self._halt.wait(_RETRY_SECONDS)

    def _ask(self) -> None:
        """Ask what is due, and store the tally."""
        stored = monotonic()
        who = who_am_i()
        while not self._halt.is_set():
            self.inspector.run_due()
            if self._stores and monotonic() >= stored + _STORE_SECONDS:
                stored = monotonic()
                with suppress(CacheError):  # which is counted as unavailable
                    store_tally(self._cache, self._table, who, self.tally())
            due = self.inspector.next_due()
            pause = _STEP_SECONDS if due is None else due - time()
            self._halt.wait(max(0.0, min(pause, _STEP_SECONDS)))
        if self._stores:
            with suppress(CacheError):
                store_tally(self._cache, self._table, who, self.tally())

    def _follow(self) -> None:
        """Receive the changes of the table's stream, until it is switched off.

        Raises:
            DynamirrorError: it cannot be read.
        """
        source = describe_table(self._aws.dynamodb(), self._table)
        check_stream(self._views, source.view_type, self._table)
        delivery = Delivery(
            StreamReader(self._aws.streams(), source.stream_arn),
            self._receive,
            MemoryCheckpoints(),
            EventSourceMapping(latest=True),
            poll_seconds=self._poll_seconds,
        )
        delivery.start()
        try:
            while not self._halt.is_set() and not delivery.wait(_STEP_SECONDS):
                pass
        finally:
            delivery.stop()

    def _receive(self, event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
        self.inspector.receive(event["Records"])
        return {}

    def _walk(self) -> None:
        """Receive the items of the table, round after round.

        Raises:
            SourceError: the table cannot be read.
        """
        while not self._halt.is_set():
            if self._patrol.step() is None:
                self._halt.wait(_STEP_SECONDS)
