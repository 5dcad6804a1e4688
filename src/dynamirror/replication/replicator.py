"""Applies batches of stream records to the cache."""

import gc
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from math import ceil
from time import monotonic, time
from typing import Any, Protocol

from dynamirror.cache.client import Cache
from dynamirror.cache.quarantine import ParkedItem, merged, park
from dynamirror.cache.writer import apply
from dynamirror.errors import CacheError, RecordError, SourceError
from dynamirror.records import stream_record as records
from dynamirror.records.stream_record import Change
from dynamirror.records.version import ChangeVersion
from dynamirror.replication.gap_detector import GapDetector
from dynamirror.replication.key_schema import key_schema
from dynamirror.replication.record_batch import (
    _all_to_repeat,
    _arn,
    _first_to_repeat,
    _oldest,
    _stream_label,
    _table,
)
from dynamirror.settings import QUARANTINE_LIMIT, Settings, load_views
from dynamirror.views.batch_result import BatchResult, Report, partial_batch_response
from dynamirror.views.canary import views_for
from dynamirror.views.entry import Entry, entries_of_change
from dynamirror.views.view import Schema, View, Views

logger = logging.getLogger("dynamirror")

# Kept back from the time that Lambda gives, to answer in, beside one timeout of the cache.
_ANSWER_SECONDS = 1.0


_OTHER_KEY = "the record's key attributes are not the table's"


# How soon a table is asked again for its key.
_ASK_SECONDS = 60


# A batch that took longer may have been given up, and the mirror rebuilt meanwhile.
_GIVEN_UP_SECONDS = 5


class Context(Protocol):
    """What is used of Lambda's context object."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended."""


