"""The state of a table's newest rebuild, in the cache.

A killed process resumes at its last page, and several processes can share the segments. Damaged
state is read as if it were not there, so that the rebuild repeats that part.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Final, TypeVar

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.slot_scan import SlotRange
from dynamirror.cache.stored_record import decode_record, encode_record
from dynamirror.dynamodb.scan import MOST_SEGMENTS
from dynamirror.errors import DynamirrorError
from dynamirror.records.attribute_value import Item
from dynamirror.recovery.sweep import SweepProgress, TotalSwept, total_swept
from dynamirror.views.keyspace import rebuild_key

T = TypeVar("T")

_FIELDS_AT_ONCE: Final = 1000


class Run(msgspec.Struct, frozen=True, rename={"as_of": "horizon"}.get):
    """One rebuild.

    Args:
        id: a random id.
        as_of: as-of time of the first snapshot row, in seconds since 1970; stored as `horizon`.
        segments: the number of parts that the table is read in.
        consistent: whether reads are strongly consistent.
        views: fingerprint of the views that are written.
        begun: the time of the begin, in ISO 8601.
        finished: the time of the end, in ISO 8601; empty until then. Stored apart from the rest.
    """

    id: str
    as_of: int
    segments: Annotated[int, msgspec.Meta(ge=1, le=MOST_SEGMENTS)]
    consistent: bool
    views: str
    begun: str
    finished: str = ""


class Progress(msgspec.Struct, frozen=True):
    """The progress of a rebuild in one segment, or in all.

    Args:
        start: the start key of the next page; None for the beginning, or after the end.
        done: whether all pages are written.
        items: snapshot rows read.
        applied: entries that the cache took.
        stale: entries that the cache held a newer version of.
        quarantined: snapshot rows that a view could not write.
        units: consumed read units.
    """

    start: Item | None = None
    done: bool = False
    items: int = 0
    applied: int = 0
    stale: int = 0
    quarantined: int = 0
    units: float = 0.0


class TotalProgress(Progress, frozen=True):
    """The progress of a rebuild in all segments.

    Args:
        parts_done: segments that are loaded.
        parts: all segments; 0 where an operator of 0.2 does not report them.
    """

    parts_done: int = 0
    parts: int = 0


class LostError(DynamirrorError):
    """The state of a rebuild is gone, or another rebuild replaced it: it must restart."""


class RebuildState:
    """Reads and writes the state of a table's newest rebuild.

    Every method raises `CacheError` if the cache cannot be reached.

    Args:
        cache: the cache.
        table: the table's name.
    """

    def __init__(self, cache: Cache, table: str) -> None:
        self._cache = cache
        self._key = rebuild_key(table)

    def begin(self, run: Run) -> None:
        """Replace the state of every earlier run."""
        self._call(b"UNLINK")
        self._write("run", run)

    def run(self) -> Run | None:
        """Return the newest run, finished or not; None if there is none."""
        run = self._read("run", Run)
        if run is None:
            return None
        finished = self._read(_field(run, "finished"), str)
        return msgspec.structs.replace(run, finished=finished or "")

    def check_newest(self, run: Run) -> None:
        """Check that a run is the newest.

        Raises:
            LostError: the run is not the newest, or its state is gone.
        """
        newest = self._read("run", Run)
        if newest is None or newest.id != run.id:
            raise LostError("the cache has lost the state of the rebuild, or another has begun")

    def segment_progress(self, run: Run, index: int) -> Progress:
        """Return the progress of one segment."""
        return self._read(_field(run, index), Progress) or Progress()

    def progress(self, run: Run) -> TotalProgress:
        """Return the progress of all segments together."""
        fields = (_field(run, index) for index in range(run.segments))
        return total(self._read_many(fields, Progress), run.segments)

    def save_progress(self, run: Run, index: int, progress: Progress) -> None:
        """Write the progress of one segment."""
        self._write(_field(run, index), progress)

    def sweep_ranges(self, run: Run) -> tuple[SlotRange, ...]:
        """Return the ranges of the sweep; none if they are not decided yet."""
        return self._read(_field(run, "sweep"), tuple[SlotRange, ...]) or ()

    def decide_sweep_ranges(self, run: Run, ranges: Sequence[SlotRange]) -> None:
        """Write the ranges of the sweep."""
        self._write(_field(run, "sweep"), tuple(ranges))

    def range_progress(self, run: Run, slots: SlotRange) -> SweepProgress:
        """Return the progress of the sweep in one range."""
        return self._read(_range_field(run, slots), SweepProgress) or SweepProgress()

    def save_range_progress(self, run: Run, slots: SlotRange, progress: SweepProgress) -> None:
        """Write the progress of the sweep in one range."""
        self._write(_range_field(run, slots), progress)

    def swept(self, run: Run) -> TotalSwept:
        """Return the progress of the sweep in all ranges together."""
        ranges = self.sweep_ranges(run)
        # Versions up to 0.2 swept all at once, and wrote only when.
        if not ranges and self._read(_field(run, "swept"), str) is not None:
            return TotalSwept(done=True)
        parts = self._read_many((_range_field(run, slots) for slots in ranges), SweepProgress)
        return total_swept(list(parts), len(ranges))

    def record_finished(self, run: Run) -> None:
        """Record that the rebuild has ended."""
        self._write(_field(run, "finished"), now())

    def _read(self, field: str, kind: type[T]) -> T | None:
        return self._decode(field, self._call(b"HGET", field.encode()), kind)

    def _read_many(self, fields: Iterator[str], kind: type[T]) -> Iterator[T]:
        """Yield what is stored of many fields, without all of them in memory."""
        while chunk := list(islice(fields, _FIELDS_AT_ONCE)):
            texts = self._call(b"HMGET", *(field.encode() for field in chunk))
            for field, text in zip(chunk, texts, strict=True):
                if (value := self._decode(field, text, kind)) is not None:
                    yield value

    def _decode(self, field: str, text: bytes | None, kind: type[T]) -> T | None:
        return decode_record(text, kind, f"{self._key} {field}")

    def _write(self, field: str, value: object) -> None:
        self._call(b"HSET", field.encode(), encode_record(value))

    def _call(self, word: bytes, *words: bytes) -> Any:
        return self._cache.call(self._key, word, self._key.encode(), *words)


def _field(run: Run, name: int | str) -> str:
    # With the id, what a process still writes for an older run does not count for this one.
    return f"{run.id}:{name}"


def _range_field(run: Run, slots: SlotRange) -> str:
    return _field(run, f"sweep:{slots.first}-{slots.last}")


def total(parts: Iterable[Progress], segments: int) -> TotalProgress:
    """Return the progress of several segments as one.

    Args:
        parts: the progress of the segments that were begun.
        segments: the number of segments.
    """
    items = applied = stale = quarantined = done = 0
    units = 0.0
    for part in parts:
        items += part.items
        applied += part.applied
        stale += part.stale
        quarantined += part.quarantined
        units += part.units
        done += part.done
    return TotalProgress(
        done=done == segments,
        items=items,
        applied=applied,
        stale=stale,
        quarantined=quarantined,
        units=units,
        parts_done=done,
        parts=segments,
    )


def now() -> str:
    """Return the current time in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
