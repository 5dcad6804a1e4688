"""Percentiles of measured values."""

from collections.abc import Sequence
from math import floor


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Interpolate linearly between the closest values, and return None if there are none.

    Args:
        values: in any order.
        percent: from 0 to 100.
    """
    if not values:
        return None
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    low = ordered[floor(rank)]
    high = ordered[min(floor(rank) + 1, len(ordered) - 1)]
    return low + (high - low) * (rank - floor(rank))


def percentile_ms(lags: Sequence[float], percent: float) -> float | None:
    """Return a percentile in milliseconds, rounded to tenths, or None if there are no lags.

    Args:
        lags: in seconds.
        percent: from 0 to 100.
    """
    lag = percentile(lags, percent)
    return None if lag is None else round(lag * 1000, 1)
