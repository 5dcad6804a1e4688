"""Decides by the completeness marker whether what the cache holds, or lacks, is the table's."""

from typing import Any, Final

from dynamirror.cache.completeness_marker import CompletenessMarker, parse_marker
from dynamirror.cache.scripts import Command
from dynamirror.reader.guarded_cache import DOWN
from dynamirror.reader.steps import Reason, Steps
from dynamirror.views.keyspace import completeness_marker_key

# So often the marker may change while a read is under way.
ATTEMPTS: Final = 2


class CompletenessCheck:
    """The completeness marker, as a reader last read it.

    A rebuild may end between a read of the cache and the read of a complete marker. So what was
    read counts only if it was read between two reads of the same complete marker.

    Args:
        table: the table's name.
        views: fingerprint of all views of the table.
    """

    def __init__(self, table: str, views: str) -> None:
        key = completeness_marker_key(table).encode()
        self.reading = Command(key, (b"HGETALL", key))
        self._views = views
        # The newest answer and what it says: replaced together, since threads share them.
        self._last: tuple[Any, CompletenessMarker | None] = (None, None)

    @property
    def seen(self) -> CompletenessMarker | None:
        """Return the marker as it was read last; None unless it was complete."""
        return self._last[1]

    @property
    def reason(self) -> Reason:
        """Return why nothing can be read while `seen` is None."""
        return Reason.DOWN if self._last[0] is DOWN else Reason.INCOMPLETE

    def look(self) -> Steps[CompletenessMarker | None]:
        """Read the marker; returns None unless it is complete."""
        (reply,) = yield [self.reading]
        return self.saw(reply)

    def saw(self, reply: Any) -> CompletenessMarker | None:
        """Return the marker in the cache's answer to `reading`, if it is complete."""
        last, marker = self._last
        if marker is not None and reply == last:  # parsing it again takes longer
            return marker
        marker = None if reply is DOWN or not reply else parse_marker(reply)
        # In other views than those written, a missing entry proves nothing.
        if marker and not (marker.is_complete and marker.views == self._views):
            marker = None
        self._last = (reply, marker)
        return marker

    def begin(self) -> Steps[CompletenessMarker | None]:
        """Return the marker as it was read last, or as it is now."""
        return self.seen or (yield from self.look())
