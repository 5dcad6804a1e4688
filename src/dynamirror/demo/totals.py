"""The running totals of a demo."""

from collections.abc import Iterable
from typing import Self

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

    @classmethod
    def sum_of(cls, parts: Iterable[Self]) -> Self:
        """Return the totals of several tables together."""
        total = cls()
        for part in parts:
            for name in cls.__struct_fields__:
                setattr(total, name, getattr(total, name) + getattr(part, name))
        return total

    def lag_ms(self) -> dict[str, float | None]:
        """Return the median and the 99th percentile of the lags, in milliseconds."""
        if len(self.lags) < _FEWEST_LAGS:
            return {"p50": None, "p99": None}
        return {"p50": percentile_ms(self.lags, 50), "p99": percentile_ms(self.lags, 99)}
