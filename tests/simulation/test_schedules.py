"""The explorer itself: merging schedules loses none and finds what is wrong."""

import itertools

import pytest
from tests.support.histories import History, Row
from tests.support.schedules import State, ViolationError, explore


@pytest.mark.parametrize("rows", [(), (Row(11, holds=1),)])
@pytest.mark.parametrize("most", [1, 2])
def test_merged_schedules_are_as_many_as_one_by_one(rows: tuple[Row, ...], most: int) -> None:
    deliveries = History((True, False), (10, 11), rows).deliveries(most=most, rows_most=most)
    newest = 1

    def done(state: State) -> bool:
        return newest in deliveries.came(state.left)

    merged = explore(deliveries.start, deliveries.moves, deliveries.looks_back, done)

    writes = range(len(deliveries.writes))
    lengths = range(most * len(writes) + 1)
    orders = itertools.chain.from_iterable(itertools.product(writes, repeat=n) for n in lengths)
    assert merged.schedules == sum(
        newest in order and all(order.count(write) <= most for write in writes) for order in orders
    )


def test_a_schedule_that_breaks_a_promise_is_told_step_by_step() -> None:
    deliveries = History((True, True), (10, 11)).deliveries(most=1)

    def broken(state: State) -> str | None:
        return "c1 came last" if state.left == (0, 0) and state.held == (1,) else None

    with pytest.raises(ViolationError, match="c1 came last: c1 c2") as caught:
        explore(deliveries.start, deliveries.moves, broken, lambda _: False)
    assert caught.value.trail == ("c1", "c2")
