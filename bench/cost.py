"""What a million changes cost on Lambda, from measured times."""

import math
from dataclasses import dataclass
from typing import Final

from bench.results import Results
from dynamirror.costs import prices
from dynamirror.costs.figures import ONE_VCPU_MB
from dynamirror.costs.prices import MILLION

PRICES_AS_OF: Final = prices.REQUESTS.as_of
GB_SECOND: Final = {name: price.dollars for name, price in prices.GB_SECONDS.items()}
MILLION_REQUESTS: Final = prices.REQUESTS.dollars
DEFAULT_MB: Final = 1_024  # of `Mirror`
NODE_DEFAULT_MB: Final = 128  # of Lambda and of CDK


@dataclass(frozen=True, slots=True)
class Bill:
    """What a million changes cost.

    Args:
        way: whose.
        batch: records an invocation.
        memory_mb: of the function.
        milliseconds: billed for one invocation.
    """

    way: str
    batch: int
    memory_mb: int
    milliseconds: int

    @property
    def requests(self) -> float:
        """How many invocations a million changes take."""
        return MILLION / self.batch

    @property
    def gb_seconds(self) -> float:
        """What all of them are billed for."""
        return self.requests * self.milliseconds / 1000 * self.memory_mb / 1024

    def dollars(self, architecture: str) -> float:
        """What that costs."""
        duration = self.gb_seconds * GB_SECOND[architecture]
        return duration + self.requests / MILLION * MILLION_REQUESTS


def billed(way: str, batch: int, memory_mb: int, *, wall_us: float, cpu_us: float) -> Bill:
    """Work out what is billed for a batch.

    Below one vCPU the CPU time of one record grows as the share shrinks, and what was not CPU time,
    waiting, stays as it is; that they may overlap is not counted on.

    Args:
        way: whose.
        batch: records an invocation.
        memory_mb: of the function.
        wall_us: microseconds from begin to end, per record, with a whole CPU.
        cpu_us: of which this much was CPU time of the process.
    """
    share = min(1.0, memory_mb / ONE_VCPU_MB)
    waiting = max(0.0, wall_us - cpu_us)
    return Bill(way, batch, memory_mb, math.ceil(batch * (waiting + cpu_us / share) / 1000))


def bills(results: Results) -> list[Bill]:
    """What ours and the original's way cost, with the cache a millisecond away.

    Ours is billed for what the runtime takes to decode the event, too; the original's is not.
    """
    batches = sorted(
        int(name.split(".")[2])
        for name in results.figures
        if name.startswith("apply.uniform.") and name.endswith(".json.1ms")
    )
    theirs = [
        _bill(results, "original", 1, memory_mb, name="original.node.1ms")
        for memory_mb in (NODE_DEFAULT_MB, DEFAULT_MB, ONE_VCPU_MB)
    ]
    decode_us = results.median("cpu.event.decode")
    return theirs + [
        _bill(
            results,
            "dynamirror",
            batch,
            memory_mb,
            name=f"apply.uniform.{batch}.json.1ms",
            decode_us=decode_us,
        )
        for memory_mb in (DEFAULT_MB, ONE_VCPU_MB)
        for batch in batches
    ]


def _bill(
    results: Results, way: str, batch: int, memory_mb: int, *, name: str, decode_us: float = 0.0
) -> Bill:
    wall = 1e6 / results.median(name) + decode_us
    return billed(
        way, batch, memory_mb, wall_us=wall, cpu_us=results.median(f"cpu.{name}") + decode_us
    )
