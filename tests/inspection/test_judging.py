"""A cache that keeps its promise is never called wrong, and each fault is found by its kind."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.inspected import BEGIN, Simulation

from dynamirror.inspection import judgement, pending
from dynamirror.inspection.judgement import ViolationKind
from dynamirror.records.stream_record import Change
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.encoding import HASH
from dynamirror.views.index import IndexSpec
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import ViewSpec

VIEWS = {
    "plain": ViewSpec(),
    "hash": ViewSpec(encoding=HASH),
    "moving": ViewSpec(key="u:{city}:{id}"),
    "when": ViewSpec(when={"city": "a"}),
    "ttl": ViewSpec(ttl="ends"),
    "board": ViewSpec(name="board", index=IndexSpec(partition="city"), score="points"),
    "index": ViewSpec(name="by_city", index=IndexSpec(partition="city", sort="points")),
}
# Shorter than the last threshold: a mirror that is further behind is wrong.
MOST_LAG = 7.0


def attributes(text: str, city: str = "a", points: int = 1, ends: int = 10**11) -> dict[str, Any]:
    """Return the attributes of an item."""
    numbers = {"points": {"N": str(points)}, "ends": {"N": str(ends)}}
    return {"text": {"S": text}, "city": {"S": city}, **numbers}


writes = st.lists(
    st.tuples(
        st.floats(0, 15),  # when
        st.sampled_from(["1", "2"]),
        st.none()
        | st.builds(
            attributes,
            st.sampled_from("xy"),
            st.sampled_from("ab"),
            st.integers(1, 2),
            st.sampled_from([int(BEGIN) + 8, int(BEGIN) + 20, 10**11]),
        ),
        st.lists(st.floats(0, MOST_LAG), min_size=1, max_size=2),  # deliveries to the cache
        st.floats(0, 12),  # to the inspector
    ),
    min_size=1,
    max_size=14,
)


@pytest.mark.parametrize("fences", ["fences", "plain"])
@pytest.mark.parametrize("name", VIEWS)
@settings(max_examples=30)
@given(data=st.data())
def test_a_cache_that_keeps_its_promise_is_never_called_wrong(
    name: str, fences: str, data: st.DataObject
) -> None:
    """Any order of writes, deliveries, receptions, rows and reads, in a mirror with lag."""
    simulation = Simulation(VIEWS[name], seed=data.draw(st.integers(0, 2**32)))
    simulation.cache.is_fenced = is_fenced = fences == "fences"
    simulation.tick_seconds = data.draw(st.sampled_from([0.001, 0.2, 1.0]))

    def write(item_id: str, item: dict[str, Any] | None, lags: list[float], delay: float) -> None:
        made = simulation.now - BEGIN
        change = simulation.write(item_id, **item or {})
        # Without fences, each item's changes come once and in order.
        for lag in lags if is_fenced else [MOST_LAG]:
            simulation.at(made + lag, lambda: simulation.apply(change))
        # Only a fence can order changes of which the inspector does not know yet.
        received = made + (delay if is_fenced else min(delay, 2.0))
        simulation.at(received, lambda: simulation.inspector.receive([change]))

    def walk() -> None:
        keys = [{"id": {"S": "1"}}, {"id": {"S": "2"}}]
        simulation.inspector.receive_rows(list(simulation.read_table(keys)))

    for at, item_id, item, lags, delay in data.draw(writes):
        simulation.at(at, lambda i=item_id, a=item, g=lags, d=delay: write(i, a, g, d))  # type: ignore[misc]
    for at in data.draw(st.lists(st.floats(0, 25), max_size=4)):
        simulation.at(at, walk)
    simulation.run(30)
    assert simulation.kinds() == {}


def test_a_change_that_came_and_went_is_no_violation_where_there_is_no_fence() -> None:
    """An item is deleted, put and deleted; of the first deletion the inspector learns last."""
    simulation = Simulation()
    simulation.cache.is_fenced = False
    first = simulation.write("1")
    second = simulation.changed("1", **attributes("right"))
    assert second.new is not None
    simulation.advance(9)
    third = simulation.write("1")
    simulation.inspector.receive([third])
    simulation.at(16, lambda: simulation.apply(third))
    simulation.run(3)
    simulation.inspector.receive([first])
    assert simulation.kinds() == {}


def put(simulation: Simulation, **changes: Any) -> Change:
    """Put item 1, and see it at the first threshold."""
    change = simulation.changed("1", **attributes("right", **changes))
    simulation.run(3)
    return change


def key_of(simulation: Simulation, change: Change) -> bytes:
    """Return the key of a change's entry."""
    assert change.new is not None
    key = simulation.views[0].render(change.new)
    assert key is not None
    return key.encode()


def corrupt(simulation: Simulation, key: bytes) -> None:
    """Write another value behind the mirror's back."""
    simulation.cache.values[key] = b"wrong"


def lose(simulation: Simulation, key: bytes) -> None:
    """Delete an entry behind the mirror's back."""
    simulation.cache.remove(key)


