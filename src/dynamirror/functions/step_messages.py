"""The steps of the state machine that fills, verifies and repairs a mirror, as plain data."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from dynamirror.cache.slot_scan import ALL_SLOTS, SlotRange
from dynamirror.dynamodb.scan import MOST_SEGMENTS
from dynamirror.recovery.rebuild_state import Run

Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Index = Annotated[int, msgspec.Meta(ge=0)]
# 0 means by the table's size.
Segments = Annotated[int, msgspec.Meta(ge=0, le=MOST_SEGMENTS)]
# 0 and null mean no limit; CDK cannot write null.
Units = Annotated[float, msgspec.Meta(ge=0)]
# Segments and ranges of slots.
_MOST_PARTS = 2 * MOST_SEGMENTS


class _Step(msgspec.Struct, frozen=True, tag_field="step", tag=str.lower):
    """One step of the state machine; `step` is the class's name in lower case."""


class Check(_Step, frozen=True):
    """Report whether the mirror is complete, and whether a rebuild should start.

    Args:
        running: the names of the running executions, of all tables; see `operations.executions`.
        recent: the ARNs of the last executions, of all tables, the newest first.
        statuses: the status of each.
    """

    running: tuple[str, ...] = ()
    recent: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()


class GaveUp(_Step, frozen=True):
    """Report that the watchdog starts no further rebuild, since the last ones failed.

    Args:
        execution: Step Functions' description of the last one.
    """

    execution: Mapping[str, Any]


class Evicted(_Step, frozen=True):
    """Record that CloudWatch reports evictions."""


class Begin(_Step, frozen=True):
    """Begin a rebuild, or resume an unfinished one; see `Rebuild.begin`.

    Args:
        segments: the number of segments of a new rebuild; 0 for as many as suit the table's size.
        rate: read units per second, for all segments together; 0 or null for no limit.
        concurrency: how many functions load at a time.
    """

    segments: Segments = 0
    consistent: bool = True
    restart: bool = False
    rate: Units | None = None
    concurrency: Count = 1


class Load(_Step, frozen=True):
    """Load segments until time runs out.

    Args:
        run: the rebuild.
        index: the number of the segment, from 0.
        lanes: how many segments further the next one is; null for no other.
        rate: read units per second, for this function; 0 or null for no limit.
        workers: how many functions load at a time.
    """

    run: Run
    index: Index
    lanes: Count | None = None
    rate: Units | None = None
    workers: Count = 1


class Ranges(_Step, frozen=True):
    """Divide the sweep into ranges of the cache, once all segments are loaded.

    Args:
        rate: read units per second, for all ranges together; 0 or null for no limit.
        concurrency: how many functions sweep at a time.
    """

    run: Run
    rate: Units | None = None
    concurrency: Count = 1


class Sweep(_Step, frozen=True):
    """Delete orphaned entries of a range until time runs out.

    Args:
        slots: the range.
        rate: read units per second, for this function; 0 or null for no limit.
    """

    run: Run
    slots: SlotRange = ALL_SLOTS
    rate: Units | None = None


class Finish(_Step, frozen=True):
    """Record that the mirror is complete."""

    run: Run


class Divide(_Step, frozen=True):
    """Divide a verification into parts of the table and of the cache.

    Args:
        action: verify or repair.
        segments: the number of parts of the table; 0 for as many as suit its size.
        settle: seconds that a difference has to settle.
        rate: read units per second, for all parts together; 0 or null for no limit.
        concurrency: how many functions compare at a time.
    """

    action: str
    segments: Segments = 0
    settle: float = 15.0
    rate: Units | None = None
    concurrency: Count = 1


class Verify(_Step, frozen=True):
    """Compare parts of table and cache until time runs out.

    Args:
        id: the id of the verification, whose progress is in the cache.
        index: the number of the part, from 0; parts of the table come first.
        lanes: how many parts further the next one is.
        segments: the number of parts of the table.
        ranges: the number of parts of the cache.
        repair: whether to write snapshot rows over differences.
        settle: seconds that a difference has to settle.
        rate: read units per second, for this function; 0 or null for no limit.
    """

    id: str
    index: Index
    lanes: Count
    segments: Annotated[int, msgspec.Meta(ge=1, le=MOST_SEGMENTS)]
    ranges: Count
    repair: bool = False
    settle: float = 15.0
    rate: Units | None = None


class Sum(_Step, frozen=True):
    """Add the results of a verification's parts.

    Args:
        id: the id of the verification.
        parts: the number of its parts.
        began: the time of its begin, in ISO 8601; null where it is not known.
    """

    id: str
    parts: Annotated[int, msgspec.Meta(ge=1, le=_MOST_PARTS)]
    began: str | None = None


Step = Check | GaveUp | Evicted | Begin | Load | Ranges | Sweep | Finish | Divide | Verify | Sum
