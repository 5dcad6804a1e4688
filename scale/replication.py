"""Replication at scale: a thousand shards, simulated on the real handler.

`replicate.py` runs it for `make scale-replication`. Batches of some shards go
through the real handler into a real Valkey, and are compared in the end. What they take is what the
other shards take. `event_source.py` simulates Lambda; the account has its default limits.
"""

import random
from collections.abc import Callable, Sequence
from math import log2
from typing import Final

import msgspec

from dynamirror.costs import figures
from dynamirror.costs.workload import Workload
from dynamirror.recovery.fill_rate import DOUBLING_SECONDS
from dynamirror.settings import FIRST_ECPUS
from scale import event_source
from scale.event_source import ACCOUNT_LIMIT, REQUESTS_OF_EACH, Bucket, EventSource, Lane, Served
from scale.real_handler import BatchTimes, RealShards

_MILLION: Final = 1_000_000


class Scenario(msgspec.Struct, frozen=True):
    """What happens to a fleet of shards.

    Args:
        name: for the table.
        window: the batching window in seconds.
        factor: concurrent batches of a shard.
        split: share of the shards that are split after a third of the time.
        taken: share of the changes that the cache takes in the second third of the time; the rest
            is refused. None for a cache that does not answer at all.
    """

    name: str
    window: float = 0.0
    factor: int = 1
    split: float = 0.0
    taken: float | None = 1.0


SCENARIOS: Final = (
    Scenario("as deployed"),
    Scenario("window of 1 s", window=1),
    Scenario("10 batches a shard", factor=10),
    Scenario("10 batches, window of 1 s", window=1, factor=10),
    Scenario("a tenth of the shards splits", split=0.1),
    Scenario("the cache takes half", taken=0.5),
    Scenario("the cache hangs", taken=None),
    Scenario("the cache hangs, 10 batches", window=1, factor=10, taken=None),
)


class Fleet(msgspec.Struct, frozen=True):
    """The size of the simulation.

    Args:
        shards: number of shards.
        rate: changes a second of each.
        seconds: for how long.
        sample: how many shards go through the real handler, the first of them split if any are.
        memory_mb: memory of the function.
        cold_seconds: time of a new sandbox.
        seed: of everything drawn.
    """

    shards: int = 1_000
    rate: float = 100.0
    seconds: float = 60.0
    sample: int = 4
    memory_mb: int = Workload().memory_mb
    cold_seconds: float = 0.1
    seed: int = 1


class Result(msgspec.Struct, frozen=True):
    """What came of a scenario.

    Args:
        scenario: the scenario.
        outcome: of the simulation.
        real_invocations: invocations of the real handler.
        real_records: records that it applied.
        differences: entries in the real cache that differ in the end.
    """

    scenario: Scenario
    outcome: event_source.Outcome
    real_invocations: int
    real_records: int
    differences: int


class Limits(msgspec.Struct, frozen=True):
    """Where an account's default limits end, computed from the measured times.

    Args:
        requests: invocations a second that the account permits.
        lanes_by_requests: busy shards, times the batches of each, without a window, at which the
            account permits no more invocations a second.
        lanes_by_requests_window: the same with a window of 1 s.
        lanes_by_concurrency: those at which all invocations run at once, while all goes well.
        lanes_hung: those at which they do while the cache hangs.
        ecpus: processing units a second for all changes of the fleet.
        cache_ramp_seconds: until a new serverless cache takes them.
    """

    requests: float
    lanes_by_requests: float
    lanes_by_requests_window: float
    lanes_by_concurrency: float
    lanes_hung: float
    ecpus: float
    cache_ramp_seconds: float


class Report(msgspec.Struct, frozen=True):
    """All of a run.

    Args:
        fleet: its size.
        times: what the real handler took.
        results: what came of each scenario.
        limits: where default limits end.
    """

    fleet: Fleet
    times: BatchTimes
    results: tuple[Result, ...]
    limits: Limits


