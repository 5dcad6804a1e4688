"""Applies batches of stream records to the cache."""

import gc
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any, Protocol

from dynamirror.cache.client import Cache
from dynamirror.cache.quarantine import ParkedItem, merged, park
from dynamirror.cache.writer import apply
from dynamirror.errors import CacheError, RecordError
from dynamirror.log_lines import log
from dynamirror.replication.batch_heartbeat import BatchHeartbeat
from dynamirror.replication.gap_detector import GapDetector
from dynamirror.replication.key_schema import key_schema
from dynamirror.replication.record_batch import RecordBatch
from dynamirror.replication.record_decoder import OTHER_KEY, entries_of_batch
from dynamirror.replication.table_keys import TableKeys
from dynamirror.settings import QUARANTINE_LIMIT, Settings
from dynamirror.views.batch_result import (
    BatchResult,
    RejectedEntry,
    Report,
    partial_batch_response,
)
from dynamirror.views.view import Schema, Views

logger = logging.getLogger("dynamirror")

# Seconds of Lambda's time that are kept for the answer, beside one timeout of the cache.
_ANSWER_SECONDS = 1.0
# A batch that took more seconds may have been given up, and the mirror rebuilt meanwhile.
_GIVEN_UP_SECONDS = 5


class Context(Protocol):
    """What the replicator uses of Lambda's context object."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the invocation is ended."""


