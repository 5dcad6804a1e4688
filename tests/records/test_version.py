"""Versions: their text, their order, and which may replace which."""

import pytest
from hypothesis import given
from tests.support.strategies import PROMISE, change_versions, row_versions, sequences

from dynamirror.records.version import ChangeVersion, SnapshotVersion, Version, parse, supersedes


@PROMISE
@given(change_versions, change_versions)
def test_text_order_of_changes_is_number_order(one: ChangeVersion, two: ChangeVersion) -> None:
    in_numbers = (one.epoch, one.sequence, one.created) < (two.epoch, two.sequence, two.created)
    assert (str(one) < str(two)) == in_numbers


@PROMISE
@given(sequences, sequences)
def test_sequence_numbers_of_different_length_keep_their_order_as_text(one: int, two: int) -> None:
    assert (str(ChangeVersion(1, one, 5)) < str(ChangeVersion(1, two, 5))) == (one < two)


@PROMISE
@given(row_versions, row_versions)
def test_text_order_of_rows_is_number_order(one: SnapshotVersion, two: SnapshotVersion) -> None:
    assert (str(one) < str(two)) == (one.as_of < two.as_of)


@PROMISE
@given(change_versions | row_versions)
def test_a_version_is_read_back_from_its_text(version: Version) -> None:
    assert parse(str(version)) == version


@PROMISE
@given(change_versions, row_versions)
def test_every_text_of_a_kind_has_one_width(change: ChangeVersion, row: SnapshotVersion) -> None:
    assert len(str(change)) == 1 + 13 + 40 + 10
    assert len(str(row)) == 1 + 10


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c",
        "r",
        "r1",
        "x" + str(ChangeVersion(1, 2, 3))[1:],
        str(ChangeVersion(1, 2, 3))[:-1],
        str(ChangeVersion(1, 2, 3)) + "0",
        str(ChangeVersion(1, 2, 3)).replace("c0", "c "),
        str(SnapshotVersion(5)).replace("5", "\u0665"),
    ],
)
def test_what_no_version_prints_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"version|invalid literal"):
        parse(text)


def change(epoch: int = 10, sequence: int = 10, created: int = 10) -> ChangeVersion:
    return ChangeVersion(epoch, sequence, created)


@pytest.mark.parametrize(
    ("incoming", "held", "applies"),
    [
        # anything, held by nothing
        (change(), None, True),
        (SnapshotVersion(0), None, True),
        # a change, held by a change: epoch, then sequence; never the creation time
        (change(sequence=11), change(), True),
        (change(sequence=9), change(), False),
        (change(), change(), False),
        (change(created=11), change(), False),
        (change(sequence=11, created=9), change(), True),
        (change(epoch=11, sequence=1), change(), True),
        (change(epoch=9, sequence=99), change(), False),
        # a change, held by a row: an older one was already in the row
        (change(created=11), SnapshotVersion(10), True),
        (change(created=10), SnapshotVersion(10), True),
        (change(created=9), SnapshotVersion(10), False),
        # a row, held by a change: else the stream is as new
        (SnapshotVersion(11), change(), True),
        (SnapshotVersion(10), change(), False),
        (SnapshotVersion(9), change(), False),
        # a row, held by a row
        (SnapshotVersion(11), SnapshotVersion(10), True),
        (SnapshotVersion(10), SnapshotVersion(10), False),
        (SnapshotVersion(9), SnapshotVersion(10), False),
    ],
)
def test_a_write_replaces_what_the_rules_say(
    incoming: Version,
    held: Version | None,
    applies: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert supersedes(incoming, held) is applies


@PROMISE
@given(change_versions | row_versions, change_versions | row_versions)
def test_of_two_versions_at_most_one_supersedes_the_other(one: Version, two: Version) -> None:
    assert not (supersedes(one, two) and supersedes(two, one))


@PROMISE
@given(change_versions, row_versions)
def test_between_a_change_and_a_row_there_is_always_a_winner(
    change: ChangeVersion, row: SnapshotVersion
) -> None:
    assert supersedes(change, row) != supersedes(row, change)


@PROMISE
@given(change_versions | row_versions)
def test_a_replay_is_stale(version: Version) -> None:
    assert not supersedes(version, version)


def test_sequence_numbers_that_a_double_confuses_are_told_apart() -> None:
    older, newer = 9 * 10**39 + 1, 9 * 10**39 + 2
    assert float(older) == float(newer)
    one, two = ChangeVersion(1, older, 5), ChangeVersion(1, newer, 5)
    assert supersedes(two, one)
    assert not supersedes(one, two)
    assert str(one) < str(two)
