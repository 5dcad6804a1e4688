"""Decides by the completeness marker whether an item missing in the cache is absent."""

from typing import Any

from dynamirror.cache.completeness_marker import CompletenessMarker, parse_marker
from dynamirror.cache.scripts import Command
from dynamirror.reader.guarded_cache import DOWN, GuardedCache
from dynamirror.views.keyspace import completeness_marker_key


class CompletenessCheck:
    """The completeness marker, as a reader last read it.

    A rebuild may end between a miss and the read of a complete marker. So an item is absent only if
    its entry was missing between two reads of the same complete marker.

    Args:
        cache: the cache.
        table: the table's name.
        views: fingerprint of the reader's views.
    """

    def __init__(self, cache: GuardedCache, table: str, views: str) -> None:
        key = completeness_marker_key(table).encode()
        self.reading = Command(key, (b"HGETALL", key))
        self._cache = cache
        self._views = views
        self.seen: CompletenessMarker | None = None

    def look(self) -> CompletenessMarker | None:
        """Read the marker; returns None unless it is complete."""
        return self.saw(self._cache.ask(self.reading))

    def saw(self, reply: Any) -> CompletenessMarker | None:
        """Return the marker in the cache's answer to `reading`, if it is complete."""
        marker = None if reply is DOWN or not reply else parse_marker(reply)
        # In other views than those written, a missing entry proves nothing.
        complete = marker and marker.is_complete and marker.views == self._views
        self.seen = marker if complete else None
        return self.seen

    def begin(self) -> CompletenessMarker | None:
        """Return the marker as it was read last, or as it is now."""
        return self.seen or self.look()
