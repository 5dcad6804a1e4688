"""A worker: a process with the real handler, and what delivers the records of some lanes to it.

It delivers as an event source mapping may: batches of any size, again if they failed, from an
earlier checkpoint, and at the same time as another worker. Beyond that, it delivers records of a
batch, and batches that follow each other, in another order.
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from struct import Struct
from typing import Any, Final

import msgspec

from dynamirror import handler as lambda_handler
from dynamirror.cache.client import Cache
from dynamirror.settings import Settings, load_views
from dynamirror.views.view import bind_views
from soak.changes import SCHEMA, sequence_of
from soak.stream import Checkpoint, LaneReader, record_of
from soak.tampering import Tampering, damage, fence_off

CHECKPOINT: Final = "checkpoint"
_IDLE: Final = 0.005
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_INVOCATION_SECONDS: Final = 60.0
_SIZES: Final = (1, 10, 100, 500, 1_000)
_COUNTS: Final = Struct("<5q")


class Disorder(msgspec.Struct, frozen=True):
    """How often records are delivered in another way than once and in order.

    Args:
        shuffled: share of the batches whose records come in another order.
        swapped: share of the batches that come after the one that follows.
        repeated: share of the batches that are delivered twice.
        rewound: share of the batches after which the lane goes back to an earlier checkpoint.
        foreign: share of the rounds in which records of another worker's lane are delivered.
    """

    shuffled: float = 0.2
    swapped: float = 0.1
    repeated: float = 0.05
    rewound: float = 0.02
    foreign: float = 0.1


class Work(msgspec.Struct, frozen=True):
    """What a worker does.

    Args:
        number: of the worker.
        lanes: the lanes that are its own.
        all_lanes: number of all lanes.
        seed: of the disorder.
        folder: holds the stream.
        environment: environment variables of the handler.
        disorder: how often records are delivered in another way.
        tampering: what is done wrong.
    """

    number: int
    lanes: tuple[int, ...]
    all_lanes: int
    seed: int
    folder: str
    environment: dict[str, str]
    disorder: Disorder = Disorder()
    tampering: Tampering = Tampering()


class Counts(msgspec.Struct):
    """What a worker has done, with all its processes.

    Args:
        batches: invocations of the handler.
        records: records delivered in them.
        failures: invocations that did not apply all.
        given_up: records that were not delivered again after they had failed.
        cpu_us: CPU time of the processes in microseconds.
    """

    batches: int = 0
    records: int = 0
    failures: int = 0
    given_up: int = 0
    cpu_us: int = 0


def read_counts(folder: Path, number: int) -> Counts:
    """Return what a worker has done."""
    try:
        data = (folder / f"counts-{number}").read_bytes()
    except FileNotFoundError:
        return Counts()
    return Counts(*_COUNTS.unpack(data)) if len(data) == _COUNTS.size else Counts()


class _Context:
    """Lambda's context: an invocation that has just begun."""

    aws_request_id = "soak"

    def __init__(self) -> None:
        self._end = time.monotonic() + _INVOCATION_SECONDS

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round(1000 * (self._end - time.monotonic())))


