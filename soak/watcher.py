"""A watcher: a process with the inspector, which reads some lanes of the stream by itself."""

import os
import signal
import time
from contextlib import suppress
from itertools import groupby
from math import floor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.inspection.inspector import Inspector
from dynamirror.inspection.tally import Tally, Violation
from dynamirror.settings import Settings, load_views
from dynamirror.views.view import bind_views
from soak.changes import SCHEMA, TABLE
from soak.stream import Checkpoint, LaneReader, made_of, record_of
from soak.table import Table, TableClient

CHECKPOINT: Final = "watched"
_MOST: Final = 1_000
_IDLE: Final = 0.01
_REPORT: Final = 1.0
_PARTS: Final = 20
# More than are waiting after five minutes of ten thousand changes a second.
_MOST_PENDING: Final = 5_000_000
_decode: Final = msgspec.json.Decoder().decode


class Watch(msgspec.Struct, frozen=True):
    """What a watcher does.

    Args:
        lanes: the lanes that it reads.
        thresholds: ages in seconds at which it asks.
        folder: holds the stream, and the socket of the table.
        environment: environment variables of the handler, for cache and views.
        items: number of items that the table may have.
    """

    lanes: tuple[int, ...]
    thresholds: tuple[float, ...]
    folder: str
    environment: dict[str, str]
    items: int


class Report(msgspec.Struct, frozen=True):
    """What a watcher has found so far.

    Args:
        at: when, in seconds since 1970.
        tally: the counts.
        cpu_seconds: CPU time of the process.
        records: records read.
        is_idle: whether nothing was read last time, and nothing is due any more.
        violations: violations since the last report.
    """

    at: float
    tally: Tally
    cpu_seconds: float
    records: int
    is_idle: bool
    violations: list[Violation]


class _Watcher:
    def __init__(self, watch: Watch) -> None:
        folder = Path(watch.folder)
        settings = Settings.from_env(watch.environment)
        self._violations: list[Violation] = []
        self._records = 0
        self._lanes = [
            (LaneReader(folder, lane), Checkpoint(folder, CHECKPOINT, lane)) for lane in watch.lanes
        ]
        client: Any = TableClient(Table(folder), watch.items)
        self._inspector = Inspector(
            Cache(settings),
            bind_views(load_views(settings.config), SCHEMA),
            thresholds=watch.thresholds,
            read_table=SnapshotReader(client, TABLE).read_many,
            on_violation=self._violations.append,
            most_pending=_MOST_PENDING,
        )

    def round(self) -> bool:
        """Read what there is and ask what is due; return whether there was anything to read."""
        found = False
        for reader, checkpoint in self._lanes:
            if lines := reader.read(_MOST):
                found = True
                self._records += len(lines)
                for made, group in groupby(lines, _made):
                    records = [_decode(record_of(line)) for line in group]
                    self._inspector.receive(records, made=made)
                checkpoint.write(reader.position)
        self._inspector.run_due()
        return found

    def report(self, *, found: bool) -> Report:
        violations, self._violations[:] = list(self._violations), []
        return Report(
            at=time.time(),
            tally=self._inspector.tally(),
            cpu_seconds=time.process_time(),
            records=self._records,
            is_idle=not found and self._inspector.next_due() is None,
            violations=violations,
        )


def _made(line: bytes) -> float:
    """Return when a change was made, rounded down, so that many are taken at once."""
    return floor(made_of(line) * _PARTS) / _PARTS


def main(watch: Watch, pipe: Connection, log: Path) -> None:
    """Watch until the pipe is closed, and send a report each second.

    Args:
        watch: what the watcher does.
        pipe: takes reports.
        log: receives what the inspector logs.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 2)
    watcher = _Watcher(watch)
    next_report = time.monotonic()
    with suppress(EOFError, ConnectionError):
        while True:
            found = watcher.round()
            if time.monotonic() >= next_report:
                next_report = time.monotonic() + _REPORT
                pipe.send_bytes(msgspec.msgpack.encode(watcher.report(found=found)))
            if pipe.poll(0 if found else _IDLE):
                pipe.recv()
