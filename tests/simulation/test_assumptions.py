"""What the fence rests on: without each, a schedule is found that breaks the promise.

The numbers are those of docs/ordering.md.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from tests.support.histories import History, Row, histories
from tests.support.schedules import NOTHING, Deliveries, Explored, State, ViolationError, explore

from dynamirror.records.version import ChangeVersion, supersedes

ANY = (True, True, True)


def tried_all(deliveries: Deliveries, settled: Callable[[State], bool], newest: int) -> Explored:
    """Try every schedule: once it has settled, all changes show."""

    def broken(state: State) -> str | None:
        if settled(state) and deliveries.shown(state.held[0]) != newest:
            return "not what the table holds"
        return None

    return explore(deliveries.start, deliveries.moves, broken, settled)


def came(deliveries: Deliveries, *writes: int) -> Callable[[State], bool]:
    """Whether these writes have all come."""
    return lambda state: set(writes) <= set(deliveries.came(state.left))


def trail_of(deliveries: Deliveries, settled: Callable[[State], bool], newest: int) -> str:
    """The first schedule that breaks the promise."""
    with pytest.raises(ViolationError) as caught:
        tried_all(deliveries, settled, newest)
    return " ".join(caught.value.trail)


# 1. Sequence numbers increase, and so do labels.


def renumbered(history: History, versions: dict[int, ChangeVersion]) -> Deliveries:
    """The changes with other versions, each up to twice."""
    writes = [
        write._replace(version=versions.get(write.includes, write.version))
        for write in history.changes()
    ]
    return Deliveries(writes, [2] * len(writes))


def test_sequence_numbers_that_fall_break_it() -> None:
    history = History((True, True), (10, 10))
    one = history.version(1)
    falls = ChangeVersion(one.epoch, one.sequence - 1, one.created)
    deliveries = renumbered(history, {2: falls})
    assert trail_of(deliveries, came(deliveries, 0, 1), 2) == "c1 c1 c2"


def test_a_new_stream_with_the_old_ones_label_breaks_it() -> None:
    history = History((True, True), (10, 10), renewed=1)
    two = history.version(2)
    unlabelled = ChangeVersion(history.version(1).epoch, two.sequence, two.created)
    deliveries = renumbered(history, {2: unlabelled})
    assert trail_of(deliveries, came(deliveries, 0, 1), 2) == "c1 c1 c2"


# 2. The creation times of one item's changes do not fall.


def test_creation_times_that_fall_make_the_rules_go_in_a_circle() -> None:
    """c2 beats c1 by number, a row between beats c2, and c1 beats the row."""
    history = History((True, True), (11, 10), (Row(as_of=11, holds=2),))
    c1, c2, row = (write.version for write in (*history.changes(), *history.readings()))
    assert supersedes(c2, c1)
    assert supersedes(row, c2)
    assert supersedes(c1, row)


def test_creation_times_that_fall_break_it_if_a_row_and_a_late_duplicate_meet_there() -> None:
    history = History((True, True), (11, 10), (Row(as_of=11, holds=2),))
    deliveries = history.deliveries(most=2)
    row = "r1(T=11,holds c2)"
    assert trail_of(deliveries, came(deliveries, 0, 1, 2), 2) == f"c1 c2 c2 {row} c1"


def test_creation_times_that_fall_do_no_harm_without_rows(tried: list[Explored]) -> None:
    for history in histories(3, gaps=(-1, 0, 1)):
        deliveries = history.deliveries(most=3)
        tried.append(tried_all(deliveries, came(deliveries, 2), 3))


# 3. A row holds every change made before its horizon: what the margin is for.


def test_a_row_that_lacks_a_change_from_before_its_horizon_breaks_it() -> None:
    history = History((True, True), (10, 20), (Row(as_of=21, holds=1),))
    deliveries = history.deliveries(most=1)
    assert trail_of(deliveries, came(deliveries, 1), 2) == "c1 c2 r1(T=21,holds c1)"


# 4. What the stream will not deliver any more lies before the horizon of the rows that mend it.


def mended(seconds: tuple[int, ...], as_of: int) -> tuple[Deliveries, Callable[[State], bool]]:
    """The last change was made while the stream was off; a row was read after it."""
    history = History(ANY[: len(seconds)], seconds, (Row(as_of, holds=len(seconds)),))
    writes = [*history.changes()[:-1], *history.readings()]
    deliveries = Deliveries(writes, [2] * len(writes))
    return deliveries, came(deliveries, len(writes) - 1)


@pytest.mark.parametrize("gaps", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_row_whose_horizon_lies_after_the_gap_mends_it(
    gaps: tuple[int, ...], tried: list[Explored]
) -> None:
    seconds = tuple(itertools.accumulate((10, *gaps)))
    deliveries, settled = mended(seconds, as_of=seconds[-2] + 1)
    tried.append(tried_all(deliveries, settled, len(seconds)))


@pytest.mark.parametrize("gaps", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_row_whose_horizon_lies_before_the_gap_may_not_mend_it(gaps: tuple[int, ...]) -> None:
    """It is refused, as the stream is trusted to deliver; but the stream never had the change."""
    seconds = tuple(itertools.accumulate((10, *gaps)))
    deliveries, settled = mended(seconds, as_of=seconds[-2])
    assert trail_of(deliveries, settled, len(seconds)).endswith("holds c3)")


# 5. The cache loses no write that it acknowledged.


class Failover(NamedTuple):
    """What the primary holds, what its replica holds, and what has come since it took over."""

    left: tuple[int, ...]
    held: int
    replica: int
    since: frozenset[int] | None


class FailingOver:
    """A cache whose primary is lost once, with what its replica had not yet copied.

    Args:
        deliveries: what comes before and after.
        only_after: writes that come only after it.
    """

    def __init__(self, deliveries: Deliveries, *only_after: int) -> None:
        self.deliveries = deliveries
        self.only_after = only_after
        self.start = Failover(deliveries.start.left, NOTHING, NOTHING, None)

    def moves(self, state: Failover) -> Iterator[tuple[str, Failover]]:
        """A write comes, the replica catches up, or it takes over."""
        for index, times in enumerate(state.left):
            if times and (index not in self.only_after or state.since is not None):
                left = (*state.left[:index], times - 1, *state.left[index + 1 :])
                (held,) = self.deliveries.written(index, (state.held,))
                since = None if state.since is None else state.since | {index}
                name = self.deliveries.writes[index].name
                yield name, Failover(left, held, state.replica, since)
        if state.since is None:
            if state.replica != state.held:
                yield "copy", state._replace(replica=state.held)
            yield "failover", state._replace(held=state.replica, since=frozenset())

    def explore(self, settled: Callable[[Failover], bool], newest: int) -> Explored:
        """Try every schedule: once it has settled, all changes show."""

        def broken(state: Failover) -> str | None:
            if settled(state) and self.deliveries.shown(state.held) != newest:
                return "not what the table holds"
            return None

        return explore(self.start, self.moves, broken, settled)


def came_after(*writes: int) -> Callable[[Failover], bool]:
    """Whether these writes have come since the failover."""
    return lambda state: state.since is not None and state.since.issuperset(writes)


def test_a_failover_that_loses_a_write_leaves_the_entry_behind() -> None:
    history = History((True, True), (10, 11))
    failing = FailingOver(history.deliveries(most=1))

    def delivered(state: Failover) -> bool:
        return not any(state.left)

    with pytest.raises(ViolationError) as caught:
        failing.explore(delivered, 2)
    assert caught.value.trail[-1] == "failover"


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_items_next_change_heals_what_a_failover_lost(
    length: int, tried: list[Explored]
) -> None:
    for history in histories(length):
        failing = FailingOver(history.deliveries(most=2))
        tried.append(failing.explore(came_after(length - 1), length))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_row_whose_horizon_lies_after_the_failover_heals_it(
    length: int, tried: list[Explored]
) -> None:
    for history in histories(length):
        late = Row(history.seconds[-1] + 1, holds=length)
        healed = History(history.puts, history.seconds, (late,), history.renewed)
        failing = FailingOver(healed.deliveries(most=2), length)
        tried.append(failing.explore(came_after(length), length))


def test_a_row_whose_horizon_lies_before_the_failover_may_not_heal_it() -> None:
    """After the row comes a late duplicate of c1, and c2 was acknowledged long ago."""
    history = History((True, True), (10, 10), (Row(10, holds=2),))
    failing = FailingOver(history.deliveries(most=1), 2)
    with pytest.raises(ViolationError) as caught:
        failing.explore(came_after(2), 2)
    assert "failover" in caught.value.trail
