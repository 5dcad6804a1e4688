"""Jobs that may read little end, however much differs: each invocation gets further."""

from typing import Any

import pytest
from scale.client import StandIn
from scale.table import NAME, Edits, Table
from tests.support.scans import keys_in

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.cache.slot_scan import SlotRange
from dynamirror.cache.writer import apply_all
from dynamirror.dynamodb.client import describe_schema
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.dynamodb.rate import Rate
from dynamirror.dynamodb.scan import Scan, Segment
from dynamirror.functions.invocation_time import PauseError
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.comparison import CachePart, Part, PartProgress, TablePart
from dynamirror.recovery.follow_up import PATIENCE
from dynamirror.recovery.sweep import Sweep, SweepProgress
from dynamirror.recovery.verify import Verification
from dynamirror.views.entry import entry_of_row
from dynamirror.views.view import View, ViewSpec

SETTLE = 15.0
TTL = 93_600


class Simulated:
    """Invocations whose time passes only while they wait."""

    def __init__(self) -> None:
        self.now = self.ends = 0.0

    def begin(self, units: float, seconds: float) -> Rate:
        """Begin an invocation, and return its limit of read units."""
        self.ends = self.now + seconds
        return Rate(units, clock=self.clock, wait=self.pause)

    def clock(self) -> float:
        """Return seconds."""
        return self.now

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def pause(self, seconds: float) -> None:
        """Wait for the rate, if there is time."""
        if seconds > self.ends - self.now:
            raise PauseError(seconds)
        self.now += seconds

    def in_time(self) -> bool:
        """Return whether new work may begin."""
        return self.ends - self.now > PATIENCE * SETTLE


def stand_in(table: Table) -> Any:
    """Return a client of the table."""
    return StandIn(table)


class Mirror:
    """A mirror of a table from a seed."""

    def __init__(self, cache: Cache, items: int) -> None:
        self.cache = cache
        self.table = Table(items, seed=1)
        self.client = stand_in(self.table)
        schema, _ = describe_schema(self.client, NAME)
        self.view: View = ViewSpec().bind(schema)
        self.time = Simulated()

    def fill(self) -> None:
        """Write the entries of all items."""
        rows = self.table.items_between(0, self.table.items)
        entries = (entry_of_row(self.view, row, row, SnapshotVersion(1)) for row in rows)
        apply_all(self.cache, [entry for entry in entries if entry], fence_ttl=TTL)

    def forget_fences(self) -> None:
        """Let the fences expire."""
        keys = list(keys_in(self.cache, "dynamirror:fence:*"))
        self.cache.execute(Command(key, (b"DEL", key)) for key in keys)

    def verification(self, rate: Rate) -> Verification:
        """Return what compares."""
        return Verification(
            cache=self.cache,
            views=[self.view],
            scan=Scan(self.client, NAME, rate=rate),
            reader=SnapshotReader(self.client, NAME, rate=rate),
            settle=SETTLE,
            clock=self.time.clock,
            wait=self.time.wait,
        )

    def compared(self, part: Part, *, units: float, seconds: float) -> PartProgress:
        """Compare a part in as many invocations as it takes."""
        stored = [PartProgress()]
        for _ in range(50):
            work = self.verification(self.time.begin(units, seconds))
            try:
                work.run_part(part, stored[-1], in_time=self.time.in_time, save=stored.append)
            except PauseError as error:
                self.time.wait(error.seconds)
            if stored[-1].done:
                break
        return stored[-1]


def test_a_verification_ends_at_a_low_rate_though_every_entry_differs(cache: Cache) -> None:
    mirror = Mirror(cache, 1_000)
    mirror.fill()
    mirror.table.edits = Edits(changed=frozenset(range(1_000)))
    progress = mirror.compared(TablePart(), units=2, seconds=400)
    assert progress.done
    assert (progress.comparison.items, progress.comparison.different) == (1_000, 1_000)


def test_a_verification_of_slots_ends_at_a_low_rate_though_every_entry_is_orphaned(
    cache: Cache,
) -> None:
    mirror = Mirror(cache, 1_000)
    mirror.fill()
    mirror.table.edits = Edits(gone=frozenset(range(1_000)))
    progress = mirror.compared(CachePart(), units=2, seconds=400)
    assert progress.done
    assert (progress.comparison.entries, progress.comparison.orphaned) == (1_000, 1_000)


@pytest.mark.parametrize("exist", [True, False])
def test_a_sweep_ends_at_a_low_rate_though_every_entry_is_doubtful(
    cache: Cache, *, exist: bool
) -> None:
    """As after a load that took longer than fences are kept."""
    mirror = Mirror(cache, 300)
    mirror.fill()
    mirror.forget_fences()
    if not exist:
        mirror.table.edits = Edits(gone=frozenset(range(300)))
    progress, invocations = SweepProgress(), 0
    while not progress.done:
        invocations += 1
        assert invocations < 50, progress
        reader = SnapshotReader(mirror.client, NAME, rate=mirror.time.begin(0.02, 880))
        since = SnapshotVersion(1_700_000_000)
        work = Sweep(cache, [mirror.view], reader, since, TTL)
        try:
            for now in work.run(SlotRange(), progress):
                progress = now
        except PauseError as error:
            mirror.time.wait(error.seconds)
    left = sum(1 for _ in keys_in(cache, f"{NAME}:*"))
    assert left == (300 if exist else 0)


@pytest.mark.parametrize("rate", [0.5, 1, 2, 10])
@pytest.mark.parametrize("consistent", [True, False])
def test_a_scan_costs_what_the_table_does_at_any_rate(
    rate: float,
    *,
    consistent: bool,
) -> None:
    """A page of one item would take as much as one of thirty."""
    time, client = Simulated(), stand_in(Table(5_000, seed=1))
    scan = Scan(client, NAME, consistent=consistent, rate=time.begin(rate, 1e9))
    assert sum(len(page.items) for page in scan.pages(Segment(0, 1))) == 5_000
    least = 5_000 * client.table.item_bytes / 4_096 * (1 if consistent else 0.5)
    assert client.usage.read_units <= 1.5 * least + 10
    assert time.now >= client.usage.read_units / rate - 5
