"""Distinguish changes on their way from wrong entries, over several comparisons."""

from collections.abc import Callable, Iterable

from dynamirror.cache.entry_state import EntryState, matches
from dynamirror.page.state import Verdict

# How long a change may take to get into the stream, in seconds.
_STREAM_SECONDS = 1.0


class DifferenceTracker:
    """Remembers when each difference first appeared.

    An entry is wrong if its difference outlasts the delivery of everything that was in the stream
    when the difference appeared.
    """

    def __init__(self) -> None:
        self._differences: dict[str, tuple[EntryState, EntryState, float]] = {}

    def verdict(
        self,
        key: str,
        expected: EntryState,
        held: EntryState,
        *,
        now: float,
        delivered: Callable[[float], bool],
    ) -> Verdict:
        """Compare an entry with the table, and return the verdict.

        Args:
            key: the entry's key.
            expected: state that the table implies.
            held: state in the cache, read after the table.
            now: time of the table's read, by the delivery's clock.
            delivered: checks whether everything in the stream at a time has been delivered.
        """
        if matches(held, expected):
            self._differences.pop(key, None)
            return Verdict.SAME
        before = self._differences.get(key)
        if before is None or before[:2] != (expected, held):
            self._differences[key] = (expected, held, now)
            return Verdict.MOVING
        settled = before[2] + _STREAM_SECONDS
        if now < settled or not delivered(settled):
            return Verdict.MOVING
        if expected.value is None:
            return Verdict.ORPHANED
        return Verdict.MISSING if held.value is None else Verdict.DIFFERENT

    def forget(self, keys: Iterable[str]) -> None:
        """Drop the differences of entries that are no longer compared."""
        for key in keys:
            self._differences.pop(key, None)
