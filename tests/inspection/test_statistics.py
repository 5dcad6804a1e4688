"""Checks prove what they prove, and no more."""

from fractions import Fraction
from math import comb, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.inspection.statistics import (
    highest_failure_rate,
    nines,
    proven_nines,
    ratio,
    sentence,
)


def at_most(failures: int, checks: int, rate: float) -> float:
    """Return the probability of at most so many failures, exactly."""
    exact = Fraction(rate)
    terms = (
        comb(checks, number) * exact**number * (1 - exact) ** (checks - number)
        for number in range(failures + 1)
    )
    return float(sum(terms))


@given(data=st.data())
def test_the_bound_is_the_rate_at_which_so_few_failures_are_improbable(data: st.DataObject) -> None:
    checks = data.draw(st.integers(1, 300))
    failures = data.draw(st.integers(0, checks - 1))
    bound = highest_failure_rate(failures, checks)
    assert at_most(failures, checks, bound) == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize(
    ("failures", "checks", "bound"),
    [
        (0, 1, 0.95),
        (1, 10, 0.3941633),
        (0, 3_000_000, 9.98577e-7),
        (5, 5, 1.0),
        (10_000, 1_000_000, 0.01016521),
    ],
)
def test_bounds_are_those_of_clopper_and_pearson(failures: int, checks: int, bound: float) -> None:
    assert highest_failure_rate(failures, checks) == pytest.approx(bound, rel=1e-5)


@given(checks=st.integers(1, 10**9), failures=st.integers(0, 1000))
def test_nines_are_never_more_than_the_checks_prove(checks: int, failures: int) -> None:
    failures = min(failures, checks)
    proven = proven_nines(failures, checks)
    assert 10**-proven >= highest_failure_rate(failures, checks) * (1 - 1e-9)
    assert proven == round(proven, 1)
    assert proven <= nines((checks - failures) / checks)


def test_nines_of_ratios() -> None:
    assert nines(1.0) == inf
    assert nines(0.999) == pytest.approx(3)
    assert ratio(0, 0) is None
    assert ratio(3, 4) == 0.75


@pytest.mark.parametrize(
    ("failures", "checks", "text"),
    [
        (0, 0, "no checks yet"),
        (0, 1, "at least 0.0 nines (95%), 1 check"),
        (0, 48_000, "at least 4.2 nines (95%), 48,000 checks"),
        (0, 3_000_000, "at least 6.0 nines (95%), 3,000,000 checks"),
        (3, 1000, "at least 2.1 nines (95%), 1,000 checks, 3 failed"),
    ],
)
def test_the_sentence(failures: int, checks: int, text: str) -> None:
    assert sentence(failures, checks) == text
