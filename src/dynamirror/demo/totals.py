"""The running totals of a demo."""

from dataclasses import dataclass, field
from statistics import quantiles

from dynamirror.views.batch_result import Tally


@dataclass(slots=True)
class Totals(Tally):
    """What a demo has done so far.

    Args:
        loaded: items loaded from a file.
        written: random writes to the table.
        lags: seconds from an acknowledged write to its sight in the cache.
    """

    loaded: int = 0
    written: int = 0
    lags: list[float] = field(default_factory=list)

    def lag_ms(self) -> dict[str, float | None]:
        """Return the median and the 99th percentile of the lags, in milliseconds."""
        lags = sorted(self.lags)
        if len(lags) < 2:  # noqa: PLR2004 - quantiles of one value are not defined
            return {"p50": None, "p99": None}
        cuts = quantiles(lags, n=100, method="inclusive")
        return {"p50": round(cuts[49] * 1000, 1), "p99": round(cuts[98] * 1000, 1)}
