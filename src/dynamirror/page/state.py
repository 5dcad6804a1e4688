"""What the page shows, as plain values: no I/O, and nothing of how it looks."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import quantiles
from typing import Any

import msgspec

from dynamirror.encoding import Layout, pack_fields, unpack_fields
from dynamirror.report import Tally
from dynamirror.stored import State, agree
from dynamirror.view import View

# How far behind a mirror may be that is called in sync, in seconds: records come in batches.
IN_SYNC_SECONDS = 3.0
# How long a change may take to get into the stream, in seconds.
_STREAM_SECONDS = 1.0
_LONGEST_TEXT = 240
# Of a moment, the day and UTC are left out: what differs in what is written now is the time.
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([0-9:.]+)(?:Z|\+00:00)")


class Verdict(StrEnum):
    """How an entry is, beside what the table says."""

    SAME = "same"
    MOVING = "on its way"
    MISSING = "missing"
    DIFFERENT = "different"
    LEFT_OVER = "left over"

    @property
    def is_wrong(self) -> bool:
        """Whether nothing that is on its way puts it right."""
        return self not in (Verdict.SAME, Verdict.MOVING)


class Condition(StrEnum):
    """The state of the mirror in a word."""

    IN_SYNC = "In sync"
    CATCHING_UP = "Catching up"
    DIFFERS = "Not in sync"
    INCOMPLETE = "Incomplete"
    STOPPED = "Stopped"


@dataclass(frozen=True, slots=True)
class Row:
    """One entry, as it should be and as it is.

    Args:
        key: of the entry.
        table: what the table says that it should hold; None for no entry.
        cache: what it holds; None for no entry.
        verdict: how the two are.
    """

    key: str
    table: str | None
    cache: str | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Point:
    """What happened in one tick.

    Args:
        at: seconds since the page was there.
        p50: median lag of what arrived, in milliseconds; None if nothing was measured.
        p99: the 99th percentile.
        written: writes to the table a second; None where they are not counted.
        applied: entries written a second.
        behind: seconds since all that was in the stream had arrived; None while that is not known.
    """

    at: float
    p50: float | None
    p99: float | None
    written: float | None
    applied: float
    behind: float | None


@dataclass(frozen=True, slots=True)
class Shard:
    """How far one shard has been read."""

    id: str
    after: str | None
    finished: bool


@dataclass(frozen=True, slots=True)
class Parked:
    """An item in quarantine."""

    item: str
    reason: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to the mirror, or what became of it.

    Args:
        number: of the event, from 1.
        at: the time of day.
        text: one sentence.
        good: whether it tells of healing.
    """

    number: int
    at: str
    text: str
    good: bool


@dataclass(frozen=True, slots=True)
class Button:
    """Something that a viewer may do.

    Args:
        name: of the action.
        label: what it says.
        icon: name of its icon.
        hint: what it does, in a sentence.
        heals: whether it puts right instead of doing harm.
        busy: whether it is being done.
    """

    name: str
    label: str
    icon: str
    hint: str
    heals: bool = False
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What table and cache told, when they were last asked.

    Args:
        rows: some entries.
        reason: why the mirror is incomplete; None if it is complete.
        shards: how far each has been read.
        parked: some items in quarantine.
        quarantined: how many are in it.
        trouble: why table or cache could not be read; None if they could.
    """

    rows: Sequence[Row] = ()
    reason: str | None = None
    shards: Sequence[Shard] = ()
    parked: Sequence[Parked] = ()
    quarantined: int = 0
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the page shows at one moment.

    Args:
        number: counts the snapshots.
        condition: the state in a word.
        detail: the state in a sentence.
        tally: the outcomes.
        written: writes to the table; None where they are not counted.
        history: the last minute, oldest first.
        lag_ms: p50 and p99 of all that was measured.
        seen: what table and cache told.
        events: what was done to the mirror, newest first.
        buttons: what a viewer may do.
    """

    number: int = 0
    condition: Condition = Condition.CATCHING_UP
    detail: str = "The page has not looked yet."
    tally: Tally = field(default_factory=Tally)
    written: int | None = None
    history: Sequence[Point] = ()
    lag_ms: Mapping[str, float | None] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)
    events: Sequence[Event] = ()
    buttons: Sequence[Button] = ()


