"""A simulation of Lambda's event source mapping: shards, polls, batches, retries, concurrency.

Time is simulated, event by event; the function is whatever `serve` answers. What AWS does not
document is a constant here, marked as assumed.

https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-eventsourcemapping.html
"""

import random
from bisect import bisect_left
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import accumulate, count
from math import floor, inf
from typing import Final

import msgspec

from dynamirror.costs.figures import POLL_SECONDS

# https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
ACCOUNT_LIMIT: Final = 1_000
_NEW_ENVIRONMENTS: Final = 1_000  # of one function, every ten seconds
_NEW_SECONDS: Final = 10.0
REQUESTS_OF_EACH: Final = 10  # a second, for each of the concurrent invocations of the account
# Assumed: how soon Lambda retries a batch that failed or was throttled, as our own runner does.
_FIRST_RETRY_SECONDS: Final = 0.1
_LONGEST_RETRY_SECONDS: Final = 10.0
# Assumed: how soon Lambda finds the children of a shard that was split.
_DISCOVERY_SECONDS: Final = 1.0
_SAMPLE_SECONDS: Final = 0.5


class Mapping(msgspec.Struct, frozen=True):
    """The settings of the mapping, and the limits of the account.

    Args:
        batch_size: most records of a batch.
        window: seconds to wait for a full batch.
        factor: concurrent batches of a shard.
        cold_seconds: time of a new sandbox, before its first batch.
        concurrency: most invocations at a time.
    """

    batch_size: int = 1_000
    window: float = 0.0
    factor: int = 1
    cold_seconds: float = 0.0
    concurrency: int = ACCOUNT_LIMIT


class Served(msgspec.Struct, frozen=True):
    """What came of an invocation.

    Args:
        seconds: how long it took.
        applied: how many of its records were applied, before the first that was not.
    """

    seconds: float
    applied: int


class Lane:
    """The changes of one shard, or of one of its concurrent batches, in order.

    Args:
        shard: number of the shard.
        number: number of the lane.
        rate: changes a second.
        begin: when the shard was made.
        phase: when the first change comes, and when it is polled, from 0 to 1.
    """

    __slots__ = (
        *("shard", "number", "rate", "begin", "phase", "end", "done", "pieces", "failures"),
        *("children", "is_busy"),
    )

    def __init__(self, shard: int, number: int, rate: float, begin: float, phase: float) -> None:
        self.shard = shard
        self.number = number
        self.rate = rate
        self.begin = begin
        self.phase = phase
        self.end = inf
        self.done = 0  # changes that were applied
        self.pieces: list[int] = []  # lengths of the batches to repeat, the next one last
        self.failures = 0
        self.children: Family | None = None
        self.is_busy = False

    def arrived(self, now: float) -> int:
        """Return how many changes there have been."""
        return max(0, floor((min(now, self.end) - self.begin) * self.rate + self.phase))

    def time_of(self, index: float) -> float:
        """Return when a change was made; the first one is 0."""
        return self.begin + (index + 1 - self.phase) / self.rate

    def is_drained(self, now: float) -> bool:
        """Return whether the shard is closed, and all its changes are applied."""
        return now >= self.end and self.done >= self.arrived(now)


class Family:
    """A shard that was split: its children begin once all its lanes are drained."""

    def __init__(self, open_lanes: int, children: list[Lane], closed: float) -> None:
        self.open_lanes = open_lanes
        self.children = children
        self.closed = closed


