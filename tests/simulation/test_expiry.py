"""Fences expire: how late a write may come without doing harm, exactly.

Time passes in units; only their order matters. A fence lives three of them (26 hours, really), a
stream keeps a change for two (24 hours), and a margin is one (60 seconds).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from tests.support.histories import FIRST_SECOND, History, Row
from tests.support.schedules import NOTHING, Explored, State, ViolationError, Write, explore

from dynamirror.records.version import SnapshotVersion

STREAM, FENCE = 2, 3
GAPS = (0, 1, 2, FENCE, FENCE + 1)


class Moment(NamedTuple):
    """A time, what may still come, what the entry shows, and what its fence says since when."""

    now: int
    left: tuple[int, ...]
    shown: int
    fence: int
    since: int


@dataclass(frozen=True)
class Lives:
    """How long things last, in units.

    Args:
        change: a change reaches the cache less than this after it was made.
        row: a row reaches the cache less than this after its horizon.
        fence: a fence may be gone from then on after it was written.
    """

    change: int = FENCE
    row: int = FENCE
    fence: int = FENCE


class Timed:
    """Writes that reach the cache while time passes and fences go."""

    def __init__(self, history: History, lives: Lives, *, most: int) -> None:
        self.fenced = history.deliveries(most=most)
        self.history = history
        self.lives = lives
        self.windows = [self._window(write) for write in self.fenced.writes]
        self.end = max(until for _, until in self.windows)
        left = self.fenced.start.left
        self.start = Moment(history.seconds[0], left, NOTHING, NOTHING, 0)

    def _window(self, write: Write) -> tuple[int, int]:
        """From when on and until when a write may come."""
        if isinstance(write.version, SnapshotVersion):
            as_of = write.version.as_of - FIRST_SECOND
            made = self.history.seconds[write.includes - 1] if write.includes else as_of
            return max(as_of, made), as_of + self.lives.row
        made = self.history.seconds[write.includes - 1]
        return made, made + self.lives.change

    def moves(self, at: Moment) -> Iterator[tuple[str, Moment]]:
        """A write comes, the fence goes, or time passes."""
        for index, times in enumerate(at.left):
            since, until = self.windows[index]
            if times and since <= at.now < until:
                left = (*at.left[:index], times - 1, *at.left[index + 1 :])
                name = f"{at.now}:{self.fenced.writes[index].name}"
                if self.fenced.wins[index][at.fence]:
                    yield name, Moment(at.now, left, index, index, at.now)
                else:
                    yield name, at._replace(left=left)
        if at.fence != NOTHING and at.now >= at.since + self.lives.fence:
            yield f"{at.now}:fence-expires", at._replace(fence=NOTHING, since=0)
        if at.now < self.end:
            yield "", at._replace(now=at.now + 1)

    def done(self, at: Moment) -> bool:
        """The newest change has come, and nothing can come any more."""
        newest = self.history.length - 1
        return at.now == self.end and at.left[newest] < self.fenced.start.left[newest]

    def broken(self, at: Moment) -> str | None:
        """The entry may never show less than what has reached it."""
        return self.fenced.looks_back(State(at.left, (at.shown,)))

    def explore(self) -> Explored:
        """Try every schedule and every timing."""
        return explore(self.start, self.moves, self.broken, self.done)


def timed_histories(length: int, *, rows: bool) -> Iterator[History]:
    """Changes at spacings about a fence's life, and one row that was read at any of its times."""
    for spacing in itertools.product(GAPS, repeat=length - 1):
        seconds = tuple(itertools.accumulate((10, *spacing)))
        puts = tuple(number % 2 == 0 for number in range(length))
        for row in readings(seconds) if rows else (None,):
            for renewed in (None, *range(1, length)):
                yield History(puts, seconds, (row,) if row else (), renewed)


def readings(seconds: tuple[int, ...]) -> list[Row]:
    """Rows read at each unit of time, with a horizon up to a margin before."""
    return [
        Row(as_of, holds)
        for as_of in range(seconds[0] - 1, seconds[-1] + 2)
        for holds in range(
            sum(second < as_of for second in seconds),
            sum(second <= as_of + 1 for second in seconds) + 1,
        )
    ]


@pytest.mark.parametrize(("length", "rows"), [(2, False), (3, False), (1, True), (2, True)])
def test_writes_that_come_within_a_fences_life_converge(
    length: int,
    rows: bool,  # noqa: FBT001 - a column of the table
    tried: list[Explored],
) -> None:
    """A change less than that after it was made, a row less than that after its horizon."""
    most = 3 if length < 3 else 2
    tried.extend(
        Timed(history, Lives(), most=most).explore()
        for history in timed_histories(length, rows=rows)
    )


def counterexample(length: int, lives: Lives, *, rows: bool) -> tuple[str, ...]:
    """The steps of the first schedule that breaks a promise; none if there is no such schedule."""
    try:
        for history in timed_histories(length, rows=rows):
            Timed(history, lives, most=1).explore()
    except ViolationError as violation:
        return tuple(step for step in violation.trail if step)
    return ()


def test_a_change_that_comes_one_unit_later_than_that_can_overwrite_a_newer_one() -> None:
    """The zombie: c2 was applied the moment c1 was made, and its fence is gone when c1 comes."""
    steps = counterexample(2, Lives(change=FENCE + 1), rows=False)
    assert steps == ("10:c2", "13:fence-expires", "13:c1")


def test_a_row_that_comes_one_unit_later_than_that_can_overwrite_a_newer_change() -> None:
    steps = counterexample(1, Lives(row=FENCE + 1), rows=True)
    assert steps == ("10:c1", "13:fence-expires", "13:r1(T=10,holds c0)")


def test_a_fence_that_goes_early_lets_an_older_change_in() -> None:
    """Which is why fences must not be evicted."""
    steps = counterexample(2, Lives(fence=0), rows=False)
    assert steps == ("10:c2", "10:fence-expires", "10:c1")


def test_the_bound_is_the_fences_life_and_not_what_it_exceeds_the_streams_by(
    tried: list[Explored],
) -> None:
    """A row may come long after 26 h - 24 h, as long as it comes within 26 h of its horizon."""
    tried.extend(
        Timed(history, Lives(change=STREAM, row=FENCE), most=2).explore()
        for history in timed_histories(2, rows=True)
    )
