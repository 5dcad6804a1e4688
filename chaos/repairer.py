"""Compares and repairs the mirror by slots, part by part, while everything else goes wrong."""

from contextlib import suppress

from chaos.world import World
from dynamirror.cache.client import Cache
from dynamirror.cache.slot_scan import ranges
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.dynamodb.scan import Scan
from dynamirror.errors import DynamirrorError
from dynamirror.recovery.comparison import CachePart, Part, PartProgress, TablePart
from dynamirror.recovery.verify import Verification
from dynamirror.stoppable_thread import StoppableThread

_SEGMENTS, _RANGES = 2, 4
# Shorter than the lag that the faults cause, so that many a repair meets changes on their way.
_SETTLE_SECONDS = 0.5
_FENCE_SECONDS = 93_600
_PAUSE_SECONDS = 0.1


class Repairer(StoppableThread):
    """Does what `verify --repair` does, and resumes each part where a fault interrupted it."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._cache = Cache(world.cluster.nodes[0].server.settings(timeout=5))
        self._work = Verification(
            cache=self._cache,
            views=world.views,
            scan=Scan(world.client, world.table, limit=20),
            reader=SnapshotReader(world.client, world.table),
            settle=_SETTLE_SECONDS,
            repair=True,
            fence_ttl=_FENCE_SECONDS,
            wait=self._halt.wait,
        )
        self.parts = self.resumed = self.entries = self.repaired = 0
        self.error: Exception | None = None

    def run(self) -> None:
        """Go through all parts again and again until stopped."""
        try:
            while not self._halt.is_set():
                for part in self._parts():
                    self._repair(part)
        except Exception as error:  # noqa: BLE001 - `stop` raises it
            self.error = error

    def _parts(self) -> list[Part]:
        table: list[Part] = [TablePart(number, _SEGMENTS) for number in range(_SEGMENTS)]
        with suppress(DynamirrorError):
            return [*table, *map(CachePart, ranges(self._cache, _RANGES))]
        self._halt.wait(_PAUSE_SECONDS)
        return []

    def _repair(self, part: Part) -> None:
        """Compare one part from its checkpoint on until it is done."""
        progress = PartProgress()

        def save(now: PartProgress) -> None:
            nonlocal progress
            progress = now

        while not (progress.done or self._halt.is_set()):
            try:
                self._work.run_part(
                    part, progress, in_time=lambda: not self._halt.is_set(), save=save
                )
            except DynamirrorError:
                self.resumed += 1
                self._halt.wait(_PAUSE_SECONDS)
        self.parts += progress.done
        self.entries += progress.comparison.entries
        self.repaired += progress.comparison.repaired

    def stop(self) -> None:
        """Stop after the part under way.

        Raises:
            AssertionError: it failed in another way than by a fault.
        """
        super().stop()
        self._cache.close()
        assert self.error is None, repr(self.error)
