"""What operators ask of a mirror, and the answers, as plain data."""

import msgspec

from dynamirror.cache.checkpoints import Checkpoint
from dynamirror.recovery.audit import AuditResult
from dynamirror.recovery.comparison import Comparison, Part
from dynamirror.recovery.rebuild import Progress, Run
from dynamirror.recovery.redrive import Outcome


class StatusRequest(msgspec.Struct, frozen=True, tag="status"):
    """Tell whether the mirror is complete, and how far a rebuild has come."""


class VerifyRequest(msgspec.Struct, frozen=True, tag="verify"):
    """Compare table and cache.

    Args:
        part: what of them.
        settle: seconds that what differs is given to arrive.
        repair: write rows over what differs.
        rate: read units a second; None for no limit.
    """

    part: Part = Part()
    settle: float = 15.0
    repair: bool = False
    rate: float | None = None


class QuarantineRequest(msgspec.Struct, frozen=True, tag="quarantine"):
    """List the items in quarantine.

    Args:
        discard: an item to drop from it instead, or `all`.
    """

    discard: str | None = None


class RedriveRequest(msgspec.Struct, frozen=True, tag="redrive"):
    """Read items in quarantine from the table again, and write them.

    Args:
        wait: wait until no item is too fresh.
    """

    wait: bool = True


Request = StatusRequest | VerifyRequest | QuarantineRequest | RedriveRequest


class Status(msgspec.Struct, frozen=True):
    """The state of a mirror.

    Args:
        table: the table's name.
        complete: whether the cache holds all of it, but for what is on its way in the stream.
        rebuild_helps: whether it lacks what a rebuild brings.
        since: horizon of the newest rebuild that was finished; None for none.
        gap: changes made before this moment may be lacking; None where nothing is known.
        reason: why it is incomplete, or last was.
        stream: ARN of the stream that the mirror follows; empty for none yet.
        table_stream: ARN of the table's stream as it is; empty if it is off.
        rebuild: the newest rebuild, finished or not.
        progress: how far that has come.
        table_items: how many items DynamoDB says the table has; it counts every six hours.
        quarantined: items in quarantine.
        overflow: how often one could not be listed there.
        at: when it was looked at, in seconds since 1970.
        canary: when the canary in the cache was written to the table; None for none.
        lag: seconds since the newest change that is known to have come through was made, the
            canary's or that of a position; None where none is known. With a canary, or a busy
            table, that is how far behind the mirror may be.
        positions: how far each shard was read, where that is kept in the cache.
        audited: what came of the last audit; None for none.
        eviction: the cache's `maxmemory-policy`; None where the cache does not report it.
        warnings: what endangers the mirror, and what to do.
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
    progress: Progress | None
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


class Vitals(msgspec.Struct, frozen=True):
    """What the cache alone tells of a mirror.

    Args:
        complete: whether its marker says that it is complete, in these views.
        quarantined: items in quarantine.
    """

    complete: bool
    quarantined: int


class QuarantinedItem(msgspec.Struct, frozen=True):
    """One item in quarantine; `quarantine.QuarantineNote` says what the rest means.

    Args:
        item: what names it there.
        key: its primary key; None if it is not known.
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
        items: what is in it.
        overflow: how often an item could not be listed.
        discarded: how many items were discarded, in JSON `forgotten`; None if none were to be.
        more: how many more are in it: an answer must not be too large to travel.
    """

    table: str
    items: list[QuarantinedItem]
    overflow: int
    discarded: int | None = None
    more: int = 0


class LeftItem(msgspec.Struct, frozen=True):
    """An item that stays in quarantine, and why."""

    item: QuarantinedItem
    outcome: Outcome
    reason: str


class Redrive(msgspec.Struct, frozen=True):
    """What came of a redrive.

    Args:
        table: the table's name.
        healed: items that are out.
        left: items that are not.
        overflow: how often an item could not be listed.
        changeable: views whose keys can change, and may be another application's, so that an entry
            under an old key may be left.
        more: how many more are left.
    """

    table: str
    healed: int
    left: list[LeftItem]
    overflow: int
    changeable: list[str]
    more: int = 0


Answer = Status | Comparison | Quarantine | Redrive
