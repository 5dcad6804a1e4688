"""Conditions, verdicts and texts of the page, from plain values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.cache.entry_state import EntryState
from dynamirror.page.condition import mirror_condition
from dynamirror.page.difference_tracker import DifferenceTracker
from dynamirror.page.entry_table import counted
from dynamirror.page.entry_text import natural_order, value_text
from dynamirror.page.state import Condition, EntryRow, Observation, Verdict
from dynamirror.views.encoding import HASH, JSON, Encoding, pack_fields
from dynamirror.views.view import Schema, View, ViewSpec

NEW, OLD, NONE = EntryState(b"new"), EntryState(b"old"), EntryState(None)
WRONG = EntryRow("users:1", "a", "b", Verdict.DIFFERENT)
RIGHT = EntryRow("users:2", "a", "a", Verdict.SAME)


def view(encoding: Encoding = JSON) -> View:
    return ViewSpec(encoding=encoding).bind(Schema("users", ("id",), ("S",)))


@pytest.mark.parametrize(
    ("running", "behind", "observation", "word"),
    [
        (True, 0.4, Observation(rows=(RIGHT,)), Condition.IN_SYNC),
        (True, 9.0, Observation(rows=(RIGHT,)), Condition.CATCHING_UP),
        (True, None, Observation(), Condition.CATCHING_UP),
        (True, 0.4, Observation(rows=(RIGHT, WRONG)), Condition.DIFFERS),
        (True, 0.4, Observation(rows=(WRONG,), reason="it was flushed"), Condition.INCOMPLETE),
        (True, 0.4, Observation(rows=(RIGHT,), doubt="it evicts"), Condition.DOUBTFUL),
        (True, 9.0, Observation(rows=(RIGHT,), doubt="it evicts"), Condition.DOUBTFUL),
        (True, 0.4, Observation(rows=(WRONG,), doubt="it evicts"), Condition.DIFFERS),
        (
            True,
            0.4,
            Observation(reason="it was flushed", trouble="it hangs"),
            Condition.CATCHING_UP,
        ),
        (False, 0.4, Observation(rows=(WRONG,), reason="it was flushed"), Condition.STOPPED),
    ],
)
def test_the_most_serious_condition_is_the_headline(
    running: bool,  # noqa: FBT001 - a case
    behind: float | None,
    observation: Observation,
    word: Condition,
) -> None:
    condition, sentence = mirror_condition(running=running, behind=behind, observation=observation)
    assert condition is word
    assert sentence.endswith(".")
    assert not sentence[0].islower()


def test_the_row_of_the_probe_is_explained_where_it_is_shown() -> None:
    explained = "users:2 is the demo's own: it measures the lag."
    counts = "2 entries of the mirror: 1 wrong, 0 on the way."
    assert counted((WRONG, RIGHT), "users:2") == f"{counts} {explained}"
    assert counted((WRONG, RIGHT), "users:3") == counted((WRONG, RIGHT), None) == counts
    assert counted((RIGHT,), None) == "1 entry of the mirror: 0 wrong, 0 on the way."
    assert counted((), "users:2") == "No entries yet."


def verdict(
    tracker: DifferenceTracker, expected: EntryState, held: EntryState, now: float, until: float
) -> Verdict:
    """Return the verdict if everything in the stream until then has been delivered."""
    return tracker.verdict("k", expected, held, now=now, delivered=lambda since: since <= until)


def test_what_has_not_been_delivered_is_on_its_way_however_long_it_takes() -> None:
    tracker = DifferenceTracker()
    for now in range(1000):
        assert verdict(tracker, NEW, OLD, now, until=-1) is Verdict.MOVING
    assert verdict(tracker, NEW, NEW, 1000, until=-1) is Verdict.SAME


@pytest.mark.parametrize(
    ("expected", "held", "wrong"),
    [
        (NEW, OLD, Verdict.DIFFERENT),
        (NEW, NONE, Verdict.MISSING),
        (NONE, OLD, Verdict.ORPHANED),
    ],
)
def test_a_difference_that_outlasts_the_delivery_is_wrong(
    expected: EntryState, held: EntryState, wrong: Verdict
) -> None:
    tracker = DifferenceTracker()
    assert verdict(tracker, expected, held, 10, until=99) is Verdict.MOVING
    assert verdict(tracker, expected, held, 20, until=99) is wrong
    assert wrong.is_wrong
    assert verdict(tracker, expected, expected, 21, until=99) is Verdict.SAME
    assert verdict(tracker, expected, held, 22, until=99) is Verdict.MOVING


def test_a_difference_that_changes_is_not_wrong() -> None:
    tracker = DifferenceTracker()
    for number in range(100):
        now = 10.0 * number
        expected = EntryState(str(number).encode())
        assert verdict(tracker, expected, OLD, now, until=now) is Verdict.MOVING


def test_an_entry_is_shown_without_its_key_attributes() -> None:
    value = b'{"id":"7","name":"Ada","n":12,"at":"2026-01-02T03:04:05.678+00:00"}'
    assert value_text(value, view()) == "name Ada, n 12, at 03:04:05.678"
    assert value_text(b'{"id":"7"}', view()) == "id 7"
    assert value_text(b'{"id":"7","name":""}', view()) == 'name ""'
    assert value_text(b"garbage \xff", view()) == "garbage �"
    assert value_text(b"[1]", view()) == "[1]"
    assert value_text(None, view()) is None
    packed = pack_fields({b"id": b"7", b"name": b"Ada"})
    assert value_text(packed, view(HASH)) == "name Ada"
    assert value_text(b"a value of another kind", view(HASH)) == "a value of another kind"
    assert len(value_text(b"x" * 10_000, view()) or "") in range(1, 300)


@given(st.binary(max_size=60))
def test_every_value_in_the_cache_can_be_shown(value: bytes) -> None:
    for encoding in (JSON, HASH):
        assert isinstance(value_text(value, view(encoding)), str)


def test_keys_are_in_the_order_of_their_numbers() -> None:
    keys = ["users:10", "users:9", "users:", "users:9a", "a", "10", "9"]
    assert sorted(keys, key=natural_order) == [
        "9",
        "10",
        "a",
        "users:",
        "users:9",
        "users:9a",
        "users:10",
    ]


def test_a_process_that_stands_by_names_the_leader() -> None:
    found = mirror_condition(
        running=False, behind=None, observation=Observation(rows=(WRONG,)), standby="a:1 leads"
    )
    assert found == (Condition.STANDBY, "This process stands by: a:1 leads.")
