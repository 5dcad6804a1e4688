"""What is promised of speed: ratios, for only they travel from one machine to another."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec


class Ratio(msgspec.Struct, frozen=True):
    """A promise and what was measured.

    Args:
        name: the promise.
        value: what was measured.
        bound: what was promised.
        at_least: whether the bound is the least; else it is the most.
    """

    name: str
    value: float
    bound: float
    at_least: bool

    @property
    def is_kept(self) -> bool:
        """Whether the promise is kept."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass(frozen=True, slots=True)
class Required:
    """A promise.

    Args:
        name: what it says.
        figure: the figure above the line.
        base: the one below.
        bound: the least that their ratio may be; or the most.
        at_least: which of both.
    """

    name: str
    figure: str
    base: str
    bound: float
    at_least: bool = True

    def of(self, rounds: Mapping[str, Sequence[float]]) -> Ratio | None:
        """The median of each round's ratio, as what disturbs a round disturbs both figures.

        None if it was not measured.
        """
        above, below = rounds.get(self.figure), rounds.get(self.base)
        if not above or not below:
            return None
        value = statistics.median(a / b for a, b in zip(above, below, strict=False))
        return Ratio(self.name, float(f"{value:.3g}"), self.bound, self.at_least)


_BATCHED = "apply.uniform.10000.json"

REQUIRED = (
    Required(
        "apply, different items, of the EVALSHA ceiling",
        f"{_BATCHED}.loopback",
        "ceiling.evalsha",
        0.55,
    ),
    Required(
        "apply, different items, times the original's way, loopback",
        f"{_BATCHED}.loopback",
        "original.node.loopback",
        10,
    ),
    Required(
        "apply, different items, times the original's way, 1 ms away",
        f"{_BATCHED}.1ms",
        "original.node.1ms",
        100,
    ),
    Required(
        "apply, 100 hot items, times different items",
        "apply.hot.10000.json.loopback",
        f"{_BATCHED}.loopback",
        8,
    ),
    Required(
        "rows of a backfill, from memory, of the EVALSHA ceiling",
        "rows.memory",
        "ceiling.evalsha",
        0.5,
    ),
    Required(
        "cold start, times the original's in Node.js",
        "start.packaged",
        "start.node",
        1.5,
        at_least=False,
    ),
    Required("Reader.get_item, of the plain client's GET", "read.get_item", "read.plain.get", 0.7),
)
