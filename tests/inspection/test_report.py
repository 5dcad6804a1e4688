"""The counts of an inspection in words: never more than the checks prove, and no data."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.inspection import report
from dynamirror.inspection.judgement import ViolationKind
from dynamirror.inspection.tally import STALENESS_BOUNDS, Tally, ViewTally, Violation, Within

VIOLATION = Violation(
    at=1_790_000_000.5,
    table="users",
    view="by-mail",
    item="0123456789abcdef",
    kind=ViolationKind.SHOULD_BE_GONE,
    expected="c" + "7" * 63,
    seen="",
    age=61.2,
    sequence_number="4711",
)


def tally(view: ViewTally) -> Tally:
    return Tally(tables={"users": {"users": view}})


def test_a_check_counts_from_the_first_threshold_on() -> None:
    assert report.headline(Tally()) == "no checks yet"
    within = {"1": Within(48_000, 47_000), "10": Within(46_500, 46_500), "60": Within()}
    counts = ViewTally(checks=48_100, within=within)
    assert report.headline(tally(counts)) == "at least 4.1 nines (95%), 47,000 checks"
    counts.violations = {"missing": 2}
    assert report.headline(tally(counts)) == "at least 3.8 nines (95%), 47,002 checks, 2 failed"
    assert list(report.within(counts)) == [
        ("1 s", "97.9166% of 48,000"),
        ("10 s", "100% of 46,500"),
        ("60 s", "none yet"),
    ]


@given(st.integers(1, 10**8).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_only_all_is_a_hundred_percent(counts: tuple[int, int]) -> None:
    part, whole = counts
    text = report.percent(part, whole)
    assert (text == "100%") == (part == whole)
    assert float(text.rstrip("%")) <= 100 * part / whole + 1e-9


def test_the_histogram_goes_as_far_as_the_thresholds_and_the_counts() -> None:
    counts = ViewTally(within={"1": Within(), "10": Within()})
    assert [label for label, _count in report.staleness(counts)] == [
        *("0.5 s", "1 s", "2 s", "5 s", "10 s")
    ]
    counts.staleness[0], counts.staleness[-1] = 7, 1
    assert report.staleness(counts)[0] == ("0.5 s", 7)
    assert report.staleness(counts)[-1] == ("longer", 1)
    assert len(counts.staleness) == len(STALENESS_BOUNDS) + 1


@pytest.mark.parametrize(
    ("number", "words"), [("4711", ", sequence number 4711"), (None, "")], ids=["change", "row"]
)
def test_a_violation_is_told_by_its_hash_and_its_sequence_number(
    number: str | None, words: str
) -> None:
    violation = msgspec.structs.replace(VIOLATION, sequence_number=number)
    assert report.violation_text(violation) == (
        f"14:13:20 UTC: should be gone, view by-mail, item 0123456789abcdef, 61 s old{words}"
    )


def test_the_lines_have_the_nines_the_shares_the_gaps_and_the_last_violations() -> None:
    counts = ViewTally(within={"1": Within(10, 10, undecided=3)}, skipped=2, unavailable=1.25)
    counts.violations = {"should_be_gone": 5}
    inspection = tally(counts)
    inspection.recent = [msgspec.structs.replace(VIOLATION, item=f"{n}") for n in range(5)]
    first, shares, missed, *violations = report.lines(inspection)
    assert first == "at least 0.2 nines (95%), 15 checks, 5 failed"
    assert shares == "within 1 s 100% of 10"
    assert missed == "3 undecided, 2 skipped, cache unavailable for 1.2 s"
    assert ["item 4," in violations[0], "item 2," in violations[2], len(violations)] == [
        *(True, True, 3)
    ]
