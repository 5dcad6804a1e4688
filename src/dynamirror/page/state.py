"""The page's state as plain values, without I/O or layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from dynamirror.recovery.rebuild_state import TotalProgress
from dynamirror.recovery.sweep import TotalSwept
from dynamirror.views.batch_result import Tally


class Verdict(StrEnum):
    """How a cache entry compares with the table."""

    SAME = "same"
    MOVING = "on its way"
    MISSING = "missing"
    DIFFERENT = "different"
    ORPHANED = "orphaned"

    @property
    def is_wrong(self) -> bool:
        """Return whether the entry differs and no change on its way corrects it."""
        return self not in (Verdict.SAME, Verdict.MOVING)


class Condition(StrEnum):
    """A mirror's condition in a word."""

    IN_SYNC = "In sync"
    CATCHING_UP = "Catching up"
    DIFFERS = "Not in sync"
    INCOMPLETE = "Incomplete"
    DOUBTFUL = "Doubtful"
    STOPPED = "Stopped"
    STANDBY = "Standby"


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One entry, as the table implies it and as the cache holds it.

    Args:
        table: text of the value that the table implies; None for no entry.
        cache: text of the value in the cache; None for no entry.
        absent: why the table implies no entry.
    """

    key: str
    table: str | None
    cache: str | None
    verdict: Verdict
    absent: str = "no item"


@dataclass(frozen=True, slots=True)
class Point:
    """The figures of one tick.

    Args:
        at: seconds since the page's start.
        p50: median lag in milliseconds; None if no lag was measured.
        p99: 99th percentile of the same.
        written: writes to the table a second; None where nobody counts them.
        applied: entries applied to the cache a second.
        behind: upper bound of the lag in seconds; None while unknown.
    """

    at: float
    p50: float | None
    p99: float | None
    written: float | None
    applied: float
    behind: float | None


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard's checkpoint: the sequence number of the last record delivered, or None for none."""

    id: str
    after: str | None
    finished: bool


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """An item in quarantine, and the reason."""

    item: str
    reason: str


@dataclass(frozen=True, slots=True)
class RebuildRow:
    """The newest rebuild.

    Args:
        begun: the time of the begin, in ISO 8601.
        finished: the time of the end, in ISO 8601; empty until then.
        loaded: the progress of the load in all segments.
        swept: the progress of the sweep in all ranges.
    """

    begun: str
    finished: str
    loaded: TotalProgress
    swept: TotalSwept


@dataclass(frozen=True, slots=True)
class Figure:
    """A labelled number of the measurement.

    Args:
        text: the number, as it is shown.
        share: the number as a part of the largest, from 0 to 1.
    """

    label: str
    text: str
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the inspectors have measured; no data of items.

    Args:
        claim: the nines that the checks prove, with the bound and their number.
        violations: number of all violations.
        within: the share of consistent checks at each threshold.
        staleness: the number of changes that became visible within each time.
        latest: the latest violations in words, newest first.
        note: what could not be measured; empty for nothing.
    """

    claim: str
    violations: int
    within: Sequence[Figure]
    staleness: Sequence[Figure]
    latest: Sequence[str]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """An action on the mirror, or its outcome.

    Args:
        number: 1 for the first event.
        at: time of day.
        good: whether the mirror healed.
    """

    number: int
    at: str
    text: str
    good: bool


@dataclass(frozen=True, slots=True)
class Button:
    """An action that the page offers.

    Args:
        hint: one sentence about its effect.
        heals: whether the action repairs instead of breaking something.
        busy: whether the action is running.
    """

    name: str
    label: str
    icon: str
    hint: str
    heals: bool = False
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """The results of one read of table and cache.

    Args:
        reason: why the mirror is incomplete; None if it is complete.
        doubt: why the mirror is doubtful; None if it is not.
        parked: some items in quarantine.
        quarantined: number of all items in quarantine.
        rebuild: the newest rebuild; None for none.
        trouble: why table or cache could not be read; None if both could.
    """

    rows: Sequence[EntryRow] = ()
    reason: str | None = None
    doubt: str | None = None
    shards: Sequence[Shard] = ()
    parked: Sequence[ParkedRow] = ()
    quarantined: int = 0
    rebuild: RebuildRow | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class PageState:
    """Everything that the page shows at one moment.

    Args:
        detail: the condition in a sentence.
        written: writes to the table; None where nobody counts them.
        history: points of the last minute, oldest first.
        lag_ms: p50 and p99 of all lags in milliseconds.
        measurement: what the inspectors have measured; None where none runs.
        is_failing: whether entries have failed in the last seconds.
        events: actions and their outcomes, newest first.
    """

    number: int = 0
    condition: Condition = Condition.CATCHING_UP
    detail: str = "The page has not read the mirror yet."
    tally: Tally = field(default_factory=Tally)
    written: int | None = None
    history: Sequence[Point] = ()
    lag_ms: Mapping[str, float | None] = field(default_factory=dict)
    observation: Observation = field(default_factory=Observation)
    measurement: Measurement | None = None
    is_failing: bool = False
    events: Sequence[Event] = ()
    buttons: Sequence[Button] = ()