class Worker:
    """Delivers the records of some lanes to the handler of this process.

    Args:
        work: what it does.
        clock: monotonic seconds.
    """

    def __init__(self, work: Work, clock: Callable[[], float] = time.monotonic) -> None:
        folder = Path(work.folder)
        self._work = work
        self._clock = clock
        self._readers = {}
        self._checkpoints = [Checkpoint(folder, CHECKPOINT, lane) for lane in range(work.all_lanes)]
        for lane in work.lanes:
            position = self._checkpoints[lane].read()
            self._readers[lane] = LaneReader(folder, lane, position)
        # After a restart, not what was delivered before.
        positions = [reader.position for reader in self._readers.values()]
        self._random = random.Random(f"{work.seed} {work.number} {positions}")
        self._folder = folder
        self._history: dict[int, list[int]] = {lane: [] for lane in work.lanes}
        self._late: list[tuple[float, bytes]] = []
        self.counts = read_counts(folder, work.number)
        self._counts_file = os.open(folder / f"counts-{work.number}", os.O_RDWR | os.O_CREAT, 0o600)
        self._cpu_before = self.counts.cpu_us
        self._cache = Cache(Settings.from_env(work.environment))
        views = load_views(work.environment["DYNAMIRROR_CONFIG"])
        self._views = bind_views(views, SCHEMA)

    def close(self) -> None:
        """Close the connections and files of its own."""
        self._cache.close()
        for reader in self._readers.values():
            reader.close()

    def deliver_all(self) -> None:
        """Deliver all that there is."""
        while self.round():
            pass

    def round(self) -> bool:
        """Deliver a batch of each lane, and return whether there was anything."""
        found = False
        for lane, reader in self._readers.items():
            found |= self._lane(lane, reader)
        disorder = self._work.disorder
        if found and self._random.random() < disorder.foreign:
            self._deliver_foreign()
        while self._late and self._late[0][0] <= self._clock():
            _, line = self._late.pop(0)
            self._until_applied([line], is_late=True)
        self.counts.cpu_us = self._cpu_before + round(time.process_time() * 1e6)
        os.pwrite(self._counts_file, _COUNTS.pack(*msgspec.structs.astuple(self.counts)), 0)
        return found

    def _lane(self, lane: int, reader: LaneReader) -> bool:
        draw, disorder = self._random.random, self._work.disorder
        before = reader.position
        batches = [reader.read(self._random.choice(_SIZES))]
        if not batches[0]:
            return False
        if draw() < disorder.swapped:
            batches.insert(0, reader.read(self._random.choice(_SIZES)))
        if draw() < disorder.repeated:
            batches.append(batches[-1])
        for lines in batches:
            if lines:
                self._until_applied(lines)
        self._checkpoints[lane].write(reader.position)
        history = self._history[lane]
        history.append(before)
        del history[:-5]
        if draw() < disorder.rewound:
            reader.seek(self._random.choice(history))
        return True

    def _until_applied(self, lines: Sequence[bytes], *, is_late: bool = False) -> None:
        """Deliver a batch, and what of it failed, until all is applied."""
        pause, attempts = _FIRST_PAUSE, self._work.tampering.attempts
        lines = list(lines)
        while lines:
            applied = self.deliver(lines, is_late=is_late)
            if applied == len(lines):
                return
            if attempts is not None:
                attempts -= 1
                if not attempts:
                    self.counts.given_up += len(lines) - applied
                    return
            lines = lines[applied:]
            time.sleep(pause * (0.5 + self._random.random() / 2))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _deliver_foreign(self) -> None:
        """Deliver what another worker is about to deliver, or delivers now."""
        lane = self._random.randrange(self._work.all_lanes)
        reader = LaneReader(self._folder, lane, self._checkpoints[lane].read())
        if lines := reader.read(self._random.choice(_SIZES)):
            self.deliver(lines)
        reader.close()

    def deliver(self, lines: Sequence[bytes], *, is_late: bool = False) -> int:
        """Invoke the handler once, and return how many of the first records are applied."""
        tampering = self._work.tampering
        # Lambda's runtime parses what it gets in the same way.
        records = json.loads(b'{"Records":[' + b",".join(map(record_of, lines)) + b"]}")["Records"]
        delivered = records
        if not is_late and (tampering.dropped or tampering.delayed):
            delivered = self._without_chosen(lines, records)
        if not delivered:
            return len(lines)
        if len(delivered) > 1 and self._random.random() < self._work.disorder.shuffled:
            delivered = self._random.sample(delivered, len(delivered))
        self.counts.batches += 1
        self.counts.records += len(delivered)
        try:
            answer = lambda_handler.handler({"Records": delivered}, _Context())
        except Exception:  # noqa: BLE001 - Lambda takes any as a failed batch
            self.counts.failures += 1
            return 0
        if tampering.damages:
            damage(self._cache, self._views, delivered, tampering)
        failures: Sequence[Mapping[str, str]] = answer["batchItemFailures"]
        if not failures:
            return len(lines)
        self.counts.failures += 1
        # A stream's batch is repeated from the first record that failed.
        lowest = min(int(failure["itemIdentifier"] or 0) for failure in failures)
        return sum(int(sequence_of(record)) < lowest for record in records)

    def _without_chosen(self, lines: Sequence[bytes], records: Sequence[Any]) -> list[Any]:
        """Return the records without those that are dropped or come late."""
        tampering, delivered = self._work.tampering, []
        for line, record in zip(lines, records, strict=True):
            if tampering.chosen(record, "dropped"):
                continue
            if tampering.chosen(record, "delayed"):
                self._late.append((self._clock() + tampering.delay, line))
            else:
                delivered.append(record)
        return delivered


def main(work: Work, pipe: Connection, log: Path) -> None:
    """Deliver until the pipe is closed.

    Args:
        work: what the worker does.
        pipe: closed at the end.
        log: receives what the handler prints.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    os.environ.update(work.environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    with nullcontext() if work.tampering.is_fenced else fence_off():
        worker = Worker(work)
        with suppress(EOFError, ConnectionError):
            while True:
                found = worker.round()
                if pipe.poll(0 if found else _IDLE):
                    pipe.recv()
