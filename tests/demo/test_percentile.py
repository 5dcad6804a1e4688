"""Percentiles of measured lags."""

from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.demo.percentile import percentile, percentile_ms

LAGS = st.floats(0, 10)


def test_no_lags_have_no_percentile() -> None:
    assert percentile([], 50) is None
    assert percentile_ms([], 99) is None


@given(LAGS, st.integers(0, 100))
def test_one_lag_is_every_percentile(lag: float, percent: int) -> None:
    assert percentile([lag], percent) == lag


@given(st.lists(LAGS, min_size=2, max_size=200), st.integers(1, 99))
def test_percentiles_are_those_of_the_standard_library(lags: list[float], percent: int) -> None:
    expected = quantiles(lags, n=100, method="inclusive")[percent - 1]
    assert percentile(lags, percent) == pytest.approx(expected)
    assert percentile_ms(lags, percent) == pytest.approx(expected * 1000, abs=0.06)
    assert percentile(lags, 0) == min(lags)
    assert percentile(lags, 100) == max(lags)
