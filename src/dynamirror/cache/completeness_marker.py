"""The completeness marker: whether the cache is complete, stored beside the data it vouches for."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import COMPLETE, GAP
from dynamirror.cache.stored_record import report_damage
from dynamirror.errors import ConfigError, RecordError
from dynamirror.records.stream_record import parse_stream_arn
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.keyspace import completeness_marker_key
from dynamirror.views.view import View, fingerprint

OTHER_STREAM: Final = "the table has another stream than before"
OLDER_STREAM: Final = "changes of an older stream came after the table had another"
OLDER_DATA: Final = "changes that were on their way when the cache lost its data came after that"
SKIPPED: Final = "reading began with what was written from then on"
NO_MARKER: Final = "the mirror has never been filled, or the cache has lost its data"
DAMAGED: Final = "the marker cannot be read"
_NUMBERS: Final = ("gap", "complete", "born")
# More would make a sentence unreadable.
_MOST_NAMES: Final = 5


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
        named: the fingerprint and the names of the views; empty if version 0.1 wrote the marker.
    """

    stream: str = ""
    views: str = ""
    gap: int | None = None
    reason: str = NO_MARKER
    complete: int = -1
    source: str = ""
    born: int = -1
    named: str = ""

    @property
    def is_complete(self) -> bool:
        """Return whether all of the table is in the cache, or on its way in the stream."""
        return self.gap is not None and self.complete > self.gap

    @property
    def view_names(self) -> str:
        """Return the names of the views with their keys; empty where they are not known."""
        views, _, names = self.named.partition(" ")
        # Version 0.1 replaces the fingerprint, and leaves the names of other views.
        return names if views == self.views else ""


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
    written = fingerprint(views)
    named = f"{written} {_names(views)}"
    cache.execute_one(GAP.command(key, at, reason, stream, written, source, named))


def record_complete(cache: Cache, views: Sequence[View], as_of: SnapshotVersion) -> str | None:
    """Record that all snapshot rows of an as-of time are in; return why not, or None.

    Raises:
        CacheError: the cache did not take it.
    """
    key = completeness_marker_key(views[0].schema.table).encode()
    written = fingerprint(views)
    named = f"{written} {_names(views)}"
    answer = cache.execute_one(COMPLETE.command(key, as_of.as_of, written, named))
    return None if answer == b"complete" else answer.decode()


def _names(views: Sequence[View]) -> str:
    names = [f"{view.name} ({view.template.text})" for view in views[:_MOST_NAMES]]
    more = len(views) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def other_views(marker: CompletenessMarker, views: Sequence[View]) -> str | None:
    """Return a sentence if the mirror was written in other views; else None.

    Args:
        marker: the marker in the cache.
        views: all views of the table, as the settings have them.
    """
    if marker.views in ("", fingerprint(views)):
        return None
    mirror, ours = f"the mirror of table {views[0].schema.table}", _names(views)
    if not marker.view_names:
        return (
            f"{mirror} was written in other views than {ours}; their names are not known, because "
            "version 0.1 wrote the mirror"
        )
    if marker.view_names == ours:
        return f"{mirror} was written in an earlier form of the views {ours}"
    return f"{mirror} was written in the views {marker.view_names}, not in {ours}"


def check_views(marker: CompletenessMarker, views: Sequence[View]) -> None:
    """Check that the mirror was written in these views.

    Args:
        marker: the marker in the cache.
        views: all views of the table, as the settings have them.

    Raises:
        ConfigError: the mirror was written in other views; names them.
    """
    if sentence := other_views(marker, views):
        raise ConfigError(
            f"{sentence}; set --config or DYNAMIRROR_CONFIG to the mirror's views, or give "
            "--new-views if you changed them on purpose"
        )


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