def lose_member(simulation: Simulation, _key: bytes) -> None:
    """Remove the member of an index behind the mirror's back."""
    for members in simulation.cache.sets.values():
        members.clear()


def lose_expiry(simulation: Simulation, key: bytes) -> None:
    """Let an entry stay for ever."""
    del simulation.cache.expiries[key]


@pytest.mark.parametrize(
    ("name", "damage", "kind"),
    [
        ("plain", corrupt, "wrong_value"),
        ("plain", lose, "missing"),
        ("ttl", lose_expiry, "wrong_value"),
        ("board", lose_member, "wrong_index"),
        ("index", lose_member, "wrong_index"),
    ],
)
def test_damage_behind_the_mirrors_back_is_a_violation_of_its_kind(
    name: str, damage: Callable[[Simulation, bytes], None], kind: str
) -> None:
    simulation = Simulation(VIEWS[name])
    change = put(simulation, ends=int(BEGIN) + 1000)
    damage(simulation, key_of(simulation, change))
    total = simulation.total()
    assert total.violations == {kind: 1}
    answers = list(total.within.values())
    assert [each.consistent for each in answers] == [1, 0, 0]
    assert [each.asked for each in answers] == [1, 1, 1]
    (violation,) = simulation.violations
    assert violation.shown == 1
    assert violation.sequence_number == str(change.version.sequence)
    assert violation.expected == violation.seen == str(change.version)
    assert "right" not in repr(violation)


def test_an_entry_of_a_deleted_item_should_be_gone() -> None:
    simulation = Simulation()
    key = key_of(simulation, put(simulation))
    simulation.changed("1")
    simulation.run(2)
    simulation.cache.values[key] = b"back again"
    assert simulation.kinds() == {"should_be_gone": 1}


def test_an_entry_that_an_item_has_left_should_be_gone() -> None:
    simulation = Simulation(VIEWS["moving"])
    left = key_of(simulation, put(simulation))
    simulation.changed("1", **attributes("right", city="b"))
    simulation.run(2)
    simulation.cache.values[left] = b"back again"
    assert simulation.kinds() == {"should_be_gone": 1}


@pytest.mark.parametrize(
    ("before", "dropped", "kind"),
    [
        (None, attributes("new"), "missing"),
        (attributes("old"), attributes("new"), "wrong_value"),
        (attributes("old"), {}, "should_be_gone"),
    ],
    ids=["insert", "modify", "remove"],
)
def test_a_record_that_the_mirror_drops_is_found(
    before: dict[str, Any] | None, dropped: dict[str, Any], kind: str
) -> None:
    simulation = Simulation()
    if before:
        simulation.changed("1", **before)
        simulation.run(3)
    simulation.inspector.receive([simulation.write("1", **dropped)])
    assert simulation.kinds() == {kind: 1}


def test_a_delayed_record_is_behind_only_until_it_comes() -> None:
    simulation = Simulation()
    change = simulation.write("1", **attributes("new"))
    simulation.inspector.receive([change])
    simulation.at(4.5, lambda: simulation.apply(change))
    total = simulation.total()
    assert total.violations == {}
    assert [each.consistent for each in total.within.values()] == [0, 1, 1]
    assert sum(total.staleness) == 1
    assert total.staleness[3] == 1, "first seen at 2 to 5 seconds"


def test_an_older_write_that_wins_goes_backwards() -> None:
    simulation = Simulation()
    older = simulation.write("1", **attributes("older"))
    newer = simulation.write("1", **attributes("newer"))
    simulation.inspector.receive([older, newer])
    simulation.apply(newer)
    simulation.run(3)
    simulation.cache.values.clear()  # as if there were no fence
    simulation.apply(older)
    assert simulation.kinds() == {"went_backwards": 1, "wrong_value": 1}
    backwards, wrong = simulation.violations
    assert (backwards.kind, backwards.seen) == (
        ViolationKind.WENT_BACKWARDS,
        str(older.version),
    )
    assert backwards.expected == wrong.expected == str(newer.version)


def test_an_older_write_that_wins_without_fences_is_a_wrong_value() -> None:
    """As the original example writes: SET in the order of delivery."""
    simulation = Simulation()
    simulation.cache.is_fenced = False
    older = simulation.write("1", **attributes("older"))
    newer = simulation.write("1", **attributes("newer"))
    simulation.inspector.receive([older, newer])
    simulation.apply(newer)
    simulation.apply(older)
    assert simulation.kinds() == {"wrong_value": 1}


def test_a_fence_that_claims_too_much_is_found_by_the_value() -> None:
    simulation = Simulation()
    change = put(simulation)
    simulation.run(15)
    simulation.cache.values[fence_key("users:1").encode()] = (
        b"c" + b"9" * 53 + str(change.version.created).encode()
    )
    dropped = simulation.write("1", **attributes("dropped"))
    simulation.inspector.receive([dropped])
    simulation.run(40)
    assert simulation.kinds() == {"wrong_value": 1}


