"""Small histories of one item, and the rows that can be read meanwhile. Pure."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.support.schedules import Deliveries, Write

from dynamirror.records.version import ChangeVersion, SnapshotVersion

FIRST_SECOND = 1_790_000_000
EPOCHS = (1_790_000_000_000, 1_790_000_000_001)
# Forty digits, of which a double holds the first sixteen; the second stream begins lower.
FIRST_SEQUENCES = (4_981_237_498_123_749_812_374_981_237_498_123_749_810, 10**20)


@dataclass(frozen=True)
class Row:
    """One reading of the item.

    Args:
        horizon: the second it claims to hold all changes before.
        holds: how many changes it really holds.
    """

    as_of: int
    holds: int


@dataclass(frozen=True)
class History:
    """The changes of one item, oldest first; whoever made them, the table put them in a row.

    Args:
        puts: for each change, whether it is a put (else a delete).
        seconds: for each change, the second it was made in.
        rows: readings of the item.
        renewed: the stream was switched off and on again before the change of this number.
    """

    puts: tuple[bool, ...]
    seconds: tuple[int, ...]
    rows: tuple[Row, ...] = ()
    renewed: int | None = None

    @property
    def length(self) -> int:
        """How many changes there are."""
        return len(self.puts)

    def value_after(self, count: int) -> str | None:
        """What the table holds after some of the changes."""
        return f"v{count}" if count and self.puts[count - 1] else None

    def changes(self) -> list[Write]:
        """The changes as the stream tells them."""
        return [
            Write(f"c{count}", self.version(count), self.value_after(count), count, count)
            for count in range(1, self.length + 1)
        ]

    def version(self, count: int) -> ChangeVersion:
        """The version of a change, counted from 1."""
        stream = int(self.renewed is not None and count > self.renewed)
        return ChangeVersion(
            EPOCHS[stream], FIRST_SEQUENCES[stream] + count, FIRST_SECOND + self.seconds[count - 1]
        )

    def surely_in(self, as_of: int) -> int:
        """How many changes a row with that horizon has to hold."""
        return sum(second < as_of for second in self.seconds)

    def readings(self) -> list[Write]:
        """The rows as they are written."""
        return [
            Write(
                f"r{number}(T={row.as_of},holds c{row.holds})",
                SnapshotVersion(FIRST_SECOND + row.as_of),
                self.value_after(row.holds),
                row.holds,
                self.surely_in(row.as_of),
            )
            for number, row in enumerate(self.rows, 1)
        ]

    def deliveries(self, *, most: int, rows_most: int = 1) -> Deliveries:
        """Every change up to so many times, every row too."""
        return Deliveries(
            [*self.changes(), *self.readings()],
            [most] * self.length + [rows_most] * len(self.rows),
        )


def histories(length: int, *, rows: int = 0, gaps: Sequence[int] = (0, 1)) -> Iterator[History]:
    """Every pattern of puts and deletes, of spacings, of streams and of rows.

    The rules only compare, so two spacings stand for all: in the same second, or later.
    """
    for puts in itertools.product((True, False), repeat=length):
        for spacing in itertools.product(gaps, repeat=length - 1):
            seconds = tuple(itertools.accumulate((10, *spacing)))
            for chosen in itertools.combinations_with_replacement(readings(seconds), rows):
                for renewed in (None, *range(1, length)):
                    yield History(puts, seconds, chosen, renewed)


def readings(seconds: Sequence[int]) -> list[Row]:
    """Every row that can be read: at each horizon that makes a difference, holding enough.

    Clock and read may be off by as much as the margin makes up for: a row holds every change made
    before its horizon, and any number of later ones.
    """
    horizons = sorted({second + offset for second in seconds for offset in (0, 1)})
    return [
        Row(as_of, holds)
        for as_of in horizons
        for holds in range(sum(second < as_of for second in seconds), len(seconds) + 1)
    ]


def any_history(chance: random.Random) -> History:
    """One of those histories, of up to five changes and three rows."""
    length = chance.randint(1, 5)
    puts = tuple(chance.random() < 0.6 for _ in range(length))
    seconds = tuple(itertools.accumulate(chance.choice((0, 0, 1, 60)) for _ in range(length)))
    rows = tuple(chance.choices(readings(seconds), k=chance.randint(0, 3)))
    return History(puts, seconds, rows, chance.choice((None, *range(1, length))))
