"""Three `run --ha` on one mirror, killed, paused and stopped at random: `make availability`.

Meanwhile a writer changes the table. Every process is asked all the time whether it leads, and the
checkpoints are read. Each run ends with a comparison of the whole table with the whole cache.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from chaos.cluster import wait_until
from dynamirror.cache.checkpoints import Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.cache.lease import read_lease
from dynamirror.dynamodb.client import describe_table
from dynamirror.dynamodb.scan import scan_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError, DynamirrorError
from dynamirror.functions import simulator
from dynamirror.recovery.verify import compare
from dynamirror.views.view import ViewSpec

LEASE_SECONDS = 2.0
_PROCESSES = 3
_WRITES_A_SECOND = 100
_ITEMS = 40
_ASKING_SECONDS = 0.02
_TIMEOUT_SECONDS = 1.0


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


class Replica:
    """One `dynamirror run --ha`, as a process of its own."""

    def __init__(self, database: EmbeddedDynamoDB, valkey: EmbeddedValkey, table: str) -> None:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "ELASTICACHE_", "DYNAMIRROR_", "DYNAMODB_"))
        }
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "dynamirror", "run", "--table", table),
                *("--endpoint-url", database.endpoint_url, "--interval", "1"),
                *("--ha", "--lease", f"{LEASE_SECONDS:g}", "--health", "0"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept | valkey.settings().to_env(),
            text=True,
        )
        self.lines: list[str] = []
        self.address: tuple[str, int] | None = None
        self.is_paused = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line.rstrip())
                if line.startswith("health at "):
                    url = urlsplit(line.split()[-1])
                    assert url.hostname
                    assert url.port
                    self.address = url.hostname, url.port

    def health(self, path: str) -> tuple[int, str]:
        """Return status and text of one of its addresses; 0 without an answer."""
        if self.address is None or self.is_paused or self.process.poll() is not None:
            return 0, ""
        connection = HTTPConnection(*self.address, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode().strip()
        except (OSError, HTTPException):
            return 0, ""
        finally:
            connection.close()

    @property
    def leads(self) -> bool:
        """Whether it says that it leads."""
        status, text = self.health("/livez")
        return status > 0 and "standby" not in text

    def pause(self) -> None:
        """Stop it without ending it."""
        self.is_paused = True
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)
        self.is_paused = False

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End it by a signal, and return its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(60)
        self._reader.join()
        return status


class Place:
    """A table, a cache, and the processes that mirror one into the other."""

    def __init__(
        self, database: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, table: str
    ) -> None:
        self.database, self.valkey, self.cache, self.table = database, valkey, cache, table
        self.client = database.aws.dynamodb()
        create_table(self.client, table, {"id": "S"})
        self.view = ViewSpec().bind(describe_table(self.client, table).schema)
        self.replicas: list[Replica] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for replica in self.replicas:
            replica.end()

    def start(self) -> Replica:
        """Start another process."""
        replica = Replica(self.database, self.valkey, self.table)
        self.replicas.append(replica)
        return replica

    def end(self, replica: Replica, number: signal.Signals) -> int:
        """End a process for good, and return its exit status."""
        self.replicas.remove(replica)
        return replica.end(number)

    def leader(self) -> Replica | None:
        """Return the process that the lease in the cache names; None for none that runs."""
        try:
            lease = read_lease(self.cache, self.table)
        except CacheError:
            return None
        pid = None if lease is None else int(lease.who.rpartition(":")[2])
        return next((each for each in self.replicas if each.process.pid == pid), None)

    def new_leader(self, but: Replica | None = None) -> Replica:
        """Wait for a leader that is another, and return it."""
        found: list[Replica] = []

        def leads() -> bool:
            leader = self.leader()
            if leader is not None and leader is not but and not leader.is_paused:
                found.append(leader)
            return bool(found)

        wait_until(leads, "a process to lead")
        return found[0]

    def differences(self) -> int:
        """Return how many entries are not as the table says."""
        rows = scan_table(self.client, self.table)
        return compare(rows, self.cache, [self.view]).differences

    def settled(self) -> int:
        """Compare until there is no difference, for a minute at the most."""

        def agrees() -> bool:
            with suppress(DynamirrorError):
                return self.differences() == 0
            return False

        with suppress(TimeoutError):
            wait_until(agrees, "the cache to agree with the table")
        return self.differences()


class Writer(threading.Thread):
    """Writes random changes to the table inside `with`."""

    def __init__(self, place: Place, rng: random.Random) -> None:
        super().__init__(daemon=True)
        self._place, self._rng = place, rng
        self._halt = threading.Event()
        self.written = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._halt.set()
        self.join()

    def run(self) -> None:
        """Write until stopped."""
        changes = simulator.operations(self._rng, ids=_ITEMS)
        while not self._halt.wait(1 / _WRITES_A_SECOND):
            simulator.write(self._place.client, self._place.table, next(changes))
            self.written += 1


class Watch(threading.Thread):
    """Asks all processes whether they lead, and reads the checkpoints, inside `with`."""

    def __init__(self, place: Place) -> None:
        super().__init__(daemon=True)
        self._place = place
        self._halt = threading.Event()
        self._newest: dict[str, int] = {}
        self._checkpoints = Checkpoints(
            place.cache, describe_table(place.client, place.table).stream_arn
        )
        self.overlap = 0.0
        self.backward = 0
        self.asked = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._halt.set()
        self.join()

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

    def forget(self) -> None:
        """Let checkpoints begin again, as after a flush."""
        self._newest = {}

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
    wait_until(lambda: all(each.address for each in place.replicas), "all processes to run")
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
            wait_until(lambda: all(each.address for each in place.replicas), "a process to run")
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
