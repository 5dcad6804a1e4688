"""The requests of operators to a mirror, and the answers, as plain data."""

from typing import Final

import msgspec

from dynamirror.cache.checkpoints import Checkpoint
from dynamirror.cache.heartbeat import SeenReplicator
from dynamirror.cache.lease import Lease
from dynamirror.inspection.tally import Tally
from dynamirror.recovery.audit import AuditResult
from dynamirror.recovery.comparison import Comparison, Share
from dynamirror.recovery.rebuild_state import Run, TotalProgress
from dynamirror.recovery.redrive import Outcome
from dynamirror.recovery.sweep import TotalSwept

DEFAULT_MAX_LAG: Final = 120.0


class _Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request to an operator.

    Args:
        table: the table of the mirror; None for its only one. An operator of a version before 0.3
            has one table, and ignores the name.
    """

    table: str | None = None


class StatusRequest(_Request, frozen=True, tag="status"):
    """Report whether the mirror is complete and live, and the progress of a rebuild.

    Args:
        max_lag: seconds that a live mirror may be behind the table.
    """

    max_lag: float = DEFAULT_MAX_LAG


class VerifyRequest(_Request, frozen=True, tag="verify"):
    """Compare table and cache.

    Args:
        part: the part to compare.
        settle: seconds that a difference has to settle.
        repair: whether to write snapshot rows over differences.
        rate: read units per second; None for no limit.
    """

    part: Share = Share()
    settle: float = 15.0
    repair: bool = False
    rate: float | None = None


class QuarantineRequest(_Request, frozen=True, tag="quarantine"):
    """List the items in quarantine.

    Args:
        discard: the name of an item to drop from it instead, or `all`.
    """

    discard: str | None = None


class RedriveRequest(_Request, frozen=True, tag="redrive"):
    """Read quarantined items from the table again, and write them.

    Args:
        wait: whether to wait until no item is too fresh.
    """

    wait: bool = True


Request = StatusRequest | VerifyRequest | QuarantineRequest | RedriveRequest


class Status(msgspec.Struct, frozen=True):
    """The state of a mirror.

    Args:
        table: the table's name.
        complete: whether every change is in the cache, or on its way in the stream.
        live: whether a replicator was seen lately, and keeps the cache at most `max_lag` seconds
            behind the table.
        not_live: why it is not live, or why that is not known; None if it is.
        max_lag: seconds that a live mirror may be behind the table.
        replicator: the replicator that was seen last; None where none left a heartbeat.
        rebuild_helps: whether a rebuild would make it complete.
        since: as-of time of the newest finished rebuild; None for none.
        gap: time before which changes may be missing; None where nothing is known.
        reason: the reason why the mirror is incomplete, or last was.
        stream: ARN of the stream that the mirror follows; empty for none yet.
        table_stream: ARN of the table's current stream; empty if it is off.
        rebuild: the newest rebuild, finished or not.
        progress: the progress of that rebuild.
        swept: the progress of its sweep; None for no rebuild.
        table_items: the table's number of items, which DynamoDB updates every six hours.
        quarantined: the number of quarantined items.
        overflow: how often an item could not be listed in the quarantine.
        at: the time of this state, in seconds since 1970.
        canary: the time when the canary in the cache was written to the table; None for none.
        lag: seconds since the newest change that is known to have arrived, by the canary or a
            checkpoint; None where none is known. With a canary or a busy table, the mirror may be
            that far behind.
        positions: the checkpoint of each shard, where the cache holds it.
        audited: the result of the last audit; None for none.
        eviction: the cache's `maxmemory-policy`; None where the cache does not report it.
        warnings: the dangers to the mirror, and what to do.
        doubtful: when the cache was last seen to have evicted keys, fences perhaps, in seconds
            since 1970; None if it did not, or all entries were written or compared since.
        leader: the lease of the process that leads; None where no `run --ha` does.
    """

    table: str
    complete: bool
    rebuild_helps: bool
    since: int | None
    gap: int | None
    reason: str
    stream: str
    table_stream: str
    rebuild: Run | None
    progress: TotalProgress | None
    table_items: int
    quarantined: int
    overflow: int
    at: float = 0.0
    canary: float | None = None
    lag: float | None = None
    positions: dict[str, Checkpoint] = {}
    audited: AuditResult | None = None
    eviction: str | None = None
    warnings: list[str] = []
    live: bool = False
    not_live: str | None = "the operator is of a version that does not look for the replicator"
    max_lag: float = DEFAULT_MAX_LAG
    replicator: SeenReplicator | None = None
    doubtful: int | None = None
    swept: TotalSwept | None = None
    inspection: Tally | None = None
    leader: Lease | None = None


class Vitals(msgspec.Struct, frozen=True):
    """The part of a mirror's state that needs no access to the table.

    Args:
        complete: whether the completeness marker reports it as complete, in these views.
        quarantined: the number of quarantined items.
    """

    complete: bool
    quarantined: int


class QuarantinedItem(msgspec.Struct, frozen=True):
    """One quarantined item; see `QuarantineNote`.

    Args:
        item: the item's name in the quarantine.
        key: the item's primary key; None if it is not known.
    """

    item: str
    key: dict[str, dict[str, str]] | None
    reason: str
    sequence_number: str
    first: str
    last: str
    count: int


class Quarantine(msgspec.Struct, frozen=True, rename={"discarded": "forgotten"}.get):
    """A table's quarantine.

    Args:
        table: the table's name.
        items: the quarantined items.
        overflow: how often an item could not be listed.
        discarded: the number of discarded items, in JSON `forgotten`; None if none were named.
        more: the number of items beyond the answer's limit.
    """

    table: str
    items: list[QuarantinedItem]
    overflow: int
    discarded: int | None = None
    more: int = 0


class LeftItem(msgspec.Struct, frozen=True):
    """An item that stays in quarantine, and the reason."""

    item: QuarantinedItem
    outcome: Outcome
    reason: str


class Redrive(msgspec.Struct, frozen=True):
    """The result of a redrive.

    Args:
        table: the table's name.
        healed: the number of items that left the quarantine.
        left: the items that stay.
        overflow: how often an item could not be listed.
        changeable: views whose keys can change and may be another application's, so that an
            orphaned entry may stay under an old key.
        more: the number of items that stay, beyond the answer's limit.
    """

    table: str
    healed: int
    left: list[LeftItem]
    overflow: int
    changeable: list[str]
    more: int = 0


Answer = Status | Comparison | Quarantine | Redrive
