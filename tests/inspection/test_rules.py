"""The judgement of one look and of several, as a function without memory has them."""

import msgspec
import pytest
from tests.support.inspected import BEGIN

from dynamirror.inspection.expectation import Expectation, Seen, State, digest
from dynamirror.inspection.judgement import (
    LOOKS,
    Answer,
    Look,
    Verdict,
    judge,
    kind_of,
    order_of,
    settle,
)
from dynamirror.records.version import ChangeVersion, SnapshotVersion, Version

NOW = BEGIN + 100
CREATED = int(BEGIN)
RIGHT, WRONG = digest(b"right"), digest(b"wrong")
THIS = ChangeVersion(1, 50, CREATED)
OLDER, NEWER = ChangeVersion(1, 49, CREATED - 1), ChangeVersion(2, 1, CREATED + 1)


def expectation(version: Version = THIS, value: bytes | None = RIGHT) -> Expectation:
    """Return what is expected of one entry."""
    return Expectation(digest=value, view="default", key=b"users:1", version=str(version))


def seen(fence: Version | None, value: bytes | None = WRONG) -> Seen:
    """Return what a client saw."""
    return Seen(digest=value, fence=None if fence is None else str(fence).encode())


@pytest.mark.parametrize(
    ("look", "answer"),
    [
        (seen(THIS, RIGHT), Answer.SHOWN),
        (seen(OLDER, RIGHT), Answer.SHOWN),
        (seen(None, RIGHT), Answer.SHOWN),
        (seen(NEWER), Answer.NEWER),
        (seen(OLDER), Answer.BEHIND),
        (seen(None), Answer.BEHIND),
        (seen(THIS), Answer.CONTRADICTED),
        (seen(THIS, None), Answer.CONTRADICTED),
        (seen(SnapshotVersion(CREATED + 1)), Answer.NEWER),
        (seen(SnapshotVersion(CREATED)), Answer.BEHIND),
    ],
)
def test_one_look_at_a_change(look: Seen, answer: Answer) -> None:
    assert judge(expectation(), look, NOW) is answer


@pytest.mark.parametrize(
    ("look", "answer"),
    [
        (seen(ChangeVersion(1, 1, CREATED - 1)), Answer.BEHIND),
        (seen(ChangeVersion(1, 1, CREATED)), Answer.NEWER),
        (seen(SnapshotVersion(CREATED - 1)), Answer.BEHIND),
        (seen(SnapshotVersion(CREATED)), Answer.CONTRADICTED),
        (seen(SnapshotVersion(CREATED + 1)), Answer.NEWER),
    ],
)
def test_one_look_at_a_row(look: Seen, answer: Answer) -> None:
    assert judge(expectation(SnapshotVersion(CREATED)), look, NOW) is answer


def test_damaged_fences_claim_nothing() -> None:
    for fence in (b"", b"c", b"c" + b"x" * 63, b"r12", b"\xff" * 64):
        look = Seen(digest=WRONG, fence=fence)
        assert judge(expectation(), look, NOW) is Answer.BEHIND
        assert order_of(fence) == -1
    assert (
        order_of(str(OLDER).encode()) < order_of(str(THIS).encode()) < order_of(str(NEWER).encode())
    )


SAME, OTHER = State(RIGHT), State(digest(b"other"))


@pytest.mark.parametrize(
    ("look", "verdict"),
    [
        (Look(SAME, seen(OLDER, RIGHT)), Verdict.CONSISTENT),
        (Look(State(WRONG), seen(OLDER)), Verdict.CONSISTENT),
        (Look(SAME, seen(NEWER)), Verdict.CONSISTENT),
        (Look(SAME, seen(OLDER)), Verdict.VIOLATED),
        (Look(OTHER, seen(OLDER)), Verdict.VIOLATED),
        (Look(None, seen(OLDER)), Verdict.VIOLATED),
        (Look(OTHER, seen(THIS)), Verdict.VIOLATED),
        (Look(SAME, seen(None)), Verdict.VIOLATED),
        (Look(OTHER, seen(None)), Verdict.UNDECIDED),
        (Look(None, seen(None)), Verdict.UNDECIDED),
        (Look(SAME, None), Verdict.UNDECIDED),
    ],
)
def test_the_verdict_after_looks_that_are_all_the_same(look: Look, verdict: Verdict) -> None:
    if verdict is not Verdict.CONSISTENT or look.seen == seen(NEWER):
        assert settle(expectation(), [look] * (LOOKS - 1), NOW) is None
    assert settle(expectation(), [look] * LOOKS, NOW) is verdict


def test_a_fence_that_moves_between_looks_contradicts_nothing() -> None:
    looks = [Look(OTHER, seen(OLDER)), *[Look(OTHER, seen(OLDER))] * 2, Look(OTHER, seen(THIS))]
    assert settle(expectation(), looks, NOW) is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("expected", "actual", "kind"),
    [
        (State(RIGHT), State(), "missing"),
        (State(RIGHT), State(WRONG), "wrong_value"),
        (State(RIGHT, 5), State(RIGHT), "wrong_value"),
        (State(RIGHT, None, 1.0), State(RIGHT), "wrong_index"),
        (State(RIGHT, None, 1.0), State(RIGHT, None, 2.0), "wrong_index"),
        (State(), State(WRONG), "should_be_gone"),
        (State(), State(None, None, 1.0), "wrong_index"),
    ],
)
def test_how_an_entry_is_wrong(expected: State, actual: State, kind: str) -> None:
    assert kind_of(expected, actual) == kind


def test_an_expectation_keeps_its_meaning_in_a_message() -> None:
    before = expectation()
    text = msgspec.json.encode(before)
    assert b"right" not in text
    assert msgspec.json.decode(text, type=Expectation) == before
