"""Whether what the cache lacks, the table lacks: as the mirror's marker tells."""

from typing import Any

from dynamirror.cache.completeness_marker import CompletenessMarker, parse_marker
from dynamirror.cache.scripts import Command
from dynamirror.reader.guarded import DOWN, Guarded
from dynamirror.views.keyspace import completeness_marker_key


class Vouching:
    """The marker of a mirror, as it was read.

    A marker that says complete tells nothing of what was looked for before it was read: a rebuild
    may have ended in between. So an entry is absent if it was missing between two readings of one
    and the same complete marker.

    Args:
        cache: the cache.
        table: the table's name.
        views: fingerprint of the views that are read.
    """

    def __init__(self, cache: Guarded, table: str, views: str) -> None:
        key = completeness_marker_key(table).encode()
        self.reading = Command(key, (b"HGETALL", key))
        self._cache = cache
        self._views = views
        self.seen: CompletenessMarker | None = None

    def look(self) -> CompletenessMarker | None:
        """Read the marker; None unless it says complete."""
        return self.saw(self._cache.ask(self.reading))

    def saw(self, reply: Any) -> CompletenessMarker | None:
        """The same, of what the cache answered to `reading`."""
        marker = None if reply is DOWN or not reply else parse_marker(reply)
        # Read in other views than were written, what is missing tells nothing.
        complete = marker and marker.is_complete and marker.views == self._views
        self.seen = marker if complete else None
        return self.seen

    def begin(self) -> CompletenessMarker | None:
        """The marker as it was read last, or as it is now."""
        return self.seen or self.look()
