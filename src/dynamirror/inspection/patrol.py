"""The patrol: reads parts of a table at random, so that quiet items are inspected, too."""

from collections.abc import Callable, Iterator
from math import inf
from random import Random
from time import monotonic

from dynamirror.dynamodb.items import SnapshotRow
from dynamirror.dynamodb.scan import Scan, ScanPage, Segment
from dynamirror.errors import SourceError
from dynamirror.inspection.inspector import Inspector


class Patrol:
    """Reads a table page by page, in random order, and hands its rows to an inspector.

    Args:
        scan: reads the table consistently, with its rate and its page limit.
        inspector: takes the rows.
        keys: names of the key attributes.
        rng: the random source.
        segments: parts of the table, whose order is random.
        round_seconds: seconds between the begins of two rounds at the least: an item that is read
            again sooner proves little.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        scan: Scan,
        inspector: Inspector,
        keys: tuple[str, ...],
        *,
        rng: Random,
        segments: int = 10,
        round_seconds: float = 60.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._scan = scan
        self._inspector = inspector
        self._keys = keys
        self._rng = rng
        self._segments = segments
        self._round_seconds = round_seconds
        self._clock = clock
        self._next_round = -inf
        self._pages: Iterator[ScanPage] = iter(())

    def step(self) -> int | None:
        """Read one page, and return the number of its items; None between two rounds.

        Raises:
            SourceError: the table cannot be read; the next round begins in its time.
        """
        try:
            page = next(self._pages, None)
        except SourceError:
            self._pages = iter(())
            raise
        if page is None:
            if self._clock() < self._next_round:
                return None
            self._next_round = self._clock() + self._round_seconds
            self._pages = self._round()
            return self.step()
        rows = (
            SnapshotRow({name: item[name] for name in self._keys}, item, page.version)
            for item in page.items
        )
        self._inspector.receive_rows(rows)
        return len(page.items)

    def _round(self) -> Iterator[ScanPage]:
        """Yield the pages of the table."""
        segments = range(self._segments)
        for index in self._rng.sample(segments, len(segments)):
            yield from self._scan.pages(Segment(index, len(segments)))