class Replicator:
    """Applies batches of records to a cache.

    Args:
        cache: the cache.
        views: what entries items become.
        fence_ttl: seconds a fence is kept.
        quarantine_limit: how many items of one table the quarantine lists.
        clock: monotonic seconds.
        observe: is told of every batch, once, whatever became of it.
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
    ) -> None:
        self.cache = cache
        self.views = views
        self.fence_ttl = fence_ttl
        self._reserve = _ANSWER_SECONDS + cache.timeout
        self._quarantine_limit = quarantine_limit
        self._clock = clock
        self._observe = observe
        self._gap_detectors: dict[str, GapDetector] = {}
        self._asked: dict[str, float] = {}

    def __call__(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Apply one batch; returns Lambda's partial batch response.

        Raises:
            ConfigError: settings, views or the stream's set-up are wrong.
            CacheError: no node of the cache can be reached.
            RecordError: the event is not one of a DynamoDB stream.
        """
        batch = event.get("Records") if isinstance(event, Mapping) else None
        if not isinstance(batch, list):
            raise RecordError("the event has no list of Records; is it one of a DynamoDB stream?")
        begin, began = self._clock(), time()
        # A large event is a million objects, none of them garbage: the collector need not look.
        gc.freeze()
        try:
            report, parked, unparked = self._write(batch, begin, context)
        except Exception:
            self._report_batch(batch, begin, Report(), failed=len(batch))
            raise
        finally:
            gc.unfreeze()
        parked_now = len(parked) - len(unparked)
        self._report_batch(batch, begin, report, parked=parked_now, failed=len(report.failed))
        self._log(batch, report, parked)
        again = _first_to_repeat(batch, report, unparked)
        try:
            self._check_completeness(batch, began, done=not again)
        except CacheError:
            if not again:
                raise
            again = _all_to_repeat(batch)
        return partial_batch_response(again)

    def _write(
        self, batch: list[Any], begin: float, context: Context
    ) -> tuple[Report, list[ParkedItem], list[ParkedItem]]:
        """Apply a batch; gives the outcomes, what was set aside, and what could not be."""
        seconds = context.get_remaining_time_in_millis() / 1000
        # A function that is given little time still uses half of it.
        end = begin + seconds - min(self._reserve, seconds / 2)
        parked: list[ParkedItem] = []
        self._meet(batch)
        entries, superseded = self._entries(batch, parked)
        if logger.isEnabledFor(logging.DEBUG):
            entries = list(entries)
            views = Counter(entry.view.name for entry in entries)
            logger.debug("batch in detail", extra={"entries": views, "seconds_given": seconds})
        clock = self._clock
        report = apply(self.cache, entries, fence_ttl=self.fence_ttl, in_time=lambda: clock() < end)
        report.coalesced += superseded
        if any(one.reason == _OTHER_KEY for one in parked) and self._has_other_key(_table(batch)):
            return self._write(batch, begin, context)
        parked = merged([*parked, *_unmapped(batch, report)])
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return report, parked, park(self.cache, parked, at=at, limit=self._quarantine_limit)

    def _report_batch(
        self, batch: list[Any], begin: float, report: Report, *, parked: int = 0, failed: int
    ) -> None:
        told = BatchResult(
            table=_table(batch),
            records=len(batch),
            report=report,
            parked=parked,
            failed=failed,
            oldest=_oldest(batch),
            ended=time(),
            seconds=self._clock() - begin,
        )
        self._observe(told)

    def _entries(self, batch: list[Any], parked: list[ParkedItem]) -> tuple[Iterable[Entry], int]:
        """What a batch means, and how many entries were superseded before they were made."""
        views = self._static_views(batch)
        newest = records.newest(batch) if views else batch
        if newest is not batch:
            entries = list(self._decode(newest, parked))
            if not parked:
                return entries, (len(batch) - len(newest)) * len(views)
            # What cannot be decoded must not hide what came before it.
            parked.clear()
        return self._decode(batch, parked), 0

    def _meet(self, batch: list[Any]) -> None:
        """Bind the views of a table that is new; if records differ about its key, it is asked."""
        table = _table(batch)
        if self.views.bound(table) is None:
            named = {frozenset(change.keys) for change in _decodable(batch)}
            if len(named) > 1:
                self.views.meet(table, frozenset())

    def _has_other_key(self, table: str) -> bool:
        """Ask a table for its key, if the records that tell it differ; bind its views anew.

        Returns whether it is another key than the one that was taken for it.
        """
        views, now = self.views.bound(table), self._clock()
        if views is None or views[0].schema.types:  # the table itself was asked
            return False
        if now - self._asked.get(table, float("-inf")) < _ASK_SECONDS:
            return False
        self._asked[table] = now
        try:
            bound = self.views.meet(table, frozenset())
        except SourceError as error:
            logger.warning("key not known for sure", extra={"table": table, "reason": str(error)})
            return False
        if bound[0].schema.keys == views[0].schema.keys:
            return False
        self._gap_detectors.pop(table, None)
        return True

    def _static_views(self, batch: list[Any]) -> tuple[View, ...]:
        """The views of the batch's table, if an item's newest record says all to all of them."""
        views = self.views.bound(_table(batch))
        return views if views and all(view.is_static for view in views) else ()

    def _decode(self, batch: list[Any], parked: list[ParkedItem]) -> Iterator[Entry]:
        """Decode records as their entries are asked for; those that cannot be are parked."""
        for record in batch:
            change = None
            try:
                change = records.decode(record)
                views = self.views.entries_of_change(change)
                _check_keys(change, views[0].schema)
                mine = views_for(change.keys, views)
            except RecordError as error:
                # What was not decoded was made before it came.
                created = change.version.created if change else ceil(time())
                parked.append(_parked(record, str(error), created))
                continue
            for view in mine:
                try:
                    yield from entries_of_change(view, change)
                except RecordError as error:  # the other views can still be written
                    reason = f"view {view.name}: {error}"
                    parked.append(_parked(record, reason, change.version.created))

    def gap_detector(self, table: str) -> GapDetector | None:
        """What notices that the mirror of a table is incomplete; None before the table was met."""
        if table not in self._gap_detectors and (views := self.views.bound(table)):
            self._gap_detectors[table] = GapDetector(self.cache, views, clock=self._clock)
        return self._gap_detectors.get(table)

    def _check_completeness(self, batch: list[Any], began: float, *, done: bool) -> None:
        """See whether the mirror is complete, as far as a batch and the cache tell.

        Args:
            batch: the batch.
            began: when it came, in seconds since 1970.
            done: whether it was wholly applied; else the rest of it comes again.

        Raises:
            CacheError: a gap that no other batch may tell of could not be noted: this one must come
                again, stale and harmless, until it is.
        """
        stream, oldest = _arn(batch), _oldest(batch)
        try:
            watch = self.gap_detector(records.parse_stream_arn(stream).table)
        except RecordError:
            return  # nothing tells of which stream it is
        if watch is None:
            return
        late = oldest is not None and watch.is_late(oldest)
        # The rest may begin with younger records, and nobody waits for one that was given up.
        if not (done or late or time() - began > _GIVEN_UP_SECONDS):
            return
        try:
            watch.check(stream, oldest, began=began)
        except CacheError:
            if late or not watch.is_newest(stream):
                raise  # the next batch may not tell

    def _log(self, batch: list[Any], report: Report, parked: list[ParkedItem]) -> None:
        extra = {
            "table": _table(batch),
            "stream": _stream_label(batch),
            "records": len(batch),
            "first_sequence_number": records.sequence_number(batch[0]) if batch else None,
            "last_sequence_number": records.sequence_number(batch[-1]) if batch else None,
            "applied": report.applied,
            "stale": report.stale,
            "coalesced": report.coalesced,
            "quarantined": len(parked),
            "failed": len(report.failed),
        }
        if report.failed:
            reasons = sorted({trouble.reason for trouble in report.failed})
            logger.error("batch not wholly applied", extra=extra | {"reasons": reasons[:5]})
        else:
            logger.info("batch applied", extra=extra)
        for item in parked:
            logger.error(
                "item quarantined",
                extra={
                    "table": item.table,
                    "sequence_number": item.sequence,
                    "reason": item.reason,
                },
            )


