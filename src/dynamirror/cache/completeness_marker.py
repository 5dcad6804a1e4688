"""The mirror marker: whether the cache is complete, kept beside the data that it vouches for."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import COMPLETE, GAP
from dynamirror.errors import RecordError
from dynamirror.records.stream_record import parse_stream_arn
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.keyspace import completeness_marker_key
from dynamirror.views.view import View, fingerprint

logger = logging.getLogger("dynamirror")


OTHER_STREAM: Final = "the table has another stream than before"


OLDER_STREAM: Final = "changes of an older stream came after the table had another"


OLDER_DATA: Final = "changes that were on their way when the cache lost its data came after that"


NO_MARKER: Final = "the mirror has never been filled, or the cache has lost its data"


class CompletenessMarker(msgspec.Struct, frozen=True):
    """What the cache says of itself.

    Args:
        stream: ARN of the stream whose changes go into it.
        views: fingerprint of the views it is written in.
        gap: changes made before this moment may be lacking (seconds since 1970); None for no
            marker at all.
        reason: why they may be.
        complete: horizon of the newest rebuild that was finished; -1 for none.
        source: ARN of the newest stream that the table was seen to have when a rebuild began; empty
            for none.
        born: when the marker was first written; seconds since 1970, -1 for not known.
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
        """Whether everything that the table holds is in the cache, or on its way in the stream."""
        return self.gap is not None and self.complete > self.gap


def read_marker(cache: Cache, table: str) -> CompletenessMarker:
    """Read the marker; if there is none, an incomplete one.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = completeness_marker_key(table)
    return parse_marker(cache.call(key, b"HGETALL", key))


def parse_marker(flat: Sequence[bytes]) -> CompletenessMarker:
    """The marker, from what HGETALL gives; an incomplete one if that is nothing."""
    fields = {
        name.decode(): text.decode(errors="replace")
        for name, text in zip(flat[::2], flat[1::2], strict=True)
    }
    try:
        return msgspec.convert(fields, CompletenessMarker, strict=False)
    except msgspec.ValidationError:
        return CompletenessMarker(reason="the marker cannot be read")


def record_gap(
    cache: Cache, views: Sequence[View], *, stream: str, at: int, reason: str, source: str = ""
) -> None:
    """Write down that the mirror is incomplete until it is rebuilt.

    A stream that is older than the marker's does not take its place.

    Args:
        cache: the cache.
        views: all views of the table.
        stream: ARN of the stream that is followed from now on.
        at: seconds since 1970; every change made later is delivered.
        reason: why changes may be lacking.
        source: ARN of the stream that the table has; empty where that is not known.

    Raises:
        CacheError: the cache did not take it.
    """
    key = completeness_marker_key(views[0].schema.table).encode()
    cache.execute_one(GAP.command(key, at, reason, stream, fingerprint(views), source))


def record_complete(cache: Cache, views: Sequence[View], as_of: SnapshotVersion) -> str | None:
    """Write down that all rows of a horizon are in; returns why they do not suffice, or None.

    Raises:
        CacheError: the cache did not take it.
    """
    key = completeness_marker_key(views[0].schema.table).encode()
    answer = cache.execute_one(COMPLETE.command(key, as_of.as_of, fingerprint(views)))
    return None if answer == b"complete" else answer.decode()


def difference(marker: CompletenessMarker, stream: str, views: str) -> str | None:
    """Why a mirror is incomplete that follows a stream in some views, as its marker tells, or None.

    Args:
        marker: what the cache says.
        stream: the stream's ARN.
        views: the views' fingerprint.
    """
    if marker.gap is None:
        return marker.reason
    if _is_newer(stream, marker.stream):
        return OTHER_STREAM
    if marker.views != views:
        return "the views have changed"
    return None


def has_other_source(marker: CompletenessMarker, stream: str) -> bool:
    """Whether a table's stream is a newer one than any that the marker knows of.

    Args:
        marker: what the cache says.
        stream: ARN of the stream that the table has.
    """
    return all(_is_newer(stream, known) for known in (marker.stream, marker.source))


def _is_newer(stream: str, than: str) -> bool:
    """Whether a stream's ARN is another one's than that of a stream, and not an older one's."""
    return stream != than and stream_epoch(stream) >= stream_epoch(than)


def stream_epoch(stream: str) -> int:
    with suppress(RecordError):
        return parse_stream_arn(stream).epoch
    return -1