class _Function:
    """The function and its cache, as a scenario has them."""

    def __init__(
        self, fleet: Fleet, scenario: Scenario, times: BatchTimes, real: RealShards
    ) -> None:
        self._fleet, self._scenario, self._times, self._real = fleet, scenario, times, real
        self._rng = random.Random(fleet.seed)
        self._share = min(1.0, fleet.memory_mb / figures.ONE_VCPU_MB)
        self._trouble = (fleet.seconds / 3, 2 * fleet.seconds / 3)
        changes = fleet.shards * fleet.rate * (scenario.taken or 0.0)
        self._taken = Bucket(changes, changes)
        self.names: dict[Lane, tuple[str, int]] = {}

    def serve(self, lane: Lane, records: int, now: float) -> Served:
        """Apply records of a lane, really or by the measured times."""
        taken = records
        if self._trouble[0] <= now < self._trouble[1]:
            if self._scenario.taken is None:
                return Served(self._times.hung_seconds, 0)
            if self._scenario.taken < 1 and not self._taken.take(now, records):
                taken = 0
        if lane in self.names:
            name, first = self.names[lane]
            seconds, applied = self._apply(name, first + lane.done, records, taken=bool(taken))
            assert applied == taken, "the handler reports what the cache took"
        else:
            seconds = self._times.cpu_of(records) * self._rng.choice(self._times.spread)
        waiting = figures.BATCH_WAIT_US + records * figures.RECORD_WAIT_US
        return Served(seconds / self._share + waiting / _MILLION, taken)

    def _apply(self, name: str, first: int, records: int, *, taken: bool) -> tuple[float, int]:
        if taken:
            return self._real.apply(name, first, records)
        with self._real.refusing():
            return self._real.apply(name, first, records)


def simulate(fleet: Fleet, scenario: Scenario, times: BatchTimes, real: RealShards) -> Result:
    """Simulate one scenario.

    Args:
        fleet: its size.
        scenario: what happens.
        times: what the real handler takes.
        real: applies the batches of the sampled shards.
    """
    function = _Function(fleet, scenario, times, real)
    mapping = event_source.Mapping(
        window=scenario.window, factor=scenario.factor, cold_seconds=fleet.cold_seconds
    )
    source = EventSource(mapping, function.serve, seed=fleet.seed)
    shards = [source.add_shard(fleet.rate) for _ in range(fleet.shards)]
    sampled = dict(enumerate(shards[: fleet.sample]))
    for number, lanes in sampled.items():
        for lane in lanes:
            function.names[lane] = (f"{scenario.name}/{number}.{lane.number}", 0)
    for lanes in shards[: round(fleet.shards * scenario.split)]:
        # The first child changes the items of its parent from where that ends.
        children = source.split(lanes, fleet.seconds / 3)
        for parent, child in zip(lanes, children[0], strict=True):
            if parent in function.names:
                function.names[child] = (function.names[parent][0], parent.arrived(fleet.seconds))
    invocations, records = real.invocations, real.records
    outcome = source.run(fleet.seconds)
    return Result(
        scenario,
        outcome,
        real.invocations - invocations,
        real.records - records,
        real.differences(),
    )


def limits(fleet: Fleet, results: Sequence[Result]) -> Limits:
    """Compute where the default limits of an account end.

    Args:
        fleet: the fleet.
        results: the first is without trouble.
    """
    requests = float(ACCOUNT_LIMIT * REQUESTS_OF_EACH)
    each = Workload(changes=fleet.rate, shards=1).polling
    windowed = Workload(changes=fleet.rate, shards=1, window=1).polling
    usual = results[0].outcome
    ecpus = fleet.shards * fleet.rate * figures.CHANGE_ECPUS
    doublings = max(0.0, log2(ecpus / FIRST_ECPUS))
    return Limits(
        requests=requests,
        lanes_by_requests=requests / each.invocations,
        lanes_by_requests_window=requests / windowed.invocations,
        lanes_by_concurrency=ACCOUNT_LIMIT / usual.concurrency * usual.shards,
        # Each waits for the cache, or for the next attempt.
        lanes_hung=float(ACCOUNT_LIMIT),
        ecpus=ecpus,
        cache_ramp_seconds=doublings * DOUBLING_SECONDS,
    )


def run(
    fleet: Fleet,
    real: RealShards,
    *,
    scenarios: Sequence[Scenario] = SCENARIOS,
    rounds: int = 20,
    on_result: Callable[[Result], object] = lambda _result: None,
) -> Report:
    """Measure the handler, and simulate all scenarios.

    Args:
        fleet: their size.
        real: the real handler and cache.
        scenarios: the scenarios; the first without trouble.
        rounds: how often each size of batch is measured.
        on_result: called with each result.
    """
    times = real.measure(rounds)
    results = []
    for scenario in scenarios:
        results.append(simulate(fleet, scenario, times, real))
        on_result(results[-1])
    return Report(fleet, times, tuple(results), limits(fleet, results))
