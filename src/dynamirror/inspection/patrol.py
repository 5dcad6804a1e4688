"""The patrol: reads parts of a table at random, so that quiet items are inspected, too."""

from collections.abc import Iterator
from random import Random

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
    """

    def __init__(
        self,
        scan: Scan,
        inspector: Inspector,
        keys: tuple[str, ...],
        *,
        rng: Random,
        segments: int = 100,
    ) -> None:
        self._scan = scan
        self._inspector = inspector
        self._keys = keys
        self._rng = rng
        self._segments = segments
        self._rounds = self._pages()

    def step(self) -> int:
        """Read one page, and return the number of its items.

        Raises:
            SourceError: the table cannot be read; the next step goes on elsewhere.
        """
        try:
            page = next(self._rounds)
        except SourceError:
            self._rounds = self._pages()
            raise
        rows = (
            SnapshotRow({name: item[name] for name in self._keys}, item, page.version)
            for item in page.items
        )
        self._inspector.receive_rows(rows)
        return len(page.items)

    def _pages(self) -> Iterator[ScanPage]:
        """Yield the pages of the table, over and over."""
        segments = range(self._segments)
        while True:
            for index in self._rng.sample(segments, len(segments)):
                yield from self._scan.pages(Segment(index, len(segments)))