class Replicator:
    """Applies batches of records to a cache.

    Args:
        cache: the cache.
        views: the views of all tables.
        fence_ttl: seconds a fence is kept.
        quarantine_limit: how many items of one table the quarantine lists.
        clock: monotonic seconds.
        observe: called once per batch, including failures.
        heartbeat: leaves a heartbeat after batches; None for none.
        log_batches: whether to log each batch at INFO, rather than DEBUG.
    """

    def __init__(
        self,
        cache: Cache,
        views: Views,
        *,
        fence_ttl: int,
        quarantine_limit: int = QUARANTINE_LIMIT,
        clock: Callable[[], float] = monotonic,
        observe: Callable[[BatchResult], None] = lambda _batch: None,
        heartbeat: BatchHeartbeat | None = None,
        log_batches: bool = False,
    ) -> None:
        self.cache = cache
        self.views = views
        self.fence_ttl = fence_ttl
        self._table_keys = TableKeys(views, clock)
        self._reserve = _ANSWER_SECONDS + cache.timeout
        self._quarantine_limit = quarantine_limit
        self._clock = clock
        self._observe = observe
        self._heartbeat = heartbeat
        self._log_level = logging.INFO if log_batches else logging.DEBUG
        self._gap_detectors: dict[str, GapDetector] = {}

    def __call__(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Apply one batch; return Lambda's partial batch response.

        Raises:
            ConfigError: settings, views or the stream's set-up are wrong.
            CacheError: no node of the cache can be reached.
            RecordError: the event is not one of a DynamoDB stream.
        """
        records = event.get("Records") if isinstance(event, Mapping) else None
        if not isinstance(records, list):
            raise RecordError("the event has no list of Records; is it one of a DynamoDB stream?")
        batch = RecordBatch(records)
        begin, began = self._clock(), time()
        # A large event is a million objects, none of them garbage: the collector need not look.
        gc.freeze()
        try:
            report, parked, unparked = self._apply(batch, begin, context)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self._report_batch(batch, begin, Report(), failed=len(batch), error=reason)
            raise
        finally:
            gc.unfreeze()
        newly_parked = len(parked) - len(unparked)
        self._report_batch(batch, begin, report, parked=newly_parked, failed=len(report.failed))
        _log(batch, report, parked, self._log_level)
        to_repeat = batch.first_to_repeat(report, unparked)
        try:
            self._check_completeness(batch, began, done=not to_repeat)
        except CacheError:
            if not to_repeat:
                raise
            to_repeat = batch.all_to_repeat()
        if self._heartbeat is not None and not to_repeat:
            self._heartbeat.applied(self.cache, batch)
        return partial_batch_response(to_repeat)

    def _apply(
        self, batch: RecordBatch, begin: float, context: Context
    ) -> tuple[Report, list[ParkedItem], list[ParkedItem]]:
        """Return the outcomes, the items to quarantine, and those that were not quarantined."""
        seconds = context.get_remaining_time_in_millis() / 1000
        # A function with little time still uses half of it.
        end = begin + seconds - min(self._reserve, seconds / 2)
        parked: list[ParkedItem] = []
        self._table_keys.bind(batch)
        entries, coalesced = entries_of_batch(batch, self.views, parked, fence_ttl=self.fence_ttl)
        if logger.isEnabledFor(logging.DEBUG):
            entries = list(entries)
            views = Counter(entry.view.name for entry in entries)
            logger.debug("batch in detail", extra={"entries": views, "seconds_given": seconds})
        clock = self._clock
        refused: list[tuple[list[ParkedItem], list[ParkedItem]]] = []

        def set_aside(rejected: Sequence[RejectedEntry]) -> bool:
            refused.append(self._park([*parked, *batch.parked_items(rejected)]))
            _parked, unparked = refused[0]
            return not unparked

        report = apply(
            *(self.cache, entries),
            fence_ttl=self.fence_ttl,
            in_time=lambda: clock() < end,
            set_aside=set_aside,
        )
        report.coalesced += coalesced
        has_other_key = any(item.reason == OTHER_KEY for item in parked)
        if has_other_key and self._table_keys.correct(batch.table):
            return self._apply(batch, begin, context)
        if refused:
            return report, *refused[0]
        return report, *self._park([*parked, *batch.parked_items(report.quarantined)])

    def _park(self, items: list[ParkedItem]) -> tuple[list[ParkedItem], list[ParkedItem]]:
        """Quarantine items; return them, each once, and those that were not taken."""
        parked = merged(items)
        if not parked:
            return [], []
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return parked, park(self.cache, parked, at=at, limit=self._quarantine_limit)

    def _report_batch(
        self,
        batch: RecordBatch,
        begin: float,
        report: Report,
        *,
        parked: int = 0,
        failed: int,
        error: str | None = None,
    ) -> None:
        result = BatchResult(
            table=batch.table,
            records=len(batch),
            report=report,
            parked=parked,
            failed=failed,
            oldest=batch.oldest,
            ended=time(),
            seconds=self._clock() - begin,
            sequence_numbers=batch.sequence_numbers,
            stream=batch.stream_label or "",
            error=error,
        )
        self._observe(result)

    def gap_detector(self, table: str) -> GapDetector | None:
        """Return the gap detector of a table; None before the first record of the table."""
        detector, views = self._gap_detectors.get(table), self.views.bound(table)
        if views and (detector is None or detector.views is not views):
            detector = self._gap_detectors[table] = GapDetector(
                self.cache, views, clock=self._clock
            )
        return detector

    def _check_completeness(self, batch: RecordBatch, began: float, *, done: bool) -> None:
        """Record a gap if the batch or the marker shows that the mirror is incomplete.

        Args:
            batch: the batch.
            began: time of its delivery, in seconds since 1970.
            done: whether all of it was applied or quarantined; else the rest is delivered again.

        Raises:
            CacheError: a gap that no later batch may show was not recorded: this batch must be
                delivered again, stale and harmless, until it is.
        """
        detector = self.gap_detector(batch.table)
        if detector is None:
            return
        late = batch.oldest is not None and detector.is_late(batch.oldest)
        # The rest may begin with younger records, and a batch that was given up has no rest.
        if not (done or late or time() - began > _GIVEN_UP_SECONDS):
            return
        try:
            detector.check(batch.stream_arn, batch.oldest, began=began)
        except CacheError:
            if late or not detector.is_newest(batch.stream_arn):
                raise  # the next batch may not show it


def _log(batch: RecordBatch, report: Report, parked: list[ParkedItem], level: int) -> None:
    extra = {
        "table": batch.table,
        "stream": batch.stream_label,
        "records": len(batch),
        "first_sequence_number": batch.first_sequence_number,
        "last_sequence_number": batch.last_sequence_number,
        "applied": report.applied,
        "stale": report.stale,
        "coalesced": report.coalesced,
        "quarantined": len(parked),
        "failed": len(report.failed),
    }
    if report.failed:
        reasons = sorted({rejected.reason for rejected in report.failed})
        log(logger, logging.ERROR, "batch not wholly applied", extra | {"reasons": reasons[:5]})
    else:
        log(logger, level, "batch applied", extra)
    for item in parked:
        fields = {"table": item.table, "sequence_number": item.sequence, "reason": item.reason}
        logger.error("item quarantined", extra=fields)


def build(
    settings: Settings,
    *,
    observe: Callable[[BatchResult], None] = lambda _batch: None,
    heartbeat: BatchHeartbeat | None = None,
) -> Replicator:
    """Return a replicator for the settings; connect to nothing yet.

    Args:
        settings: the settings.
        observe: called once per batch, including failures.
        heartbeat: leaves a heartbeat after batches; None for none.

    Raises:
        ConfigError: the settings or `mirror.toml` are wrong.
    """

    def schema_of(table: str, keys: frozenset[str]) -> Schema:
        return key_schema(settings, table, keys)

    views = Views(settings.views(), schema_of)
    return Replicator(
        Cache(settings),
        views,
        fence_ttl=settings.fence_ttl,
        quarantine_limit=settings.quarantine_limit,
        observe=observe,
        heartbeat=heartbeat,
        log_batches=settings.log_batches,
    )