def _decodable(batch: list[Any]) -> Iterator[Change]:
    for record in batch:
        with suppress(RecordError):
            yield records.decode(record)


def _check_keys(change: Change, schema: Schema) -> None:
    """Refuse a record that does not tell one item: it would touch no entry, or another's.

    Raises:
        RecordError: it names other key attributes than the table has, or an image another item.
    """
    new, old = change.new, change.old
    if len(change.keys) != len(schema.keys):
        raise RecordError(_OTHER_KEY)
    for name in schema.keys:
        value = change.keys.get(name)
        if value is None:
            raise RecordError(_OTHER_KEY)
        if (new is not None and new.get(name) != value) or (
            old is not None and old.get(name) != value
        ):
            raise RecordError("the record's key is not that of its image")


def _parked(record: Any, reason: str, created: int) -> ParkedItem:
    table = "?"
    with suppress(RecordError, KeyError, TypeError):
        table = records.parse_stream_arn(record["eventSourceARN"]).table
    number = records.sequence_number(record) or "?"
    return ParkedItem(table, records.keys(record), number, reason, created)


def _unmapped(batch: list[Any], report: Report) -> Iterator[ParkedItem]:
    """The records of which an item could be decoded, but not written in a view."""
    if not report.quarantined:
        return
    by_number = {int(text): one for one in batch if (text := records.sequence_number(one))}
    for trouble in report.quarantined:
        version = trouble.entry.version
        assert isinstance(version, ChangeVersion)
        reason = f"view {trouble.entry.view.name}: {trouble.reason}"
        yield _parked(by_number[version.sequence], reason, version.created)


def build(
    settings: Settings, *, observe: Callable[[BatchResult], None] = lambda _batch: None
) -> Replicator:
    """Make a replicator from settings; connects to nothing yet.

    Args:
        settings: the settings.
        observe: is told of every batch.

    Raises:
        ConfigError: the settings or `mirror.toml` are wrong.
    """

    def schema_of(table: str, keys: frozenset[str]) -> Schema:
        return key_schema(settings, table, keys)

    views = Views(load_views(settings.config), schema_of)
    return Replicator(
        Cache(settings),
        views,
        fence_ttl=settings.fence_ttl,
        quarantine_limit=settings.quarantine_limit,
        observe=observe,
    )