def condition(*, running: bool, behind: float | None, seen: Seen) -> tuple[Condition, str]:
    """The state of a mirror, in a word and in a sentence; what weighs most comes first.

    Args:
        running: whether the replicator runs.
        behind: seconds since all that was in the stream had arrived; None if that is not known.
        seen: what table and cache told.
    """
    wrong = sum(row.verdict.is_wrong for row in seen.rows)
    if not running:
        return Condition.STOPPED, "The replicator is stopped. Changes wait in the stream."
    if seen.trouble:
        return Condition.CATCHING_UP, f"{_sentence(seen.trouble)} Nothing is lost: changes wait."
    if seen.reason is not None:
        return Condition.INCOMPLETE, f"{_sentence(seen.reason)} A rebuild makes it complete."
    if wrong:
        entries = "1 entry is" if wrong == 1 else f"{wrong} entries are"
        return Condition.DIFFERS, f"{entries} not as the table says, and no change is on its way."
    if behind is None or behind > IN_SYNC_SECONDS:
        far = "" if behind is None else f" It is {behind:.0f} s behind."
        return Condition.CATCHING_UP, f"Changes are on their way.{far}"
    return Condition.IN_SYNC, "The cache holds what the table holds."


class Judge:
    """Tells what is merely on its way from what is wrong, by looking more than once.

    An entry is wrong if it does not agree, and still is the same when everything that was in the
    stream since it was first seen so has been delivered.
    """

    def __init__(self) -> None:
        self._doubts: dict[str, tuple[State, State, float]] = {}

    def verdict(
        self,
        key: str,
        should_be: State,
        held: State,
        *,
        now: float,
        delivered: Callable[[float], bool],
    ) -> Verdict:
        """Judge an entry.

        Args:
            key: of the entry.
            should_be: what the table says.
            held: what the cache holds, read after the table.
            now: when the table was read, by the delivery's clock.
            delivered: tells whether all that was in the stream at a moment has been delivered.
        """
        if agree(held, should_be):
            self._doubts.pop(key, None)
            return Verdict.SAME
        before = self._doubts.get(key)
        if before is None or before[:2] != (should_be, held):
            self._doubts[key] = (should_be, held, now)
            return Verdict.MOVING
        settled = before[2] + _STREAM_SECONDS
        if now < settled or not delivered(settled):
            return Verdict.MOVING
        if should_be.value is None:
            return Verdict.LEFT_OVER
        return Verdict.MISSING if held.value is None else Verdict.DIFFERENT

    def forget(self, keys: Iterable[str]) -> None:
        """Entries are looked at no more."""
        for key in keys:
            self._doubts.pop(key, None)


def readable(value: bytes | None, view: View) -> str | None:
    """What an entry holds, for people: without what its key tells, and not too long."""
    if value is None:
        return None
    fields = _fields(value, view)
    if fields is None:
        text = value.decode(errors="replace")
    else:
        shown = {name: one for name, one in fields.items() if name not in view.schema.keys}
        text = ", ".join(f"{name} {_plain(one)}" for name, one in (shown or fields).items())
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def _fields(value: bytes, view: View) -> dict[str, Any] | None:
    if view.encoding.layout is Layout.HASH:
        parts = unpack_fields(value)
        fields = dict(zip(parts[::2], parts[1::2], strict=False))
        if pack_fields(fields) != value:
            return None
        return {
            name.decode(errors="replace"): one.decode(errors="replace")
            for name, one in fields.items()
        }
    try:
        found = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, dict) and found else None


def _plain(value: Any) -> str:
    text = value if value and isinstance(value, str) else msgspec.json.encode(value).decode()
    moment = _MOMENT.fullmatch(text)
    return moment[1] if moment else text


def natural(key: str) -> tuple[tuple[int, int | str], ...]:
    """An order of keys in which 10 comes after 9."""
    parts = re.findall(r"[0-9]{1,18}|[^0-9]+", key)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts)


def cuts(lags: Sequence[float]) -> tuple[float | None, float | None]:
    """Median and 99th percentile of lags, in milliseconds.

    Args:
        lags: in seconds.
    """
    if not lags:
        return None, None
    if len(lags) == 1:
        return round(lags[0] * 1000, 1), round(lags[0] * 1000, 1)
    hundredths = quantiles(lags, n=100, method="inclusive")
    return round(hundredths[49] * 1000, 1), round(hundredths[98] * 1000, 1)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
