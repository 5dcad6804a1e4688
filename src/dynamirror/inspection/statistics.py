"""What a number of checks proves: ratios, nines and exact bounds; pure."""

from math import exp, expm1, floor, inf, lgamma, log, log1p, log10
from typing import Final

CONFIDENCE: Final = 0.95
# A continued fraction that has not settled by then never will; it takes about sqrt(n) steps.
_MOST_STEPS: Final = 100_000
_TINY: Final = 1e-300
_PRECISION: Final = 1e-15


def ratio(consistent: int, asked: int) -> float | None:
    """Return the share of consistent answers; None where nothing was asked."""
    return consistent / asked if asked else None


def nines(part: float) -> float:
    """Return a ratio as nines: 0.999 has three; infinite for 1."""
    return -log10(1 - part) if part < 1 else inf


def highest_failure_rate(failures: int, checks: int, confidence: float = CONFIDENCE) -> float:
    """Return the exact upper bound of the rate of failures, by Clopper and Pearson.

    Without a failure it is about 3 / checks at 95 %.

    Args:
        failures: checks that failed.
        checks: independent checks.
        confidence: probability with which the true rate is not higher.
    """
    if failures >= checks:
        return 1.0
    if not failures:
        return -expm1(log(1 - confidence) / checks)
    low, high = failures / checks, 1.0
    # The bound is the rate at which so few failures are just improbable.
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if _at_most(failures, checks, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def proven_nines(failures: int, checks: int) -> float:
    """Return the nines that checks prove at 95 %, floored to one decimal; 0 where none."""
    if not checks:
        return 0.0
    # Rounded first: a bound of exactly 1e-6 must not become 5.9 nines in the last digit.
    return floor(round(-log10(highest_failure_rate(failures, checks)) * 10, 9)) / 10


def sentence(failures: int, checks: int) -> str:
    """Return what checks prove, as in "at least 4.2 nines (95%), 48,000 checks"."""
    if not checks:
        return "no checks yet"
    noun = "check" if checks == 1 else "checks"
    proven = f"at least {proven_nines(failures, checks):.1f} nines (95%), {checks:,} {noun}"
    return f"{proven}, {failures:,} failed" if failures else proven


def _at_most(failures: int, checks: int, rate: float) -> float:
    """Return the probability of at most so many failures: 1 - I(rate; failures + 1, rest)."""
    a, b = failures + 1.0, float(checks - failures)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(rate) + b * log1p(-rate))
    if rate < (a + 1) / (a + b + 2):
        return 1 - front * _fraction(a, b, rate) / a
    return front * _fraction(b, a, 1 - rate) / b


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function, by Lentz's method.

    https://dlmf.nist.gov/8.17.v
    """
    c, d = 1.0, 1.0 / _not_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MOST_STEPS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _not_zero(1 + term * d)
            c = _not_zero(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
