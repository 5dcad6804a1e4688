"""Faults that are planted in a soak: each is found, and counted under its own kind.

The clock stands still while changes are delivered and checked, and jumps from age to age.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from soak.changes import SCHEMA, Changes, Mix, number_of
from soak.run import VIEWS
from soak.stream import LaneReader, Log, line_of, made_of, record_of
from soak.tampering import Tampering, fence_off
from soak.worker import Disorder, Work, Worker

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.items import SnapshotRow
from dynamirror.inspection.inspector import Inspector
from dynamirror.inspection.statistics import highest_failure_rate, proven_nines
from dynamirror.inspection.tally import Tally, ViewTally, Violation
from dynamirror.records import stream_record
from dynamirror.records.attribute_value import Item
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.verify import compare
from dynamirror.settings import load_views
from dynamirror.views.entry import Put, entries_of_change
from dynamirror.views.view import View, bind_views

_ONCE = Mix(items=20_000, short=0.0, is_once=True)
_BUSY = Mix(items=400, hot=20, warm=100, short=0.0)
_ORDERLY = Disorder(shuffled=0, swapped=0, repeated=0, rewound=0, foreign=0)
_THRESHOLDS = (1.0, 10.0, 60.0)
# At each end: what is planted is drawn, and one seed in a few hundred would fail by chance.
_CONFIDENCE = 0.999


@dataclass
class Soak:
    """A soak in this process, with a clock that is set by hand."""

    folder: Path
    environment: dict[str, str]
    cache: Cache

    def __post_init__(self) -> None:
        self.now = self.began = time.time()
        self.views: Sequence[View] = bind_views(load_views(str(VIEWS)), SCHEMA)
        self.violations: list[Violation] = []
        self.resources = ExitStack()
        self.inspector = Inspector(
            self.cache,
            self.views,
            thresholds=_THRESHOLDS,
            read_table=self._rows,
            clock=lambda: self.now,
            on_violation=self.violations.append,
        )

    def write(self, mix: Mix, count: int) -> None:
        """Make changes, all at once."""
        self.changes = Changes(mix, seed=1)
        records = [self.changes.change(int(self.began))[1] for _ in range(count)]
        Log(self.folder, 0).append([line_of(self.began, record) for record in records])

    def worker(self, tampering: Tampering, disorder: Disorder = _ORDERLY) -> Worker:
        """Return a worker with a seed of its own."""
        work = Work(
            number=0,
            lanes=(0,),
            all_lanes=1,
            seed=1,
            folder=str(self.folder),
            environment=self.environment,
            disorder=disorder,
            tampering=tampering,
        )
        worker = Worker(work, clock=lambda: self.now)
        self.resources.callback(worker.close)
        return worker

    def watch(self) -> None:
        """Have the inspector read the stream by itself."""
        reader = LaneReader(self.folder, 0)
        while lines := reader.read(1_000):
            records = [msgspec.json.decode(record_of(line)) for line in lines]
            self.inspector.receive(records, made=made_of(lines[0]))
        reader.close()

    def age(self, seconds: float, deliver: Callable[[], object]) -> None:
        """Let changes grow so old, deliver what is due by then, and ask."""
        self.now = self.began + seconds + 0.2  # times are rounded up
        deliver()
        self.inspector.run_due()

    def settle(self) -> ViewTally:
        """Ask until all is decided, and return the counts."""
        while (due := self.inspector.next_due()) is not None:
            self.now = max(self.now, due) + 0.001  # times are rounded
            self.inspector.run_due()
        return self.inspector.tally().total

    def tally(self) -> Tally:
        """Return all counts."""
        return self.inspector.tally()

    def puts(self) -> list[tuple[Any, list[Put]]]:
        """Return each record with the entries that it puts."""
        reader, found = LaneReader(self.folder, 0), []
        while lines := reader.read(1_000):
            for line in lines:
                record = msgspec.json.decode(record_of(line))
                change = stream_record.decode(record)
                entries = [e for view in self.views for e in entries_of_change(view, change)]
                found.append((record, [entry for entry in entries if isinstance(entry, Put)]))
        reader.close()
        return found

    def table(self) -> Iterable[Item]:
        """Return all items of the table."""
        return [msgspec.json.decode(image) for image in self.changes.images if image]

    def _rows(self, keys: Sequence[Item]) -> Iterable[SnapshotRow]:
        for key in keys:
            image = self.changes.images[number_of(key)]
            item = msgspec.json.decode(image) if image else None
            yield SnapshotRow(key, item, SnapshotVersion(int(self.now) - 10))


@pytest.fixture
def soak(
    lambda_env: dict[str, str], cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Soak]:
    """A soak whose handler is a fresh sandbox, with the soak's views."""
    environment = lambda_env | {
        "DYNAMIRROR_CONFIG": str(VIEWS),
        "DYNAMIRROR_KEY_SCHEMA": ",".join(SCHEMA.keys),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    soak = Soak(tmp_path, environment, cache)
    with soak.resources:
        yield soak


def _is_within(failures: int, checks: int, share: float) -> bool:
    """Return whether a share lies in the exact binomial interval of what was found."""
    lowest = 1 - highest_failure_rate(checks - failures, checks, _CONFIDENCE)
    return lowest <= share <= highest_failure_rate(failures, checks, _CONFIDENCE)


def test_each_planted_fault_is_found_and_counted_under_its_own_kind(soak: Soak) -> None:
    tampering = Tampering(
        dropped=1 / 100, delayed=1 / 50, delay=5, corrupted=1 / 100, unlisted=1 / 20
    )
    soak.write(_ONCE, 3_000)
    soak.watch()
    worker = soak.worker(tampering)
    soak.age(1, worker.deliver_all)
    soak.age(10, worker.round)
    soak.age(60, worker.round)
    total = soak.settle()

    planted: Counter[str] = Counter()
    for record, entries in soak.puts():
        for entry in entries:
            planted["checks"] += 1
            if tampering.chosen(record, "dropped"):
                planted["missing"] += 1
                continue
            if tampering.chosen(record, "corrupted"):
                planted["wrong_value"] += 1
            elif tampering.chosen(record, "unlisted") and entry.view.members is not None:
                planted["wrong_index"] += 1
            else:
                planted["late"] += tampering.chosen(record, "delayed")
    assert total.checks == planted.pop("checks")
    late = planted.pop("late")
    assert +Counter(total.violations) == planted
    assert min(planted.values()) > 5, "each was planted"

    # Within the statistical error, what is found is what was planted.
    found = total.violations
    assert _is_within(found["missing"], total.checks, tampering.dropped)
    delivered = 1 - tampering.dropped
    assert _is_within(found["wrong_value"], total.checks, delivered * tampering.corrupted)
    first, second, last = (total.within[name] for name in ("1", "10", "60"))
    assert first.asked == second.asked == last.asked == total.checks, "nothing is undecided"
    assert first.asked - first.consistent - (second.asked - second.consistent) == late
    sound = delivered * (1 - tampering.corrupted)
    assert _is_within(late, total.checks, sound * tampering.delayed)
    violated = sum(planted.values())
    assert last.asked - last.consistent == violated
    assert proven_nines(violated, total.checks) == 1.3, "1 in 23 is wrong"


def test_a_soak_without_a_fault_has_no_violation_in_any_order(soak: Soak) -> None:
    total = _deliver_in_disorder(soak)
    assert soak.violations == []
    assert compare(soak.table(), soak.cache, soak.views).differences == 0
    assert total.within["60"].consistent == total.checks


def test_without_the_fence_older_changes_win_and_the_nines_fall(soak: Soak) -> None:
    with fence_off():
        total = _deliver_in_disorder(soak)
    differences = compare(soak.table(), soak.cache, soak.views).differences
    assert differences > 0
    kinds = +Counter(total.violations)
    assert {"wrong_value", "should_be_gone"} <= kinds.keys()
    assert sum(kinds.values()) >= differences, "each is found"
    assert proven_nines(sum(kinds.values()), total.checks) < 2


def test_a_reader_that_sees_time_go_backwards_is_a_violation_of_its_own(soak: Soak) -> None:
    soak.write(_BUSY, 1_000)
    soak.watch()
    worker = soak.worker(Tampering())
    with fence_off():
        soak.age(1, worker.deliver_all)
        reader = LaneReader(soak.folder, 0)
        older = reader.read(300)
        reader.close()
        soak.age(10, lambda: worker.deliver(older))
        total = soak.settle()
    assert total.violations["went_backwards"] > 0


def _deliver_in_disorder(soak: Soak) -> ViewTally:
    soak.write(_BUSY, 2_000)
    soak.watch()
    disorder = Disorder(shuffled=0.5, swapped=0.3, repeated=0.3, rewound=0.1, foreign=0.3)
    worker = soak.worker(Tampering(), disorder)
    for threshold in _THRESHOLDS:
        soak.age(threshold, worker.deliver_all)
    return soak.settle()
