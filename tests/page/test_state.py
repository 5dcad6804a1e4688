"""What the page shows is made of plain values."""

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.encoding import HASH, JSON, Encoding, pack_fields
from dynamirror.page.state import (
    Condition,
    Judge,
    Row,
    Seen,
    Verdict,
    condition,
    cuts,
    natural,
    readable,
)
from dynamirror.stored import State
from dynamirror.view import Schema, View, ViewSpec

NEW, OLD, NONE = State(b"new"), State(b"old"), State(None)
WRONG = Row("users:1", "a", "b", Verdict.DIFFERENT)
RIGHT = Row("users:2", "a", "a", Verdict.SAME)


def view(encoding: Encoding = JSON) -> View:
    return ViewSpec(encoding=encoding).bind(Schema("users", ("id",), ("S",)))


@pytest.mark.parametrize(
    ("running", "behind", "seen", "word"),
    [
        (True, 0.4, Seen(rows=(RIGHT,)), Condition.IN_SYNC),
        (True, 9.0, Seen(rows=(RIGHT,)), Condition.CATCHING_UP),
        (True, None, Seen(), Condition.CATCHING_UP),
        (True, 0.4, Seen(rows=(RIGHT, WRONG)), Condition.DIFFERS),
        (True, 0.4, Seen(rows=(WRONG,), reason="it was flushed"), Condition.INCOMPLETE),
        (True, 0.4, Seen(reason="it was flushed", trouble="it hangs"), Condition.CATCHING_UP),
        (False, 0.4, Seen(rows=(WRONG,), reason="it was flushed"), Condition.STOPPED),
    ],
)
def test_what_weighs_most_is_the_headline(
    running: bool,  # noqa: FBT001 - a case
    behind: float | None,
    seen: Seen,
    word: Condition,
) -> None:
    told, sentence = condition(running=running, behind=behind, seen=seen)
    assert told is word
    assert sentence.endswith(".")
    assert not sentence[0].islower()


def judged(judge: Judge, should_be: State, held: State, now: float, until: float) -> Verdict:
    """What the judge says if all that was in the stream until then has been delivered."""
    return judge.verdict("k", should_be, held, now=now, delivered=lambda since: since <= until)


def test_what_has_not_been_delivered_is_on_its_way_however_long_it_takes() -> None:
    judge = Judge()
    for now in range(1000):
        assert judged(judge, NEW, OLD, now, until=-1) is Verdict.MOVING
    assert judged(judge, NEW, NEW, 1000, until=-1) is Verdict.SAME


@pytest.mark.parametrize(
    ("should_be", "held", "verdict"),
    [
        (NEW, OLD, Verdict.DIFFERENT),
        (NEW, NONE, Verdict.MISSING),
        (NONE, OLD, Verdict.LEFT_OVER),
    ],
)
def test_what_stays_though_all_was_delivered_is_wrong(
    should_be: State, held: State, verdict: Verdict
) -> None:
    judge = Judge()
    assert judged(judge, should_be, held, 10, until=99) is Verdict.MOVING
    assert judged(judge, should_be, held, 20, until=99) is verdict
    assert verdict.is_wrong
    assert judged(judge, should_be, should_be, 21, until=99) is Verdict.SAME
    assert judged(judge, should_be, held, 22, until=99) is Verdict.MOVING


def test_what_changes_is_not_wrong() -> None:
    judge = Judge()
    for number in range(100):
        now = 10.0 * number
        should_be = State(str(number).encode())
        assert judged(judge, should_be, OLD, now, until=now) is Verdict.MOVING


def test_an_entry_is_told_without_what_its_key_tells() -> None:
    value = b'{"id":"7","name":"Ada","n":12,"at":"2026-01-02T03:04:05.678+00:00"}'
    assert readable(value, view()) == "name Ada, n 12, at 03:04:05.678"
    assert readable(b'{"id":"7"}', view()) == "id 7"
    assert readable(b'{"id":"7","name":""}', view()) == 'name ""'
    assert readable(b"garbage \xff", view()) == "garbage �"
    assert readable(b"[1]", view()) == "[1]"
    assert readable(None, view()) is None
    packed = pack_fields({b"id": b"7", b"name": b"Ada"})
    assert readable(packed, view(HASH)) == "name Ada"
    assert readable(b"a value of another kind", view(HASH)) == "a value of another kind"
    long = readable(b"x" * 10_000, view())
    assert long is not None
    assert len(long) < 300


@given(st.binary(max_size=60))
def test_whatever_the_cache_holds_can_be_shown(value: bytes) -> None:
    for encoding in (JSON, HASH):
        assert isinstance(readable(value, view(encoding)), str)


def test_keys_are_in_the_order_of_their_numbers() -> None:
    keys = ["users:10", "users:9", "users:", "users:9a", "a", "10", "9"]
    assert sorted(keys, key=natural) == [
        "9",
        "10",
        "a",
        "users:",
        "users:9",
        "users:9a",
        "users:10",
    ]


@given(st.lists(st.floats(0, 10), max_size=200))
def test_lags_are_told_as_they_were(lags: list[float]) -> None:
    p50, p99 = cuts(lags)
    if not lags:
        assert (p50, p99) == (None, None)
        return
    assert p50 is not None
    assert p99 is not None
    assert p50 == pytest.approx(median(lags) * 1000, abs=0.1)
    assert p50 <= p99 <= max(lags) * 1000 + 0.1
