"""The steps of the state machine that fills, verifies and repairs a mirror, as plain data."""

from typing import Annotated

import msgspec

from dynamirror.recovery.comparison import Share
from dynamirror.recovery.rebuild_state import Run

Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
# 0 and null mean no limit; CDK cannot write null.
Units = Annotated[float, msgspec.Meta(ge=0)]


class _Step(msgspec.Struct, frozen=True, tag_field="step", tag=str.lower):
    """One step of the state machine; `step` is the class's name in lower case."""


class Check(_Step, frozen=True):
    """Report whether the mirror is complete, and whether a rebuild should start.

    Args:
        running: the names of the running executions, of all tables; see `operations.executions`.
    """

    running: tuple[str, ...] = ()


class Evicted(_Step, frozen=True):
    """Record that CloudWatch reports evictions."""


class Begin(_Step, frozen=True):
    """Begin a rebuild, or resume an unfinished one; see `Rebuild.begin`.

    Args:
        rate: read units per second, for all segments together; 0 or null for no limit.
        concurrency: how many segments are loaded at a time.
    """

    segments: Count
    consistent: bool = True
    restart: bool = False
    rate: Units | None = None
    concurrency: Count = 1


class Load(_Step, frozen=True):
    """Load a segment until time runs out.

    Args:
        run: the rebuild.
        index: the number of the segment, from 0.
        rate: read units per second, for this segment; 0 or null for no limit.
        workers: how many segments are loaded at a time.
    """

    run: Run
    index: int
    rate: Units | None = None
    workers: Count = 1


class Sweep(_Step, frozen=True):
    """Delete orphaned entries, once all segments are loaded."""

    run: Run


class Finish(_Step, frozen=True):
    """Record that the mirror is complete."""

    run: Run


class Divide(_Step, frozen=True):
    """Divide a verification into parts.

    Args:
        action: verify or repair.
        parts: the number of parts.
        rate: read units per second, for all parts together; 0 or null for no limit.
        concurrency: how many parts are compared at a time.
    """

    action: str
    parts: Count
    rate: Units | None = None
    concurrency: Count = 1


class Verify(_Step, frozen=True):
    """Compare a part of the table with the cache.

    Args:
        part: the part.
        repair: whether to write snapshot rows over differences.
        settle: seconds that a difference has to settle.
        rate: read units per second, for this part; 0 or null for no limit.
        id: the id of the verification; the result is stored in the cache for `Sum`.
    """

    part: Share
    repair: bool = False
    settle: float = 15.0
    rate: Units | None = None
    id: str | None = None


class Sum(_Step, frozen=True):
    """Add the results of a verification's parts.

    Args:
        id: the id of the verification.
        parts: the number of its parts.
        began: the time of its begin, in ISO 8601; null where it is not known.
    """

    id: str
    parts: Count
    began: str | None = None


Step = Check | Evicted | Begin | Load | Sweep | Finish | Divide | Verify | Sum
