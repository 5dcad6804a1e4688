"""Rebuild: all rows of a table through the fences, then a sweep; the mirror is complete again.

It goes on beside the stream. Its state is kept in the cache, so that whoever is killed goes on at
the page it had come to, and several processes can share the segments.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import (
    OTHER_STREAM,
    difference,
    has_other_source,
    read_marker,
    record_complete,
    record_gap,
)
from dynamirror.cache.quarantine import ParkedItem, merged, park, reason_in_view
from dynamirror.cache.writer import apply_all
from dynamirror.dynamodb.items import CONSISTENT_MARGIN, EVENTUAL_MARGIN, SnapshotReader
from dynamirror.dynamodb.scan import Rate, Scan, ScanPage, Segment
from dynamirror.errors import CacheError, DynamirrorError, RecordError
from dynamirror.records.attribute_value import Item
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.sweep import SweepStats, sweep
from dynamirror.settings import QUARANTINE_LIMIT
from dynamirror.views.canary import is_canary
from dynamirror.views.entry import Entry, entry_of_row
from dynamirror.views.view import View, fingerprint

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
from dynamirror.views.keyspace import rebuild_key


class Run(msgspec.Struct, frozen=True, rename={"as_of": "horizon"}.get):
    """One rebuild.

    Args:
        id: tells it from others.
        as_of: as-of time of its first row, in seconds since 1970; stored as `horizon`.
        segments: how many parts the table is read in.
        consistent: whether reads are strongly consistent.
        views: fingerprint of the views that are written.
        begun: when, in ISO 8601.
        finished: when all was done, in ISO 8601; empty until then. Kept apart from the rest.
    """

    id: str
    as_of: int
    segments: int
    consistent: bool
    views: str
    begun: str
    finished: str = ""


class Progress(msgspec.Struct, frozen=True):
    """How far a rebuild has come in one segment, or in all.

    Args:
        start: where the next page begins; None for the beginning, or after the end.
        done: whether all pages are in.
        items: rows read.
        applied: entries written.
        stale: entries that the cache held something newer for.
        quarantined: rows that could not be written in a view.
        units: read units consumed.
    """

    start: Item | None = None
    done: bool = False
    items: int = 0
    applied: int = 0
    stale: int = 0
    quarantined: int = 0
    units: float = 0.0


class LostError(DynamirrorError):
    """What is known of a rebuild is gone, or another one has taken over: it must begin anew."""


@dataclass(frozen=True, slots=True)
class Step:
    """What came of an attempt to begin: a run, or how long to wait for one."""

    run: Run | None = None
    wait: int = 0


class Rebuild:
    """The steps of a rebuild, for one process or for many.

    Args:
        cache: the cache.
        views: all views of the table.
        client: boto3's dynamodb client.
        fence_ttl: seconds a fence is kept.
        stream_arn: the table's stream.
        quarantine_limit: how many items the quarantine lists.
        margin: seconds that horizons lie behind DynamoDB's clock; default as reads need.
        limit: items of one page at the most; default what DynamoDB gives.
    """

    def __init__(
        self,
        cache: Cache,
        views: Sequence[View],
        client: "DynamoDBClient",
        *,
        fence_ttl: int,
        stream_arn: str,
        quarantine_limit: int = QUARANTINE_LIMIT,
        margin: int | None = None,
        limit: int | None = None,
    ) -> None:
        self.cache = cache
        self.views = views
        self.schema = views[0].schema
        self._client = client
        self._fence_ttl = fence_ttl
        self.stream_arn = stream_arn
        self._quarantine_limit = quarantine_limit
        self._margin = margin
        self._limit = limit
        self._key = rebuild_key(self.schema.table)

    def begin(self, *, segments: int, consistent: bool = True, restart: bool = False) -> Step:
        """Begin a run, or go on with one that was not finished.

        A row must hold every change that the stream will not deliver. So its horizon must be later
        than the newest gap, which takes one margin.

        Args:
            segments: how many parts the table is read in, if a run is begun.
            consistent: whether reads are strongly consistent, if a run is begun.
            restart: do not go on with an earlier one.

        Raises:
            CacheError: the cache cannot be reached.
            SourceError: the table cannot be described.
        """
        marker = read_marker(self.cache, self.schema.table)
        scan = self._scan(consistent=consistent)
        now = scan.as_of()
        gap = marker.gap
        # Which stream is followed is for those who follow it to say.
        followed = marker.stream or self.stream_arn
        reason = difference(marker, followed, fingerprint(self.views))
        if reason is None and has_other_source(marker, self.stream_arn):
            reason = OTHER_STREAM
        if reason is not None:
            gap = now.as_of + self._margin_of(consistent=consistent) + 1
            record_gap(
                self.cache,
                self.views,
                stream=followed,
                at=gap,
                reason=reason,
                source=self.stream_arn,
            )
        assert gap is not None  # without a marker there was a reason
        run = None if restart else self.run()
        if run and not run.finished and run.as_of > gap and run.views == fingerprint(self.views):
            return Step(run)
        if now.as_of <= gap:
            return Step(wait=gap + 1 - now.as_of)
        run = Run(
            secrets.token_hex(8),
            now.as_of,
            segments,
            consistent,
            fingerprint(self.views),
            _now(),
        )
        self._call(b"UNLINK")
        self._save("run", run)
        return Step(run)

    def run(self) -> Run | None:
        """The newest run, finished or not.

        Raises:
            CacheError: the cache cannot be reached.
        """
        return read_run(self.cache, self.schema.table)

    def load(
        self,
        run: Run,
        index: int,
        *,
        rate: Rate | None = None,
        in_time: Callable[[], bool] = lambda: True,
        on_progress: Callable[[Progress], object] = lambda _progress: None,
    ) -> Progress:
        """Write the rows of one segment, from the page it had come to.

        Args:
            run: the run.
            index: of the segment.
            rate: limits the read units.
            in_time: whether there is time for another page.
            on_progress: is told the progress of every page.

        Raises:
            CacheError: the cache cannot be reached, or did not take a row.
            SourceError: the table cannot be read.
            LostError: the run is not the newest any more.
        """
        self._check(run)
        progress = self._progress(run, index)
        if progress.done:
            return progress
        scan = self._scan(consistent=run.consistent, rate=rate)
        for page in scan.pages(Segment(index, run.segments), progress.start):
            items = [one for one in page.items if not is_canary(one, self.schema)]
            progress = self._write(replace(page, items=items), progress)
            self._check(run)
            self._save(_field(run, index), progress)
            on_progress(progress)
            if not in_time():
                break
        return progress

    def sweep(
        self,
        run: Run,
        on_progress: Callable[[SweepStats], object] = lambda _swept: None,
        *,
        rate: Rate | None = None,
    ) -> SweepStats:
        """Delete the entries whose items are gone, once all segments are loaded.

        Args:
            run: the run.
            on_progress: is told now and then how far it is; what it raises ends the sweep.
            rate: limits the read units.

        Raises:
            CacheError: the cache cannot be reached.
            SourceError: the table cannot be read.
        """
        spend = (rate or Rate(None)).spend
        reader = SnapshotReader(self._client, self.schema.table, margin=self._margin, spend=spend)
        since = SnapshotVersion(run.as_of)
        swept = sweep(
            self.cache,
            self.views,
            reader,
            since,
            fence_ttl=self._fence_ttl,
            on_progress=on_progress,
        )
        self._save(_field(run, "swept"), _now())
        return swept

    def finish(self, run: Run) -> None:
        """Note in the marker that the mirror is complete.

        Raises:
            CacheError: the cache cannot be reached.
            LostError: a part is not loaded, or the mirror has become incomplete anew meanwhile.
        """
        self._check(run)
        if not read_progress(self.cache, self.schema.table, run).done:
            raise LostError("not all segments are loaded")
        if not self._call(b"HGET", _field(run, "swept").encode()):
            raise LostError("left-over entries were not looked for")
        if reason := record_complete(self.cache, self.views, SnapshotVersion(run.as_of)):
            raise LostError(f"the mirror became incomplete while it was rebuilt ({reason})")
        self._save(_field(run, "finished"), _now())

    def _scan(self, *, consistent: bool, rate: Rate | None = None) -> Scan:
        needed = [view.attributes for view in self.views]
        attributes: frozenset[str] | None = None
        if None not in needed:
            attributes = frozenset(chain.from_iterable(names for names in needed if names))
        return Scan(
            self._client,
            self.schema.table,
            consistent=consistent,
            margin=self._margin,
            attributes=attributes,
            rate=rate,
            limit=self._limit,
        )

    def _margin_of(self, *, consistent: bool) -> int:
        if self._margin is not None:
            return self._margin
        return CONSISTENT_MARGIN if consistent else EVENTUAL_MARGIN

    def _write(self, page: ScanPage, before: Progress) -> Progress:
        """Apply one page."""
        parked: list[ParkedItem] = []
        entries = list(self._entries(page, parked))
        report = apply_all(self.cache, entries, fence_ttl=self._fence_ttl)
        for trouble in report.quarantined:
            reason = reason_in_view(trouble.entry.view, trouble.reason)
            parked.append(self._parked(trouble.entry.item, page, reason))
        parked = merged(parked)
        if park(self.cache, parked, at=_now(), limit=self._quarantine_limit):
            raise CacheError(f"{self.cache}: it did not take what had to be quarantined")
        return Progress(
            start=page.next,
            done=page.next is None,
            items=before.items + len(page.items),
            applied=before.applied + report.applied,
            stale=before.stale + report.stale,
            quarantined=before.quarantined + len(parked),
            units=before.units + page.units,
        )

    def _entries(self, page: ScanPage, parked: list[ParkedItem]) -> Iterator[Entry]:
        for item in page.items:
            for view in self.views:
                try:
                    entry = entry_of_row(view, item, item, page.version)
                except RecordError as error:
                    parked.append(self._parked(item, page, reason_in_view(view, error)))
                else:
                    if entry is not None:
                        yield entry

    def _parked(self, item: Item, page: ScanPage, reason: str) -> ParkedItem:
        # A row with a later horizon holds all that this one does.
        created = page.version.as_of
        return ParkedItem(self.schema.table, self.schema.key_of(item), "?", reason, created)

    def _check(self, run: Run) -> None:
        text = self._call(b"HGET", b"run")
        if not text or msgspec.json.decode(text, type=Run).id != run.id:
            raise LostError("the cache has lost what it knew of the rebuild, or another has begun")

    def _progress(self, run: Run, index: int) -> Progress:
        text = self._call(b"HGET", _field(run, index).encode())
        return msgspec.json.decode(text, type=Progress) if text else Progress()

    def _save(self, field: str, value: Run | Progress | str) -> None:
        self._call(b"HSET", field.encode(), msgspec.json.encode(value))

    def _call(self, word: bytes, *words: bytes) -> Any:
        return self.cache.call(self._key, word, self._key.encode(), *words)


def read_run(cache: Cache, table: str) -> Run | None:
    """The newest rebuild of a table, finished or not.

    Raises:
        CacheError: the cache cannot be reached.
    """
    key = rebuild_key(table)
    text = cache.call(key, b"HGET", key.encode(), b"run")
    if not text:
        return None
    run = msgspec.json.decode(text, type=Run)
    finished = cache.call(key, b"HGET", key.encode(), _field(run, "finished").encode())
    return msgspec.structs.replace(run, finished=msgspec.json.decode(finished) if finished else "")


def read_progress(cache: Cache, table: str, run: Run) -> Progress:
    """How far a rebuild of a table has come, in all its segments together.

    Raises:
        CacheError: the cache cannot be reached.
    """
    key = rebuild_key(table)
    flat = cache.call(key, b"HGETALL", key.encode())
    texts = dict(zip(flat[::2], flat[1::2], strict=True))
    fields = [_field(run, index).encode() for index in range(run.segments)]
    parts = [msgspec.json.decode(texts[field], type=Progress) for field in fields if field in texts]
    return total(parts, run.segments)


def _field(run: Run, index: int | str) -> str:
    """With the run's id, so that who is late with an older one does not count for this one."""
    return f"{run.id}:{index}"


def total(parts: Sequence[Progress], segments: int) -> Progress:
    """Several segments' progress as one.

    Args:
        parts: of those that were begun.
        segments: how many there are.
    """
    sums: dict[str, Any] = {
        name: sum(getattr(part, name) for part in parts)
        for name in ("items", "applied", "stale", "quarantined", "units")
    }
    done = len(parts) == segments and all(part.done for part in parts)
    return Progress(done=done, **sums)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
