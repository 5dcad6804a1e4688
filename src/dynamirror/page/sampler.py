"""Looks at a mirror now and then, for all viewers together."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any

from dynamirror.attributes import Item
from dynamirror.cache import Cache
from dynamirror.errors import DynamirrorError, RecordError
from dynamirror.local.delivery import Delivery
from dynamirror.marker import read_marker
from dynamirror.page.state import (
    Button,
    Event,
    Judge,
    Parked,
    Point,
    Row,
    Seen,
    Shard,
    Snapshot,
    condition,
    cuts,
    natural,
    readable,
)
from dynamirror.quarantine import count, listed
from dynamirror.report import Tally
from dynamirror.rows import RowReader
from dynamirror.snapshot import Scan, Segment
from dynamirror.stored import stored, wanted
from dynamirror.stream.positions import Positions
from dynamirror.sweep import Found, as_they_should_be
from dynamirror.view import View

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

logger = logging.getLogger("dynamirror")

MOST_ROWS = 30
_MOST_PARKED = 10
_MOST_LISTED = 500
_HISTORY_SECONDS = 60.0
_LOOK_AROUND_SECONDS = 3.0
# After the last viewer has gone, table and cache are left in peace.
_VIEWED_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Mirrored:
    """A mirror, as the page looks at it.

    Args:
        title: what is mirrored, and into what.
        cache: a connection of the page's own.
        views: all views of the table.
        client: boto3's dynamodb client.
        stream: tells the ARN of the stream that is followed.
        delivery: tells what delivers; None while nothing does.
        tally: the outcomes so far.
        written: counts the writes to the table; None where nobody does.
        lags: all lags so far, in seconds; None where they are not measured.
        events: what was done to the mirror, newest first.
        buttons: what a viewer may do.
        press: does it.
        pinned: items whose entries are shown in any case.
    """

    title: str
    cache: Cache
    views: Sequence[View]
    client: "DynamoDBClient"
    stream: Callable[[], str]
    delivery: Callable[[], Delivery | None]
    tally: Tally
    written: Callable[[], int] | None = None
    lags: Sequence[float] | None = None
    events: Callable[[], Sequence[Event]] = tuple
    buttons: Callable[[], Sequence[Button]] = tuple
    press: Callable[[str], object] = lambda _name: None
    pinned: Callable[[], Sequence[Item]] = tuple

    @property
    def table(self) -> str:
        """The table's name."""
        return self.views[0].schema.table


class Sampler(threading.Thread):
    """Makes a snapshot a tick. Table and cache are read only while somebody looks.

    Args:
        mirrored: the mirror.
        every: seconds of a tick.
    """

    def __init__(self, mirrored: Mirrored, *, every: float) -> None:
        super().__init__(name="page sampler", daemon=True)
        self.mirrored = mirrored
        self.snapshot = Snapshot(buttons=mirrored.buttons())
        self._every = every
        self._halt = threading.Event()
        self._begin = monotonic()
        self._viewed = float("-inf")
        self._sample = _Sample(mirrored)
        self._history: deque[Point] = deque(maxlen=round(_HISTORY_SECONDS / every))
        self._before = (self._begin, 0, 0, 0)
        self._asked = self._begin
        self._reached: float | None = None

    def viewed(self) -> Snapshot:
        """The newest snapshot, for somebody who looks at it."""
        self._viewed = monotonic()
        return self.snapshot

    def run(self) -> None:
        """Look until stopped."""
        while not self._halt.wait(self._every):
            try:
                self._tick()
            except Exception:  # a page that stands still would tell lies
                logger.exception("the page cannot be kept up to date")
                seen = replace(self.snapshot.seen, trouble="the page cannot be kept up to date")
                word, detail = condition(running=True, behind=None, seen=seen)
                number = self.snapshot.number + 1
                self.snapshot = replace(
                    self.snapshot, number=number, condition=word, detail=detail, seen=seen
                )

    def stop(self) -> None:
        """End."""
        self._halt.set()
        self.join()

    def _tick(self) -> None:
        mirrored = self.mirrored
        delivery = mirrored.delivery()
        behind = self._behind(delivery)
        self._history.append(self._point(behind))
        if monotonic() - self._viewed > _VIEWED_SECONDS:
            return
        seen = self._sample.look(delivery)
        word, detail = condition(running=delivery is not None, behind=behind, seen=seen)
        p50, p99 = cuts(mirrored.lags[:]) if mirrored.lags else (None, None)
        self.snapshot = Snapshot(
            number=self.snapshot.number + 1,
            condition=word,
            detail=detail,
            tally=Tally(*(getattr(mirrored.tally, name) for name in Tally.__slots__)),
            written=mirrored.written() if mirrored.written else None,
            history=tuple(self._history),
            lag_ms={"p50": p50, "p99": p99},
            seen=seen,
            events=mirrored.events(),
            buttons=mirrored.buttons(),
        )

    def _behind(self, delivery: Delivery | None) -> float | None:
        """Seconds since all that was in the stream had been delivered, at the most."""
        now = monotonic()
        if delivery is not None and delivery.caught_up(self._asked):
            self._reached, self._asked = self._asked, now
        return None if self._reached is None else max(0.0, now - self._reached - self._every)

    def _point(self, behind: float | None) -> Point:
        mirrored, now = self.mirrored, monotonic()
        applied = mirrored.tally.applied
        written = mirrored.written() if mirrored.written else 0
        lags = mirrored.lags or ()
        at, written_before, applied_before, lags_before = self._before
        self._before = (now, written, applied, len(lags))
        seconds = max(now - at, 0.001)
        p50, p99 = cuts(lags[lags_before:])
        rate = round((written - written_before) / seconds, 1) if mirrored.written else None
        done = round((applied - applied_before) / seconds, 1)
        return Point(round(now - self._begin, 1), p50, p99, rate, done, behind)


