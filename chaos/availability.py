"""Three `run --ha` on one mirror, killed, paused and stopped at random: `make availability`.

Meanwhile a writer changes the table. Every process is asked all the time whether it leads, and the
checkpoints are read. Each run ends with a comparison of the whole table with the whole cache.
"""

import argparse
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from chaos.replicas import LEASE_SECONDS, Place, Replica
from dynamirror.cache.checkpoints import Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.dynamodb.client import describe_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError
from dynamirror.functions import simulator
from dynamirror.stoppable_thread import StoppableThread

_PROCESSES = 3
_WRITES_A_SECOND = 100
_ITEMS = 40
_ASKING_SECONDS = 0.02


@dataclass
class Run:
    """What came of one run.

    Args:
        seed: what it was drawn from.
        faults: kind to number of times.
        takeovers: seconds from the end of a leader until another led.
        overlap: the longest time for which two processes said that they lead, in seconds.
        backward: checkpoints that went back.
        written: changes written to the table.
        differences: entries that were not as the table says at the end.
    """

    seed: int
    faults: dict[str, int] = field(default_factory=dict)
    takeovers: list[float] = field(default_factory=list)
    overlap: float = 0.0
    backward: int = 0
    written: int = 0
    differences: int = 0


class Writer(StoppableThread):
    """Writes random changes to the table inside `with`."""

    def __init__(self, place: Place, rng: random.Random) -> None:
        super().__init__()
        self._place, self._rng = place, rng
        self.written = 0

    def run(self) -> None:
        """Write until stopped."""
        changes = simulator.operations(self._rng, ids=_ITEMS)
        while not self._halt.wait(1 / _WRITES_A_SECOND):
            simulator.write(self._place.client, self._place.table, next(changes))
            self.written += 1


class Watch(StoppableThread):
    """Asks all processes whether they lead, and reads the checkpoints, inside `with`."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place
        self._newest: dict[str, int] = {}
        self._checkpoints = Checkpoints(
            place.cache, describe_table(place.client, place.table).stream_arn
        )
        self.overlap = 0.0
        self.backward = 0
        self.asked = 0

    def run(self) -> None:
        """Ask until stopped."""
        since: float | None = None
        while not self._halt.wait(_ASKING_SECONDS):
            begin = time.monotonic()
            leaders = [each for each in list(self._place.replicas) if each.leads]
            # One may have handed over to the next while they were asked.
            several = len(leaders) > 1 and sum(each.leads for each in leaders) > 1
            if not several:
                since = None
            else:
                since = begin if since is None else since
                self.overlap = max(self.overlap, time.monotonic() - since)
            self.asked += 1
            self._read_checkpoints()

    def _read_checkpoints(self) -> None:
        with suppress(CacheError):
            for shard, checkpoint in self._checkpoints.load().items():
                after = int(checkpoint.after or 0)
                if after < self._newest.get(shard, 0):
                    self.backward += 1
                self._newest[shard] = after


def kill(place: Place, _rng: random.Random) -> float:
    """Kill the leader; return the seconds until another leads."""
    leader = place.new_leader()
    place.end(leader, signal.SIGKILL)
    return _taken_over(place, leader)


def stop(place: Place, _rng: random.Random) -> float:
    """Stop the leader by SIGTERM; return the seconds until another leads."""
    leader = place.new_leader()
    begin = time.monotonic()
    if status := place.end(leader, signal.SIGTERM):
        raise SystemExit(f"availability: exit status {status} after SIGTERM: {leader.lines}")
    place.new_leader(leader)
    return time.monotonic() - begin


def pause(place: Place, rng: random.Random) -> float | None:
    """Pause the leader, for less or for more than the lease; return when another leads, if so."""
    leader = place.new_leader()
    seconds = LEASE_SECONDS * rng.choice((0.3, 0.8, 1.0, 1.2, 2.0))
    leader.pause()
    try:
        if seconds < 2 * LEASE_SECONDS:
            time.sleep(seconds)
            return None
        return _taken_over(place, leader)
    finally:
        leader.wake()


def kill_standby(place: Place, rng: random.Random) -> None:
    """Kill a process that stands by, if there is one."""
    leader = place.new_leader()
    standbys = [each for each in place.replicas if each is not leader]
    if standbys:
        place.end(rng.choice(standbys), signal.SIGKILL)


FAULTS: dict[str, Callable[[Place, random.Random], float | None]] = {
    "kill the leader": kill,
    "stop the leader": stop,
    "pause the leader": pause,
    "kill a standby": kill_standby,
}


def _taken_over(place: Place, before: Replica) -> float:
    begin = time.monotonic()
    place.new_leader(before)
    return time.monotonic() - begin


def run(place: Place, seed: int, seconds: float) -> Run:
    """Do harm for a while, then compare."""
    result, rng = Run(seed), random.Random(seed)
    deck: list[str] = []
    for _ in range(_PROCESSES):
        place.start()
    place.wait()
    with Watch(place) as watch, Writer(place, random.Random(rng.random())) as writer:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # Every kind comes up once before any comes up again.
            deck = deck or rng.sample(list(FAULTS), len(FAULTS))
            kind = deck.pop()
            taken_over = FAULTS[kind](place, rng)
            result.faults[kind] = result.faults.get(kind, 0) + 1
            if taken_over is not None:
                result.takeovers.append(taken_over)
            while len(place.replicas) < _PROCESSES:
                place.start()
            place.wait()
            time.sleep(rng.uniform(0.0, 1.0))
    result.written = writer.written
    result.differences = place.settled()
    result.overlap, result.backward = watch.overlap, watch.backward
    return result


def main() -> int:
    """Do all runs; 1 if any of them ended wrong."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--runs", type=int, default=20, help="how many")
    parser.add_argument("--seconds", type=float, default=20, help="of harm in each")
    parser.add_argument("--seed", type=int, default=1, help="of the first; the next has the next")
    given = parser.parse_args()
    runs: list[Run] = []
    with EmbeddedDynamoDB() as database, EmbeddedValkey(cluster=False) as valkey:
        cache = Cache(valkey.settings())
        for seed in range(given.seed, given.seed + given.runs):
            cache.broadcast(b"FLUSHALL")
            with Place(database, valkey, cache, f"ha-{seed}-{time.time_ns()}") as place:
                runs.append(run(place, seed, given.seconds))
            print(runs[-1], flush=True)
        cache.close()
    takeovers = sorted(seconds for each in runs for seconds in each.takeovers)
    overlap = max(each.overlap for each in runs)
    backward = sum(each.backward for each in runs)
    differences = sum(each.differences for each in runs)
    print(
        f"{len(runs)} runs, {sum(sum(each.faults.values()) for each in runs)} faults, "
        f"{sum(each.written for each in runs):,} changes: {differences} differences, "
        f"{backward} checkpoints went back, two leaders for {overlap:.2f} s at the most "
        f"(lease {LEASE_SECONDS:g} s), takeover after {takeovers[len(takeovers) // 2]:.1f} s in "
        f"the median, {takeovers[-1]:.1f} s at the most"
    )
    return int(bool(differences or backward or overlap > LEASE_SECONDS))


if __name__ == "__main__":
    sys.exit(main())
