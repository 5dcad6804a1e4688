"""Detects that a mirror has become incomplete, and records it."""

import logging
from collections.abc import Callable, Sequence
from math import ceil
from time import monotonic, time
from typing import Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import (
    NO_MARKER,
    OLDER_DATA,
    OLDER_STREAM,
    SKIPPED,
    CompletenessMarker,
    difference,
    read_marker,
    record_gap,
    stream_epoch,
)
from dynamirror.log_lines import log
from dynamirror.views.view import View, fingerprint

logger = logging.getLogger("dynamirror")

_LOST_NOTE: Final = "the cache went back to before this was noted: "


# A record that is about to be trimmed: others may have been, before they were read.
_OLD_SECONDS: Final = 23 * 3600


_LOOK_SECONDS: Final = 1.0


# By how much our clock may be behind DynamoDB's, which stamps the changes.
_CLOCKS_SECONDS: Final = 2


class GapDetector:
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
        self.views = views
        self._table = views[0].schema.table
        self._fingerprint = fingerprint(views)
        self._clock = clock
        self._now = now
        self._looked = float("-inf")
        self._has_seen_marker = False
        self.marker: CompletenessMarker | None = None

    def check(
        self, stream: str, oldest: float | None = None, *, began: float | None = None
    ) -> None:
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
                self.record_gap(stream, reason)
                return
        other = self.marker is not None and stream != self.marker.stream
        if other or self._clock() - self._looked >= _LOOK_SECONDS:
            before = self.marker
            self.marker = read_marker(self._cache, self._table)
            self._looked = self._clock()
            self._has_seen_marker |= self.marker.gap is not None
            why = difference(self.marker, stream, self._fingerprint)
            why = why or _lost(before, self.marker)
            if why is not None:
                self.record_gap(stream, why)
                return
        assert self.marker is not None  # it has been looked at
        if began is not None and (why := self._resurrects(self.marker, stream, began)):
            self.record_gap(stream, why)

    def _resurrects(self, marker: CompletenessMarker, stream: str, began: float) -> str | None:
        """Return why a batch may have restored entries that nothing deletes, or None.

        A rebuild leaves no tombstone where no entry was. So a put may come back if the delete after
        it was never delivered, or its tombstone was lost.
        """
        if marker.gap is not None and marker.gap > self._now():
            return None  # that is noted already: no row has been read since
        if _is_older(stream, marker):
            return OLDER_STREAM
        return OLDER_DATA if began < marker.born else None

    def is_newest(self, stream: str) -> bool:
        """Return whether the table is known to have no newer stream.

        Args:
            stream: the stream's ARN.
        """
        return self.marker is not None and not _is_older(stream, self.marker)

    def is_late(self, created: float) -> bool:
        """Return whether a change comes so late that others may have been trimmed before it."""
        return self._now() - created > _OLD_SECONDS

    def record_gap(self, stream: str, reason: str) -> None:
        """Write down that changes may be lacking, up to now.

        Raises:
            CacheError: the cache did not take it.
        """
        at = ceil(self._now()) + _CLOCKS_SECONDS
        record_gap(self._cache, self.views, stream=stream, at=at, reason=reason)
        # A cache without a marker is new, unless this process has seen one.
        is_new = reason == NO_MARKER and not self._has_seen_marker
        level = logging.INFO if is_new or reason == SKIPPED else logging.ERROR
        log(logger, level, "mirror incomplete", {"table": self._table, "reason": reason})
        self._has_seen_marker = True
        held = self.marker or CompletenessMarker()
        followed = held.stream if _is_older(stream, held) else stream
        self.marker = msgspec.structs.replace(
            held, stream=followed, views=self._fingerprint, gap=at, reason=reason
        )


def _lost(before: CompletenessMarker | None, now: CompletenessMarker) -> str | None:
    """Return the reason of an earlier gap that a failover lost, or None."""
    if before is None or before.gap is None or now.gap is None or now.gap >= before.gap:
        return None
    return _LOST_NOTE + before.reason.removeprefix(_LOST_NOTE)


def _is_older(stream: str, marker: CompletenessMarker) -> bool:
    """Return whether the marker names a newer stream of the table."""
    return 0 <= stream_epoch(stream) < max(stream_epoch(marker.stream), stream_epoch(marker.source))