class _Sample:
    """Some entries, looked at again and again, so that one sees them change."""

    def __init__(self, mirrored: Mirrored) -> None:
        self._mirrored = mirrored
        self._cache = mirrored.cache
        self._scan = Scan(mirrored.client, mirrored.table, margin=0, limit=MOST_ROWS)
        self._reader = RowReader(mirrored.client, mirrored.table)
        self._found: dict[str, Found] = {}
        self._rows: list[Row] = []
        self._judge = Judge()
        self._looked_around = float("-inf")
        self._seen = Seen()

    def look(self, delivery: Delivery | None) -> Seen:
        """Ask table and cache; what cannot be read stays as it was."""
        try:
            if monotonic() - self._looked_around > _LOOK_AROUND_SECONDS:
                self._look_around()
            self._pin()
            self._rows = self._compared(delivery)
            self._seen = self._told()
        except DynamirrorError as error:
            self._seen = replace(self._seen, trouble=str(error))
        return self._seen

    def _look_around(self) -> None:
        """Take more entries into the sample, instead of those that are gone."""
        page = next(iter(self._scan.pages(Segment(0, 1))), None)
        new = self._unknown(page.items if page else ())
        # Rows may be older than the sample: they stay as they were while nothing can be read.
        gone = [
            row.key
            for row in self._rows
            if row.table is None and row.cache is None and row.key in self._found
        ]
        room = MOST_ROWS - len(self._found)
        for key in islice(gone, max(0, len(new) - room)):
            del self._found[key]
            self._judge.forget([key])
        self._found |= dict(islice(new.items(), MOST_ROWS - len(self._found)))
        self._looked_around = monotonic()

    def _unknown(self, items: Sequence[Item]) -> dict[str, Found]:
        entries = (one for item in items for one in _entries(self._mirrored.views, item))
        return {one.key: one for one in entries if one.key not in self._found}

    def _pin(self) -> None:
        for key, one in self._unknown(self._mirrored.pinned()).items():
            if len(self._found) >= MOST_ROWS:
                self._found.popitem()
            self._found = {key: one, **self._found}

    def _compared(self, delivery: Delivery | None) -> list[Row]:
        found = sorted(self._found.values(), key=lambda one: natural(one.key))
        now = monotonic()
        entries = list(as_they_should_be(found, self._reader))
        held = stored(self._cache, [one.place for one in found])
        rows = []
        for one, entry, state in zip(found, entries, held, strict=True):
            should_be = wanted(entry)
            verdict = self._judge.verdict(
                one.key,
                should_be,
                state,
                now=now,
                delivered=lambda since: delivery is not None and delivery.caught_up(since),
            )
            says, holds = readable(should_be.value, one.view), readable(state.value, one.view)
            rows.append(Row(one.key, says, holds, verdict))
        # What is wrong stands first; the sort keeps the order of the rest.
        return sorted(rows, key=lambda row: not row.verdict.is_wrong)

    def _told(self) -> Seen:
        mirrored = self._mirrored
        marker = read_marker(self._cache, mirrored.table)
        positions = Positions(self._cache, mirrored.stream()).load()
        quarantined = count(self._cache, mirrored.table)
        items: Sequence[Any] = ()
        if 0 < quarantined <= _MOST_LISTED:
            items = listed(self._cache, mirrored.table)[:_MOST_PARKED]
        return Seen(
            rows=tuple(self._rows),
            reason=None if marker.is_complete else marker.reason,
            shards=tuple(
                Shard(name, position.after, position.finished)
                for name, position in sorted(positions.items())
            ),
            parked=tuple(Parked(item.name, item.note.reason) for item in items),
            quarantined=quarantined,
        )


def _entries(views: Sequence[View], item: Item) -> list[Found]:
    found = []
    for view in views:
        try:
            key = view.render(item)
        except RecordError:
            continue  # it is in quarantine
        if key is not None:
            found.append(Found(view, key, view.schema.key_of(item)))
    return found
