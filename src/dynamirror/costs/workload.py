"""What a mirror has to do, as the estimates need it."""

from math import ceil, expm1
from typing import Final

import msgspec

from dynamirror.costs import figures
from dynamirror.costs.polling import Polling

_MINUTES_A_DAY: Final = 1_440
_MOST_PARTS: Final = 1_000_000


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """A table, its changes, and the options of its mirror.

    Args:
        changes: changes a second, spread evenly over the shards.
        items: items of the table, one entry each.
        item_bytes: size of an item, and of its entry's value.
        shards: shards of the stream.
        window: the batching window in seconds.
        reads: entries that applications read a second.
        key_bytes: length of an entry's key.
        batch_size: most records of a batch.
        parallelization_factor: concurrent batches of a shard.
        memory_mb: memory of the replicator in MB.
        audit_minutes: minutes between two audits; None for no auditor.
        audit_units: read units a day that audits keep to; None for a round a day.
        canary: whether there is a canary.
        alarms: number of alarms.
        dashboards: number of dashboards.
        log_batches: whether the replicator logs each batch.
        inspected: share of the items that an inspector looks at; 0 for no inspector.
    """

    changes: float = 0.0
    items: float = 0.0
    item_bytes: float = 400.0
    shards: int = figures.FRESH_SHARDS
    window: float = 0.0
    reads: float = 0.0
    key_bytes: float = figures.KEY_BYTES
    batch_size: int = 1_000
    parallelization_factor: int = 1
    memory_mb: int = 1_024
    audit_minutes: int | None = 5
    audit_units: float | None = None
    canary: bool = True
    alarms: int = figures.ALARMS
    dashboards: int = 1
    log_batches: bool = False
    inspected: float = 0.0

    @property
    def lanes(self) -> int:
        """The number of batches at a time."""
        return self.shards * self.parallelization_factor

    @property
    def polling(self) -> Polling:
        """The invocations of one lane."""
        fits = figures.EVENT_BYTES / (figures.RECORD_BYTES + 2 * self.item_bytes)
        return Polling(self.changes / self.lanes, self.window, min(self.batch_size, max(1.0, fits)))

    @property
    def invocations(self) -> float:
        """The invocations a second."""
        return self.lanes * self.polling.invocations

    @property
    def batch_ms(self) -> float:
        """The billed milliseconds of an invocation; less memory is a smaller share of a CPU."""
        records = self.polling.records
        share = min(1.0, self.memory_mb / figures.ONE_VCPU_MB)
        cpu = figures.BATCH_CPU_US + records * figures.RECORD_CPU_US
        waiting = figures.BATCH_WAIT_US + records * figures.RECORD_WAIT_US
        return -(-(waiting + cpu / share) // 1000)

    @property
    def round_units(self) -> float:
        """The read units of a round of audits: a scan, and a lookup of each entry by its key."""
        # A lookup is eventually consistent.
        lookup = ceil(self.item_bytes / figures.READ_UNIT_BYTES) / 2
        return self.items * (self.item_bytes / figures.READ_UNIT_BYTES + lookup)

    @property
    def audit_parts(self) -> int:
        """The parts that a round of audits has."""
        if not self.audit_minutes:
            return 1
        audits = _MINUTES_A_DAY / self.audit_minutes
        if not self.audit_units:
            return max(1, int(audits))
        parts = ceil(self.round_units * audits / self.audit_units)
        return max(1, min(_MOST_PARTS, parts))

    @property
    def sampling(self) -> Polling:
        """The inspector's invocations by one shard; it waits for no window."""
        fits = figures.EVENT_BYTES / (figures.RECORD_BYTES + 2 * self.item_bytes)
        return Polling(self.changes / self.shards, 0.0, min(1_000.0, max(1.0, fits)))

    @property
    def questions(self) -> float:
        """The messages a second with sampled changes, each sent again for each age.

        An invocation of the inspector sends one if any of its records is sampled.
        """
        invocations = self.shards * self.sampling.invocations
        if not (self.inspected and invocations):
            return 0.0
        return invocations * -expm1(-self.changes * self.inspected / invocations)

    @property
    def fences(self) -> float:
        """The fences at a time: the items that changed within their time, if all change alike."""
        if self.items <= 0:
            return 0.0
        return self.items * -expm1(-self.changes * figures.FENCE_SECONDS / self.items)

    @property
    def entry_bytes(self) -> float:
        """The bytes of all entries in the cache."""
        return self.items * (self.item_bytes + self.key_bytes + figures.ENTRY_OVERHEAD)

    @property
    def fence_bytes(self) -> float:
        """The bytes of all fences in the cache."""
        return self.fences * (self.key_bytes + figures.FENCE_OVERHEAD)

    @property
    def log_bytes(self) -> float:
        """The bytes that the replicator logs a second.

        A sandbox writes its metrics every few seconds at the most. Lambda keeps one busy for each
        lane.
        """
        lines = self.lanes * min(self.polling.invocations, 1 / figures.METRICS_SECONDS)
        more = min(self.invocations, lines * figures.METRICS_VALUES) - lines
        line = figures.METRICS_LINE + (figures.SEQUENCES if self.inspected else 0)
        size = lines * line + more * figures.METRICS_MORE
        if self.log_batches:
            size += self.invocations * (figures.BATCH_LINE + figures.LAMBDA_LINES)
        return size