class Bucket:
    """Permits so many steps a second, and as many at once as have gathered.

    Args:
        rate: how many a second.
        most: how many gather.
        left: how many have gathered at the beginning; None for the most.
    """

    def __init__(self, rate: float, most: float, left: float | None = None) -> None:
        self._rate = rate
        self._most = most
        self._left = most if left is None else left
        self._at = 0.0

    def left(self, now: float) -> float:
        """Return how many are permitted now."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left

    def take(self, now: float, steps: int = 1) -> bool:
        """Take some steps if they are permitted."""
        if self.left(now) < steps:
            return False
        self._left -= steps
        return True


class Outcome(msgspec.Struct, frozen=True):
    """What a simulated time came to.

    Args:
        seconds: for how long changes were made.
        shards: number of shards at the beginning.
        records: changes made, all of which were applied.
        invocations: invocations, with those that failed.
        calls: those of them that began while changes were made.
        records_each: mean number of records of an invocation.
        failed: invocations after which a part of the batch, or all, was repeated.
        throttled: invocations that Lambda refused, for want of concurrency.
        environments: sandboxes that were made.
        concurrency: mean number of invocations at a time, from a tenth of the time on.
        peak_concurrency: most of them.
        peak_backlog: most changes at a time that were made and not applied.
        backlog: those at the end of the time.
        caught_up: seconds from the end of the time until all were applied.
        lag_p50: median of the seconds from change to entry.
        lag_p99: 99th percentile of these.
        lag_max: the longest.
        out_of_order: children that began before all of their parent was applied.
    """

    seconds: float
    shards: int
    records: int
    invocations: int
    calls: int
    records_each: float
    failed: int
    throttled: int
    environments: int
    concurrency: float
    peak_concurrency: int
    peak_backlog: int
    backlog: int
    caught_up: float
    lag_p50: float
    lag_p99: float
    lag_max: float
    out_of_order: int


Serve = Callable[[Lane, int, float], Served]


class EventSource:
    """Delivers the changes of a table's shards to a function.

    Args:
        mapping: settings and limits.
        serve: answers an invocation: of a lane, with so many records from `lane.done` on, now.
        seed: of arrivals and retries.
    """

    def __init__(self, mapping: Mapping, serve: Serve, *, seed: int = 1) -> None:
        self.mapping = mapping
        self._serve = serve
        self._rng = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self.lanes: list[Lane] = []
        self._shards = count()
        self._until = 0.0
        self._running = self._idle = self._environments = 0
        self._fresh = Bucket(_NEW_ENVIRONMENTS / _NEW_SECONDS, _NEW_ENVIRONMENTS)
        requests = mapping.concurrency * REQUESTS_OF_EACH
        self._requests = Bucket(requests, requests, left=0)
        self._invocations = self._calls = self._failed = self._throttled = self._sent = 0
        self._busy_seconds, self._changed_at, self._peak = 0.0, 0.0, 0
        self._backlogs: list[tuple[float, int]] = []
        self._lags: list[tuple[float, int]] = []
        self._lag_max = self._last = 0.0
        self._out_of_order = 0

    def add_shard(self, rate: float, *, begin: float = 0.0) -> list[Lane]:
        """Add a shard that gets so many changes a second, and return its lanes."""
        factor, shard = self.mapping.factor, next(self._shards)
        lanes = [
            Lane(shard, number, rate / factor, begin, self._rng.random())
            for number in range(factor)
        ]
        self.lanes += lanes
        return lanes

    def split(self, lanes: list[Lane], at: float) -> list[list[Lane]]:
        """Close a shard, and give its changes from then on to two children; return their lanes."""
        rate = sum(lane.rate for lane in lanes) / 2
        children = [self.add_shard(rate, begin=at) for _ in range(2)]
        family = Family(len(lanes), [lane for child in children for lane in child], at)
        for lane in lanes:
            lane.end, lane.children = at, family
        return children

    def run(self, seconds: float) -> Outcome:
        """Make changes for some time, and go on until all are applied.

        Args:
            seconds: for how long changes are made.
        """
        self._until = seconds
        born = {lane for each in self.lanes if each.children for lane in each.children.children}
        for lane in self.lanes:
            lane.end = min(lane.end, seconds)
            if lane not in born:
                self._at(lane.phase * POLL_SECONDS, lane, self._poll)
        heappush(self._events, (0.0, next(self._order), self._sample))
        shards = len({lane.shard for lane in self.lanes if lane not in born})
        while self._events:
            now, _, act = heappop(self._events)
            act(now)
        return self._outcome(seconds, shards)

    def _at(self, time: float, lane: Lane, act: Callable[[Lane, float], None]) -> None:
        heappush(self._events, (time, next(self._order), lambda now: act(lane, now)))

    def _sample(self, now: float) -> None:
        self._backlogs.append((now, sum(lane.arrived(now) - lane.done for lane in self.lanes)))
        if now < self._until or self._backlogs[-1][1]:
            at = (len(self._backlogs)) * _SAMPLE_SECONDS
            heappush(self._events, (at, next(self._order), self._sample))

    def _poll(self, lane: Lane, now: float) -> None:
        found = lane.arrived(now) - lane.done
        if found:
            mapping = self.mapping
            if not mapping.window or found >= mapping.batch_size:
                self._invoke(lane, now)
                return
            full = lane.time_of(lane.done + mapping.batch_size - 1)
            self._at(min(now + mapping.window, max(full, now)), lane, self._invoke)
        elif lane.is_drained(now):
            self._leave(lane, now)
        else:
            self._at(now + POLL_SECONDS, lane, self._poll)

    def _leave(self, lane: Lane, now: float) -> None:
        """Go on with the children, once no lane of their parent has changes left."""
        family = lane.children
        if family is None:
            return
        family.open_lanes -= 1
        if not family.open_lanes:
            found = max(now, family.closed + _DISCOVERY_SECONDS)
            for child in family.children:
                self._at(found + self._rng.random() * POLL_SECONDS, child, self._poll)

    def _invoke(self, lane: Lane, now: float) -> None:
        cold = self._take_environment(now)
        if cold is None:
            self._throttled += 1
            self._at(now + self._pause(lane), lane, self._invoke)
            return
        family = lane.children
        for child in family.children if family else ():
            self._out_of_order += child.is_busy or child.done > 0
        count_ = lane.pieces[-1] if lane.pieces else lane.arrived(now) - lane.done
        count_ = min(count_, self.mapping.batch_size)
        assert count_ > 0, "nothing is no batch"
        assert not lane.is_busy, "the batches of a lane follow each other"
        lane.is_busy = True
        self._count(now, +1)
        self._invocations += 1
        self._calls += now < self._until
        self._sent += count_
        served = self._serve(lane, count_, now)
        self._at(
            now + (self.mapping.cold_seconds if cold else 0.0) + served.seconds,
            lane,
            lambda lane, now: self._end(lane, count_, served.applied, now),
        )

    def _take_environment(self, now: float) -> bool | None:
        """Take a sandbox: return whether it is new, or None if there is none to be had."""
        if self._running >= self.mapping.concurrency or not self._requests.take(now):
            return None
        if self._idle:
            self._idle -= 1
            return False
        if not self._fresh.take(now):
            return None
        self._environments += 1
        return True

    def _count(self, now: float, more: int) -> None:
        begin = min(self._until, max(self._changed_at, self._until / 10))
        self._busy_seconds += self._running * max(0.0, min(now, self._until) - begin)
        self._changed_at = now
        self._running += more
        self._peak = max(self._peak, self._running)

    def _end(self, lane: Lane, sent: int, applied: int, now: float) -> None:
        lane.is_busy = False
        self._idle += 1
        self._count(now, -1)
        if applied:
            self._note_lags(lane, applied, now)
            lane.done += applied
            lane.failures = 0
        if lane.pieces:
            lane.pieces.pop()
        if applied == sent:
            # The rest is there already: Lambda's poller reads on while the function runs.
            if lane.pieces or lane.arrived(now) - lane.done >= self.mapping.batch_size:
                self._invoke(lane, now)
            else:
                passed = floor(now / POLL_SECONDS - lane.phase)
                self._at((passed + 1 + lane.phase) * POLL_SECONDS, lane, self._poll)
            return
        self._failed += 1
        rest = sent - applied
        # A batch of which nothing was applied is bisected.
        halves = (rest,) if applied or rest == 1 else (rest - rest // 2, rest // 2)
        lane.pieces += halves
        self._at(now + (0.0 if applied else self._pause(lane)), lane, self._invoke)

    def _note_lags(self, lane: Lane, applied: int, now: float) -> None:
        self._last = max(self._last, now)
        self._lag_max = max(self._lag_max, now - lane.time_of(lane.done))
        for quarter in (1 / 8, 3 / 8, 5 / 8, 7 / 8):
            self._lags.append((now - lane.time_of(lane.done + (applied - 1) * quarter), applied))

    def _pause(self, lane: Lane) -> float:
        lane.failures += 1
        doubled = _FIRST_RETRY_SECONDS * 2.0 ** min(lane.failures, 20)
        longest = min(_LONGEST_RETRY_SECONDS, doubled)
        return longest * (0.5 + self._rng.random() / 2)

    def _outcome(self, seconds: float, shards: int) -> Outcome:
        self._lags.sort()
        weights = list(accumulate(weight for _, weight in self._lags))

        def percentile(share: float) -> float:
            return self._lags[bisect_left(weights, share * weights[-1])][0] if weights else 0.0

        records = sum(lane.done for lane in self.lanes)
        return Outcome(
            seconds=seconds,
            shards=shards,
            records=records,
            invocations=self._invocations,
            calls=self._calls,
            records_each=self._sent / max(1, self._invocations),
            failed=self._failed,
            throttled=self._throttled,
            environments=self._environments,
            concurrency=self._busy_seconds / (0.9 * seconds),
            peak_concurrency=self._peak,
            peak_backlog=max(backlog for _, backlog in self._backlogs),
            backlog=next(backlog for at, backlog in self._backlogs if at >= seconds),
            caught_up=max(0.0, self._last - seconds),
            lag_p50=percentile(0.5),
            lag_p99=percentile(0.99),
            lag_max=self._lag_max,
            out_of_order=self._out_of_order,
        )
