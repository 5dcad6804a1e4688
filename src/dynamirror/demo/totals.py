"""The running totals of a demo."""

import msgspec

from dynamirror.demo.percentile import percentile_ms
from dynamirror.views.batch_result import Tally

_FEWEST_LAGS = 2  # one lag is no distribution


class Totals(Tally):
    """What a demo has done so far.

    Args:
        loaded: items loaded from a file.
        written: random writes to the table.
        lags: seconds from an acknowledged write to its sight in the cache.
    """

    loaded: int = 0
    written: int = 0
    lags: list[float] = msgspec.field(default_factory=list)

    def lag_ms(self) -> dict[str, float | None]:
        """Return the median and the 99th percentile of the lags, in milliseconds."""
        if len(self.lags) < _FEWEST_LAGS:
            return {"p50": None, "p99": None}
        return {"p50": percentile_ms(self.lags, 50), "p99": percentile_ms(self.lags, 99)}
