"""The mirror marker: whether the cache is complete, kept beside the data that it vouches for."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil
from time import monotonic, time
from typing import Final

import msgspec

from dynamirror.cache import Cache
from dynamirror.change import parse_stream_arn
from dynamirror.errors import RecordError
from dynamirror.key import RESERVED
from dynamirror.scripts import COMPLETE, GAP
from dynamirror.version import RowVersion
from dynamirror.view import View, fingerprint

logger = logging.getLogger("dynamirror")

OTHER_STREAM: Final = "the table has another stream than before"
OLDER_STREAM: Final = "changes of an older stream came after the table had another"
OLDER_DATA: Final = "changes that were on their way when the cache lost its data came after that"
NO_MARKER: Final = "the mirror has never been filled, or the cache has lost its data"
_LOST_NOTE: Final = "the cache went back to before this was noted: "
# A record that is about to be trimmed: others may have been, before they were read.
_OLD_SECONDS: Final = 23 * 3600
_LOOK_SECONDS: Final = 1.0
# By how much our clock may be behind DynamoDB's, which stamps the changes.
_CLOCKS_SECONDS: Final = 2


class Marker(msgspec.Struct, frozen=True):
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


def marker_key(table: str) -> str:
    """The hash that holds a mirror's marker."""
    return f"{RESERVED}{{{table}}}:mirror"


def read_marker(cache: Cache, table: str) -> Marker:
    """Read the marker; if there is none, an incomplete one.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = marker_key(table)
    return parse_marker(cache.call(key, b"HGETALL", key))


def parse_marker(flat: Sequence[bytes]) -> Marker:
    """The marker, from what HGETALL gives; an incomplete one if that is nothing."""
    fields = {
        name.decode(): text.decode(errors="replace")
        for name, text in zip(flat[::2], flat[1::2], strict=True)
    }
    try:
        return msgspec.convert(fields, Marker, strict=False)
    except msgspec.ValidationError:
        return Marker(reason="the marker cannot be read")


def note_gap(
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
    key = marker_key(views[0].schema.table).encode()
    cache.perform(GAP.command(key, at, reason, stream, fingerprint(views), source))


def note_complete(cache: Cache, views: Sequence[View], horizon: RowVersion) -> str | None:
    """Write down that all rows of a horizon are in; returns why they do not suffice, or None.

    Raises:
        CacheError: the cache did not take it.
    """
    key = marker_key(views[0].schema.table).encode()
    answer = cache.perform(COMPLETE.command(key, horizon.horizon, fingerprint(views)))
    return None if answer == b"complete" else answer.decode()


class Watch:
    """Notices that a mirror has become incomplete, and writes it down.

    It looks at the marker once a second at the most, unless another stream than the marker's comes.

    Args:
        cache: the cache.
        views: all views of one table.
        clock: monotonic seconds.
        now: seconds since 1970.
    """

    def __init__(
        self,
        cache: Cache,
        views: Sequence[View],
        *,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], float] = time,
    ) -> None:
        self._cache = cache
        self._views = views
        self._table = views[0].schema.table
        self._fingerprint = fingerprint(views)
        self._clock = clock
        self._now = now
        self._looked = float("-inf")
        self.marker: Marker | None = None

    def look(self, stream: str, oldest: float | None = None, *, began: float | None = None) -> None:
        """Compare the marker with what is delivered; after a batch was written, not before.

        Args:
            stream: ARN of the stream that changes come from.
            oldest: when the oldest change of a batch was made; None if that is not known.
            began: when the batch came, in seconds since 1970; None for no batch.

        Raises:
            CacheError: the cache cannot be read, or did not take it.
        """
        if oldest is not None and self.is_late(oldest):
            hours = _OLD_SECONDS // 3600
            reason = f"changes arrived {hours} hours late: others may have been trimmed unread"
            # Until the late ones are through, each makes the gap later; one a minute is enough.
            if self.marker is None or self._now() - (self.marker.gap or 0) > 60:  # noqa: PLR2004
                self.note(stream, reason)
                return
        other = self.marker is not None and stream != self.marker.stream
        if other or self._clock() - self._looked >= _LOOK_SECONDS:
            before = self.marker
            self.marker = read_marker(self._cache, self._table)
            self._looked = self._clock()
            why = difference(self.marker, stream, self._fingerprint)
            why = why or _lost(before, self.marker)
            if why is not None:
                self.note(stream, why)
                return
        assert self.marker is not None  # it has been looked at
        if began is not None and (why := self._resurrects(self.marker, stream, began)):
            self.note(stream, why)

    def _resurrects(self, marker: Marker, stream: str, began: float) -> str | None:
        """Why a batch may have brought back what nothing deletes any more, or None.

        A rebuild leaves no tombstone where no entry was. So a put may come back if the delete after
        it was never delivered, or its tombstone was lost.
        """
        if marker.gap is not None and marker.gap > self._now():
            return None  # that is noted already: no row has been read since
        if _is_older(stream, marker):
            return OLDER_STREAM
        return OLDER_DATA if began < marker.born else None

    def is_newest(self, stream: str) -> bool:
        """Whether the table is known to have no newer stream.

        Args:
            stream: the stream's ARN.
        """
        return self.marker is not None and not _is_older(stream, self.marker)

    def is_late(self, created: float) -> bool:
        """Whether a change comes so late that others may have been trimmed before it."""
        return self._now() - created > _OLD_SECONDS

    def note(self, stream: str, reason: str) -> None:
        """Write down that changes may be lacking, up to now.

        Raises:
            CacheError: the cache did not take it.
        """
        at = ceil(self._now()) + _CLOCKS_SECONDS
        note_gap(self._cache, self._views, stream=stream, at=at, reason=reason)
        logger.error("mirror incomplete", extra={"table": self._table, "reason": reason})
        held = self.marker or Marker()
        followed = held.stream if _is_older(stream, held) else stream
        self.marker = msgspec.structs.replace(
            held, stream=followed, views=self._fingerprint, gap=at, reason=reason
        )


def difference(marker: Marker, stream: str, views: str) -> str | None:
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


def has_other_source(marker: Marker, stream: str) -> bool:
    """Whether a table's stream is a newer one than any that the marker knows of.

    Args:
        marker: what the cache says.
        stream: ARN of the stream that the table has.
    """
    return all(_is_newer(stream, known) for known in (marker.stream, marker.source))


def _lost(before: Marker | None, now: Marker) -> str | None:
    """Why a mirror is incomplete as it was known before, if a failover lost that; or None."""
    if before is None or before.gap is None or now.gap is None or now.gap >= before.gap:
        return None
    return _LOST_NOTE + before.reason.removeprefix(_LOST_NOTE)


def _is_older(stream: str, marker: Marker) -> bool:
    """Whether the table has had a newer stream since, as far as the marker tells."""
    return 0 <= _epoch(stream) < max(_epoch(marker.stream), _epoch(marker.source))


def _is_newer(stream: str, than: str) -> bool:
    """Whether a stream's ARN is another one's than that of a stream, and not an older one's."""
    return stream != than and _epoch(stream) >= _epoch(than)


def _epoch(stream: str) -> int:
    with suppress(RecordError):
        return parse_stream_arn(stream).epoch
    return -1
