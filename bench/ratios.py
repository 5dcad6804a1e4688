"""The promises about speed: ratios, because only they hold on another machine, too."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec


class Ratio(msgspec.Struct, frozen=True, omit_defaults=True):
    """A promise and what was measured.

    Args:
        name: the promise.
        value: the ratio that was measured.
        bound: the ratio that is promised.
        at_least: whether the bound is the least; else it is the most.
        rate: the rate that was measured, if it may keep the promise instead.
        rate_bound: the rate that keeps the promise instead, whatever the ratio.
    """

    name: str
    value: float
    bound: float
    at_least: bool
    rate: float | None = None
    rate_bound: float | None = None

    @property
    def headroom(self) -> float:
        """What was measured over what is promised: 1.1 has a tenth to spare."""
        headroom = self.value / self.bound if self.at_least else self.bound / self.value
        if self.rate is None or self.rate_bound is None:
            return headroom
        return max(headroom, self.rate / self.rate_bound)

    @property
    def is_kept(self) -> bool:
        """Whether the promise is kept."""
        return self.headroom >= 1

    @property
    def promised(self) -> str:
        """The promise as text."""
        text = f"{'≥' if self.at_least else '≤'} {self.bound:g}"
        return text if self.rate_bound is None else f"{text} or {self.rate_bound:,.0f} a second"

    @property
    def measured(self) -> str:
        """The measured ratio as text, with the rate where it may count instead."""
        text = f"{self.value:g}"
        return text if self.rate is None else f"{text}, {self.rate:,.0f} a second"


@dataclass(frozen=True, slots=True)
class Required:
    """A promise.

    Args:
        name: the promise as text.
        figure: the figure above the line.
        base: the figure below the line.
        bound: the least that their ratio may be; or the most.
        at_least: whether the bound is the least.
        rate_bound: a rate of the figure that keeps the promise, whatever the ratio; None for none.
    """

    name: str
    figure: str
    base: str
    bound: float
    at_least: bool = True
    rate_bound: float | None = None

    def of(self, rounds: Mapping[str, Sequence[float]]) -> Ratio | None:
        """Return the median of the ratios of the rounds, or None if they were not measured.

        The two figures of a round are measured one after the other, so that a disturbance affects
        both. The median ignores the rounds in which it affects only one.
        """
        above, below = rounds.get(self.figure), rounds.get(self.base)
        if not above or not below:
            return None
        value = statistics.median(a / b for a, b in zip(above, below, strict=True))
        return Ratio(
            self.name,
            _three_digits(value),
            self.bound,
            self.at_least,
            _three_digits(statistics.median(above)) if self.rate_bound else None,
            self.rate_bound,
        )


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")


_BATCHED = "apply.uniform.10000.json"
_START = "cold start with Lambda's runtime client, times the original's in Node.js"

REQUIRED = (
    Required(
        "apply, different items, of the EVALSHA ceiling",
        f"{_BATCHED}.loopback",
        "ceiling.evalsha",
        0.65,
    ),
    Required(
        "apply, different items, times the original's way, loopback",
        f"{_BATCHED}.loopback",
        "original.node.loopback",
        7,
    ),
    Required(
        "apply, different items, times the original's way, loopback, both over TLS",
        f"{_BATCHED}.tls",
        "original.node.tls",
        10,
    ),
    Required(
        "apply, different items, times the original's way, 1 ms away",
        f"{_BATCHED}.1ms",
        "original.node.1ms",
        60,
    ),
    Required(
        "apply, 100 hot items, times different items",
        "apply.hot.10000.json.loopback",
        f"{_BATCHED}.loopback",
        5.5,
        rate_bound=850_000,
    ),
    Required(
        "one record a batch as deployed, times the original's way, both over TLS",
        "deployed.1",
        "deployed.original",
        0.55,
    ),
    Required(
        "rows of a backfill, from memory, of the EVALSHA ceiling",
        "rows.memory",
        "rows.ceiling",
        0.75,
    ),
    Required(_START, "start.packaged", "start.node", 1.05, at_least=False),
    Required(
        f"{_START}, both over TLS",
        "start.packaged.tls",
        "start.node.tls",
        1.05,
        at_least=False,
    ),
    Required("Reader.get_item, of the plain client's GET", "read.get_item", "read.plain.get", 0.7),
    Required(
        "Reader.get_item, median time, times the plain client's GET",
        "read.get_item.p50",
        "read.plain.get.p50",
        1.5,
        at_least=False,
    ),
    Required(
        "an attached client's GetItem, fastest call, of the emulator's fastest",
        "attached.get_item.fastest",
        "emulator.get_item.fastest",
        0.25,
        at_least=False,
    ),
)


def worst(runs: Sequence[Sequence[Ratio]]) -> list[Ratio]:
    """Return each promise as the run measured it that has the least headroom.

    Args:
        runs: the ratios of each run, the newest last; its promises count.
    """
    by_name: dict[str, Ratio] = {}
    for ratios in runs:
        for ratio in ratios:
            other = by_name.get(ratio.name)
            if other is None or ratio.headroom < other.headroom:
                by_name[ratio.name] = ratio
    return [by_name[ratio.name] for ratio in runs[-1]] if runs else []
