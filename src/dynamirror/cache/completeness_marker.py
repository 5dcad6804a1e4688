"""The completeness marker: whether the cache is complete, stored beside the data it vouches for."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import COMPLETE, GAP
from dynamirror.cache.stored_record import report_damage
from dynamirror.errors import RecordError
from dynamirror.records.stream_record import parse_stream_arn
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.keyspace import completeness_marker_key
from dynamirror.views.view import View, fingerprint

OTHER_STREAM: Final = "the table has another stream than before"
OLDER_STREAM: Final = "changes of an older stream came after the table had another"
OLDER_DATA: Final = "changes that were on their way when the cache lost its data came after that"
NO_MARKER: Final = "the mirror has never been filled, or the cache has lost its data"
DAMAGED: Final = "the marker cannot be read"
_NUMBERS: Final = ("gap", "complete", "born")


class CompletenessMarker(msgspec.Struct, frozen=True):
    """Return whether a mirror is complete, and what it follows.

    Args:
        stream: ARN of the stream whose changes are applied.
        views: fingerprint of the views that are written.
        gap: a time, in seconds since 1970; changes created before may be lacking. None for no
            marker.
        reason: why they may be lacking.
        complete: as-of time of the newest finished rebuild; -1 for none.
        source: ARN of the table's newest stream when a rebuild began; empty for none.
        born: creation time of the marker, in seconds since 1970; -1 where it is not known.
    """

    stream: str = ""
    views: str = ""
    gap: int | None = None
    reason: str = NO_MARKER
    complete: int = -1
    source: str = ""
    born: int = -1

    @property
    def is_complete(self) -> bool:
        """Return whether all of the table is in the cache, or on its way in the stream."""
        return self.gap is not None and self.complete > self.gap


def read_marker(cache: Cache, table: str) -> CompletenessMarker:
    """Read the marker; return an incomplete one if there is none.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = completeness_marker_key(table)
    return parse_marker(cache.call(key, b"HGETALL", key))


def parse_marker(flat: Sequence[bytes]) -> CompletenessMarker:
    """Return the marker that an answer to HGETALL holds; an incomplete one if that is empty."""
    fields = {
        name.decode(errors="replace"): text.decode(errors="replace")
        for name, text in zip(flat[::2], flat[1::2], strict=True)
    }
    try:
        return msgspec.convert(fields, CompletenessMarker, strict=False)
    except msgspec.ValidationError:
        reading = "without its gap or its complete the mirror is incomplete"
        report_damage("completeness marker", b" ".join(flat), reading)
        return _readable_part(fields)


def _readable_part(fields: Mapping[str, str]) -> CompletenessMarker:
    """Return the marker without the numbers that are none: the next gap and rebuild replace them.

    Without its gap or the time of its rebuild a marker is incomplete.
    """
    readable = dict(fields)
    for name in _NUMBERS:
        try:
            msgspec.convert(fields.get(name, "0"), int, strict=False)
        except msgspec.ValidationError:
            del readable[name]
    return msgspec.convert(readable | {"reason": DAMAGED}, CompletenessMarker, strict=False)


def record_gap(
    cache: Cache, views: Sequence[View], *, stream: str, at: int, reason: str, source: str = ""
) -> None:
    """Record that the mirror is incomplete until it is rebuilt.

    A stream that is older than the marker's does not replace it.

    Args:
        cache: the cache.
        views: all views of the table.
        stream: ARN of the stream that is followed from now on.
        at: seconds since 1970; every change created later is delivered.
        reason: why changes may be lacking.
        source: ARN of the table's stream; empty where it is not known.

    Raises:
        CacheError: the cache did not take it.
    """
    key = completeness_marker_key(views[0].schema.table).encode()
    cache.execute_one(GAP.command(key, at, reason, stream, fingerprint(views), source))


def record_complete(cache: Cache, views: Sequence[View], as_of: SnapshotVersion) -> str | None:
    """Record that all snapshot rows of an as-of time are in; return why not, or None.

    Raises:
        CacheError: the cache did not take it.
    """
    key = completeness_marker_key(views[0].schema.table).encode()
    answer = cache.execute_one(COMPLETE.command(key, as_of.as_of, fingerprint(views)))
    return None if answer == b"complete" else answer.decode()


def difference(marker: CompletenessMarker, stream: str, views: str) -> str | None:
    """Return why a mirror is incomplete that follows a stream in some views, or None.

    Args:
        marker: the marker in the cache.
        stream: ARN of the stream.
        views: fingerprint of the views.
    """
    if marker.gap is None:
        return marker.reason
    if _is_newer(stream, marker.stream):
        return OTHER_STREAM
    if marker.views != views:
        return "the views have changed"
    return None


def has_other_source(marker: CompletenessMarker, stream: str) -> bool:
    """Return whether a table's stream is newer than both streams that the marker names.

    Args:
        marker: the marker in the cache.
        stream: ARN of the table's stream.
    """
    return all(_is_newer(stream, known) for known in (marker.stream, marker.source))


def _is_newer(stream: str, known: str) -> bool:
    """Return whether a stream is another one, and not an older one."""
    return stream != known and stream_epoch(stream) >= stream_epoch(known)


def stream_epoch(stream: str) -> int:
    """Return the creation time in a stream's ARN, in milliseconds; -1 where it has none."""
    with suppress(RecordError):
        return parse_stream_arn(stream).epoch
    return -1
