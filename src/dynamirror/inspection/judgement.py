"""How a check is judged, from what was seen; pure, the same in a process and in a function."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from dynamirror.inspection.expectation import Expectation, Seen, State
from dynamirror.records.version import (
    ChangeVersion,
    SnapshotVersion,
    Version,
    parse,
    supersedes,
)

DEFAULT_THRESHOLDS: Final = (1.0, 10.0, 60.0, 300.0, 600.0)
# Looks at table and cache before a difference at the last threshold counts, and the seconds between
# two of them.
LOOKS: Final = 4
PAUSES: Final = (0.5, 1.0, 2.0)
# The clocks of the cache and of the inspector differ by less. An entry that is about to expire may
# be gone already.
CLOCK_SECONDS: Final = 5.0
# A change cannot be younger than this; a fence that claims so is wrong.
_FUTURE_SECONDS: Final = 60.0
_CHANGE_BYTES: Final = 64
_SEQUENCE_END: Final = 54
SEQUENCES: Final = 10**40


class Answer(StrEnum):
    """What one look at an entry says about an expectation."""

    SHOWN = "shown"
    """The entry is as expected."""
    NEWER = "newer"
    """The fence claims a newer version."""
    BEHIND = "behind"
    """The fence claims an older version, or none."""
    CONTRADICTED = "contradicted"
    """The fence claims this version, and the entry is another."""


class ViolationKind(StrEnum):
    """How an entry was wrong."""

    WRONG_VALUE = "wrong_value"
    MISSING = "missing"
    SHOULD_BE_GONE = "should_be_gone"
    WRONG_INDEX = "wrong_index"
    WENT_BACKWARDS = "went_backwards"


class Verdict(StrEnum):
    """The end of a check at the last threshold."""

    CONSISTENT = "consistent"
    VIOLATED = "violated"
    UNDECIDED = "undecided"


class Look(NamedTuple):
    """A look at the table, and then at the cache.

    Args:
        table: the state that the entry should have by the table; None if it cannot be read.
        seen: what the cache showed afterwards; None if it cannot be reached.
    """

    table: State | None
    seen: Seen | None


def order_of(fence: bytes | None) -> int:
    """Return a number that orders the changes of an item; -1 for a row, nothing or damage.

    It is the epoch and the sequence number, as `version.supersedes` compares them.
    """
    if fence is None or len(fence) != _CHANGE_BYTES or not fence.startswith(b"c"):
        return -1
    digits = fence[1:_SEQUENCE_END]
    return int(digits) if digits.isdigit() else -1


def is_shown(expected: State, seen: State, now: float) -> bool:
    """Return whether an entry is as expected; one may be gone that has expired.

    Args:
        expected: the expected state.
        seen: the state that was seen.
        now: seconds since 1970.
    """
    if expected.digest != seen.digest:
        return (
            seen.digest is None
            and expected.expires is not None
            and expected.expires <= now + CLOCK_SECONDS
        )
    return expected.expires == seen.expires and expected.score == seen.score


def claim_of(fence: bytes | None, version: str) -> Answer:
    """Return what a fence claims of a version; SHOWN means just this version.

    A fence of a row at T holds each change created before T. A change created at T or later may be
    newer than a row at T, or in it.

    Args:
        fence: text that the fence holds; None for no fence.
        version: text of the version.
    """
    held, ours = _parsed(fence), parse(version)
    if isinstance(held, ChangeVersion) and isinstance(ours, ChangeVersion):
        if (held.epoch, held.sequence) == (ours.epoch, ours.sequence):
            return Answer.SHOWN
    elif held == ours:
        return Answer.SHOWN
    return Answer.BEHIND if supersedes(ours, held) else Answer.NEWER


def judge(expectation: Expectation, seen: Seen, now: float) -> Answer:
    """Return what one look says about an expectation; SHOWN and NEWER are consistent.

    A write between the two reads of a look contradicts, too: look again before it counts.

    Args:
        expectation: the expectation.
        seen: what was seen; the fence first.
        now: seconds since 1970.
    """
    if is_shown(expectation, seen, now):
        return Answer.SHOWN
    claim = claim_of(seen.fence, expectation.version)
    return Answer.CONTRADICTED if claim is Answer.SHOWN else claim


def settle(expectation: Expectation, looks: Sequence[Look], now: float) -> Verdict | None:
    """Return the verdict at the last threshold; None if another look is needed.

    Each look reads the table consistently, then fence and entry. A difference counts only if it
    stays in all looks, and nothing newer can explain it.

    Args:
        expectation: the expectation.
        looks: the looks so far.
        now: seconds since 1970.
    """
    reached = [look for look in looks if look.seen is not None]
    if any(_agrees(expectation, look, now) for look in reached):
        return Verdict.CONSISTENT
    if len(looks) < LOOKS:
        return None
    if len(reached) < 2:  # noqa: PLR2004 - a race needs one more look
        return Verdict.UNDECIDED
    before, last = (look.seen.fence for look in reached[-2:] if look.seen is not None)
    claim = claim_of(last, expectation.version)
    stays = all(look.table is not None and _is_same(look.table, expectation) for look in reached)
    if not expectation.is_of_change:
        if claim is Answer.NEWER and not _is_future(last, now):
            return Verdict.UNDECIDED
        is_violated = stays
    elif claim is Answer.NEWER:
        return Verdict.CONSISTENT  # the newer change has an expectation of its own
    elif claim is Answer.SHOWN:
        # With the fence unmoved between two looks, nothing was written between the reads.
        is_violated = before == last
    else:
        is_violated = stays or isinstance(_parsed(last), ChangeVersion)
    return Verdict.VIOLATED if is_violated else Verdict.UNDECIDED


def kind_of(expected: State, seen: State) -> ViolationKind:
    """Return how an entry is wrong that is not as expected."""
    if expected.digest is None:
        is_there = seen.digest is not None
        return ViolationKind.SHOULD_BE_GONE if is_there else ViolationKind.WRONG_INDEX
    if seen.digest is None:
        return ViolationKind.MISSING
    if (expected.digest, expected.expires) == (seen.digest, seen.expires):
        return ViolationKind.WRONG_INDEX
    return ViolationKind.WRONG_VALUE


def _is_same(one: State, other: State) -> bool:
    return (one.digest, one.expires, one.score) == (other.digest, other.expires, other.score)


def _agrees(expectation: Expectation, look: Look, now: float) -> bool:
    """Return whether the cache showed what is expected, or what the table has."""
    if look.seen is None:
        return False
    states = (expectation,) if look.table is None else (expectation, look.table)
    return any(is_shown(state, look.seen, now) for state in states)


def _parsed(fence: bytes | None) -> Version | None:
    """Return the version in a fence; None for no fence, or a damaged one."""
    try:
        return None if fence is None else parse(fence.decode())
    except ValueError:
        return None


def _is_future(fence: bytes | None, now: float) -> bool:
    """Return whether a fence claims a time that is not yet."""
    match _parsed(fence):
        case ChangeVersion(created=at) | SnapshotVersion(as_of=at):
            return at > now + _FUTURE_SECONDS
    return False
