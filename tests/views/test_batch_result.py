"""What became of a batch."""

from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import item, view
from tests.support.strategies import PROMISE, row_versions, sequences

from dynamirror.records.version import ChangeVersion, SnapshotVersion, Version
from dynamirror.views.batch_result import RejectedEntry, Report, partial_batch_response
from dynamirror.views.entry import Delete


def trouble(version: Version) -> RejectedEntry:
    return RejectedEntry(Delete(view(), "users:1", version, item()), "the cache is full")


def change(sequence: int) -> ChangeVersion:
    return ChangeVersion(epoch=1, sequence=sequence, created=1)


@PROMISE
@given(st.lists(sequences, min_size=1), st.lists(row_versions))
def test_the_lowest_failed_is_the_lowest_sequence_number_of_a_failed_change(
    failed: list[int], rows: list[SnapshotVersion]
) -> None:
    versions: list[Version] = [*rows, *map(change, failed)]
    report = Report(failed=[trouble(version) for version in versions])
    assert report.lowest_failed() == min(failed)


def test_sequence_numbers_that_a_double_confuses_have_a_lowest() -> None:
    numbers = [9 * 10**39 + 2, 9 * 10**39 + 1]
    assert float(numbers[0]) == float(numbers[1])
    report = Report(failed=[trouble(change(number)) for number in numbers])
    assert report.lowest_failed() == numbers[1]


def test_nothing_failed_has_no_lowest() -> None:
    assert Report(applied=3, quarantined=[trouble(change(1))]).lowest_failed() is None


def test_failed_rows_have_no_sequence_number() -> None:
    assert Report(failed=[trouble(SnapshotVersion(1))]).lowest_failed() is None


def test_reports_do_not_share_their_lists() -> None:
    Report().failed.append(trouble(change(1)))
    assert Report() == Report(applied=0, stale=0, coalesced=0, quarantined=[], failed=[])


def test_the_response_has_the_shape_that_lambda_expects() -> None:
    assert partial_batch_response(["000000000000000000042"]) == {
        "batchItemFailures": [{"itemIdentifier": "000000000000000000042"}]
    }


def test_a_response_without_failures_is_success() -> None:
    assert partial_batch_response([]) == {"batchItemFailures": []}
