"""The fence, checked exhaustively: every schedule of small histories, in the pure model."""

import itertools
from collections.abc import Iterable

import pytest
from tests.support.builders import item, view
from tests.support.histories import History, Row, histories
from tests.support.schedules import NOTHING, Deliveries, Explored, State, explore

from dynamirror.cache.writer import _newest
from dynamirror.records.version import ChangeVersion, supersedes
from dynamirror.views.batch_result import Report
from dynamirror.views.entry import Put


def converges(history: History, deliveries: Deliveries) -> Explored:
    """Try every schedule: from the newest change on, the cache holds what the table holds.

    And never does it show less than what has reached it. A schedule may end wherever the newest
    change has come; those before it may have been coalesced away.
    """
    newest = history.length - 1

    def done(state: State) -> bool:
        return state.left[newest] < deliveries.start.left[newest]

    def broken(state: State) -> str | None:
        if done(state):
            held = state.held[0]
            value = deliveries.writes[held].value if held != NOTHING else None
            if value != history.value_after(history.length):
                return f"{history} ends with {value}"
        return deliveries.looks_back(state)

    return explore(deliveries.start, deliveries.moves, broken, done)


def total(explored: Iterable[Explored]) -> Explored:
    """The sum of what was tried."""
    schedules, states = map(sum, zip(*explored, strict=True))
    return Explored(schedules, states)


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_changes_in_any_order_each_up_to_three_times_converge(
    length: int, tried: list[Explored]
) -> None:
    tried.append(
        total(converges(history, history.deliveries(most=3)) for history in histories(length))
    )


@pytest.mark.parametrize(
    ("length", "rows", "most"), [(1, 1, 3), (1, 3, 3), (2, 1, 3), (2, 2, 3), (3, 1, 3), (3, 2, 1)]
)
def test_rows_read_at_any_moment_with_any_error_of_the_clock_converge(
    length: int, rows: int, most: int, tried: list[Explored]
) -> None:
    tried.append(
        total(
            converges(history, history.deliveries(most=most, rows_most=min(most, 2)))
            for history in histories(length, rows=rows)
        )
    )


@pytest.mark.parametrize(("length", "rows"), [(3, 0), (3, 2), (4, 1)])
def test_the_rules_put_all_versions_in_one_order(length: int, rows: int) -> None:
    """From which the rest follows: a fence only ever moves up it, and ends at the top."""
    for history in histories(length, rows=rows):
        versions = {w.version for w in (*history.changes(), *history.readings())}
        for one, two in itertools.combinations(versions, 2):
            assert supersedes(one, two) != supersedes(two, one)
        for one, two, three in itertools.permutations(versions, 3):
            if supersedes(one, two) and supersedes(two, three):
                assert supersedes(one, three)


def test_after_a_row_changes_younger_than_its_horizon_may_replay_for_a_moment() -> None:
    """The price of the margin: the row held c2 already, and c1 shows until c2 comes again."""
    history = History((True, True), (10, 11), (Row(as_of=10, holds=2),))
    c1, c2, row = range(3)
    fence = history.deliveries(most=1)
    held = fence.written(row, (NOTHING,))
    shown = [fence.shown(*held)]
    for write in (c1, c2):
        held = fence.written(write, held)
        shown.append(fence.shown(*held))
    assert shown == [2, 1, 2]


def test_after_a_row_no_change_from_before_its_horizon_replays() -> None:
    history = History((True, True), (10, 11), (Row(as_of=11, holds=1),))
    fence = history.deliveries(most=1)
    held = fence.written(2, (NOTHING,))
    assert fence.written(0, held) == held


def test_a_coalesced_batch_does_what_its_changes_would_do_one_by_one() -> None:
    by_id = view()
    for history in histories(3, rows=1):
        fence = history.deliveries(most=1)
        puts = [
            Put(by_id, "k", write.version, item("1")) for write in fence.writes[: history.length]
        ]
        assert all(isinstance(put.version, ChangeVersion) for put in puts)
        numbers = {id(put): number for number, put in enumerate(puts)}
        for batch in itertools.product(range(history.length), repeat=3):
            (newest,) = _newest([puts[number] for number in batch], Report())
            for held in range(NOTHING, len(fence.writes)):
                one_by_one: tuple[int, ...] = (held,)
                for number in batch:
                    one_by_one = fence.written(number, one_by_one)
                assert fence.written(numbers[id(newest)], (held,)) == one_by_one