def test_damage_to_a_quiet_item_is_found_by_a_row_of_the_table() -> None:
    simulation = Simulation()
    put(simulation)
    simulation.finish()
    simulation.advance(1000)
    simulation.cache.values[b"users:1"] = b"wrong"
    rows = list(simulation.read_table([{"id": {"S": "1"}}]))
    simulation.inspector.receive_rows(rows)
    assert simulation.kinds() == {"wrong_value": 1}
    assert simulation.violations[0].sequence_number is None


def test_a_quiet_item_that_is_right_is_counted_at_once() -> None:
    simulation = Simulation()
    put(simulation)
    simulation.finish()
    rows = list(simulation.read_table([{"id": {"S": "1"}}]))
    simulation.inspector.receive_rows(rows)
    simulation.run(0.5)
    assert simulation.inspector.waiting == 0
    assert [each.asked for each in simulation.total().within.values()] == [1, 1, 2]


def test_an_outage_is_undecided_and_counted_apart() -> None:
    simulation = Simulation()
    simulation.changed("1", **attributes("right"))
    simulation.cache.is_down = True
    simulation.run(3)
    simulation.cache.is_down = False
    total = simulation.total()
    assert total.violations == {}
    assert [(each.asked, each.undecided) for each in total.within.values()] == [
        *((0, 1), (1, 0), (1, 0)),
    ]
    assert 0.5 < total.unavailable < 5


def test_a_cache_that_is_down_at_the_last_threshold_proves_nothing() -> None:
    simulation = Simulation()
    put(simulation)
    simulation.cache.is_down = True
    total = simulation.total()
    assert total.violations == {}
    assert [(each.asked, each.undecided) for each in total.within.values()] == [
        *((1, 0), (0, 1), (0, 1)),
    ]


def test_a_change_that_is_received_late_is_undecided_at_the_thresholds_that_have_passed() -> None:
    simulation = Simulation()
    change = simulation.write("1", **attributes("right"))
    simulation.apply(change)
    simulation.advance(6)
    simulation.inspector.receive([change])
    assert [(each.asked, each.undecided) for each in simulation.total().within.values()] == [
        *((0, 1), (0, 1), (1, 0)),
    ]


def test_a_record_is_one_check_however_often_it_comes() -> None:
    simulation = Simulation()
    change = simulation.changed("1", **attributes("right"))
    simulation.inspector.receive([change, change])
    assert simulation.total().checks == 1


def test_what_there_is_no_room_for_is_counted_as_skipped() -> None:
    simulation = Simulation(most_pending=3)
    for number in range(5):
        simulation.changed(str(number), **attributes("right"))
    total = simulation.total()
    assert (total.checks, total.skipped) == (3, 2)


def test_all_that_is_due_of_one_entry_is_one_read() -> None:
    simulation = Simulation()
    for number in range(20):
        simulation.changed("1", **attributes(f"text {number}"))
    simulation.run(3)
    assert simulation.inspector.tally().total.within["1"].asked == 20
    assert simulation.cache.answered == 2, "one fence and one value"


def test_without_the_table_a_fence_still_proves_a_violation() -> None:
    simulation = Simulation(reads_table=False)
    put(simulation)
    simulation.inspector.receive([simulation.write("1", **attributes("dropped"))])
    assert simulation.kinds() == {"wrong_value": 1}


def test_a_row_that_a_newer_change_may_explain_is_undecided() -> None:
    simulation = Simulation()
    put(simulation)
    simulation.finish()
    rows = list(simulation.read_table([{"id": {"S": "1"}}]))
    simulation.apply(simulation.write("1", **attributes("newer")))
    simulation.inspector.receive_rows(rows)
    assert rows[0].version == SnapshotVersion(int(simulation.now) - 10)
    total = simulation.total()
    assert total.violations == {}


def test_a_cache_that_hangs_costs_two_timeouts_however_much_is_due() -> None:
    simulation = Simulation(most_pending=10_000)
    for number in range(3000):
        simulation.changed(str(number), **attributes("right"))
    simulation.cache.is_down = True
    before = simulation.cache.asked
    simulation.advance(2.1)
    assert simulation.inspector.run_due() == 3000
    assert simulation.cache.asked - before == 2


def test_a_hot_item_s_checks_cost_the_same_however_many_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its fence is always newer than what the inspector has received."""
    compared = 0

    def is_shown(*words: Any) -> bool:
        nonlocal compared
        compared += 1
        return judgement.is_shown(*words)

    monkeypatch.setattr(pending, "is_shown", is_shown)
    simulation = Simulation(thresholds=(1, 10))
    for number in range(400):
        change = simulation.write("1", **attributes(f"text {number}"))
        simulation.apply(change)
        received = partial(simulation.inspector.receive, [change])
        simulation.at(simulation.now - BEGIN + 0.3, received)
        simulation.run(0.1)
    total = simulation.total()
    assert total.violations == {}
    assert total.checks == 400
    assert compared < 20 * total.checks
