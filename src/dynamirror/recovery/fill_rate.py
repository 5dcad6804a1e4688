"""How fast a rebuild may write, so that a new ElastiCache Serverless cache throttles nothing.

Such a cache takes some processing units (ECPUs) a second at first, and doubles that every two to
three minutes: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/Scaling.html
"""

from math import log, log2
from typing import Final

import msgspec

from dynamirror.costs.figures import CHANGE_ECPUS

# The longer of the two times, to be safe.
DOUBLING_SECONDS: Final = 180.0
ECPUS_PER_KB: Final = 1.0
KB_PER_CONSISTENT_UNIT: Final = 4.0
# After that the rate is beyond what any rebuild writes.
_RAMP_SECONDS: Final = 3600.0


class FillRate(msgspec.Struct, frozen=True):
    """The units that the workers of a rebuild may use.

    Args:
        first: units a second when the rebuild begins; None for no limit.
        workers: number of workers that share them.
    """

    first: float | None
    workers: int = 1

    def wait(self, units: float, *, begun: float, since: float, now: float) -> float:
        """Return for how many seconds a worker must pause.

        Args:
            units: what the worker has used since it began.
            begun: when the rebuild began.
            since: when the worker began.
            now: the time; all are in seconds of one clock.
        """
        if self.first is None or since - begun > _RAMP_SECONDS:
            return 0.0
        # The time at which the integral of a rate that doubles reaches the units.
        doublings = max(0.0, since - begun) / DOUBLING_SECONDS
        share = self.first / self.workers
        used = units * log(2) / (share * DOUBLING_SECONDS)
        allowed_at = max(begun, since) + DOUBLING_SECONDS * (log2(2**doublings + used) - doublings)
        return max(0.0, allowed_at - now)


def ecpus(entries: int, read_units: float, *, consistent: bool) -> float:
    """Return the units that a rebuild uses to write entries.

    Args:
        entries: number of entries.
        read_units: DynamoDB's units for their items, which tell their size.
        consistent: whether the items were read with strong consistency.
    """
    kilobytes = read_units * KB_PER_CONSISTENT_UNIT * (1 if consistent else 2)
    return entries * CHANGE_ECPUS + kilobytes * ECPUS_PER_KB
