"""What a whole-table job costs in read units and time, and which jobs cannot end."""

from math import ceil
from typing import Any, Final

import msgspec

from dynamirror.cache.slot_map import SLOTS
from dynamirror.dynamodb.scan import MOST_SEGMENTS
from dynamirror.errors import ConfigError

DAY_SECONDS: Final = 86_400
# Results of a verification's parts stay in the cache that long.
_VERIFICATION_SECONDS: Final = 7 * DAY_SECONDS
# Step Functions ends an execution after a year.
_EXECUTION_SECONDS: Final = 365 * DAY_SECONDS
_BYTES_OF_UNIT: Final = 4096
# A part of the cache goes through so many keys between two checkpoints, if it has as many.
_KEYS_AT_ONCE: Final = 10_000
# More ranges than workers, so that these end together.
_RANGES_OF_WORKER: Final = 4
_KEYS_OF_RANGE: Final = 250_000
_MOST_RANGES: Final = 1_000
_MOST_LANES: Final = 1_000


class TableSize(msgspec.Struct, frozen=True):
    """How large a table and its mirror are, by AWS's description, which may be six hours old.

    Args:
        items: the number of items.
        size: their bytes.
        views: the number of views.
    """

    items: int
    size: int
    views: int = 1

    @classmethod
    def of(cls, description: Any, views: int) -> "TableSize":
        """Return the size of a table that AWS describes."""
        return cls(
            int(description.get("ItemCount", 0)), int(description.get("TableSizeBytes", 0)), views
        )

    @property
    def entries(self) -> int:
        """The number of entries, if each item has one in each view."""
        return self.items * self.views

    @property
    def scan_units(self) -> float:
        """The read units of a consistent scan."""
        return self.size / _BYTES_OF_UNIT

    @property
    def item_units(self) -> int:
        """The read units of a consistent read of one item, of average size."""
        return max(1, ceil(self.size / _BYTES_OF_UNIT / max(1, self.items)))

    @property
    def lookup_units(self) -> float:
        """The read units to look up the items of all entries, eventually consistently."""
        return self.entries * self.item_units / 2

    @property
    def comparison_units(self) -> float:
        """The read units of a whole verification, or of a round of audits."""
        return self.scan_units + self.lookup_units

    def ranges(self, workers: int) -> int:
        """Return into how many ranges of slots the cache is divided.

        Args:
            workers: how many functions work at a time.
        """
        useful = ceil(self.entries / _KEYS_OF_RANGE) if self.items else _MOST_RANGES
        return max(1, min(SLOTS, _MOST_RANGES, useful, _RANGES_OF_WORKER * workers))

    def lookups_at_once(self, parts: int = 1) -> float:
        """Return the read units between two checkpoints in one of several parts of the cache."""
        # There is no checkpoint within a slot.
        keys = min(max(_KEYS_AT_ONCE, self.entries / SLOTS), self.entries / parts)
        return keys * self.item_units / 2

    def audit_parts(self, units: float, turns: float) -> int:
        """Return in how many parts audits compare, to keep to a day's read units.

        Args:
            units: read units a day.
            turns: audits a day.
        """
        return max(1, min(MOST_SEGMENTS, ceil(self.comparison_units * turns / units)))


def lanes(parts: int) -> int:
    """Return on how many lanes parts are done, since a state machine cannot list a million.

    Args:
        parts: the number of parts; each lane takes every so many-th.
    """
    return max(1, min(parts, _MOST_LANES))


def check_backfill(size: TableSize, rate: float | None, *, consistent: bool) -> str | None:
    """Return a sentence if a rebuild takes longer than a day at its rate.

    Args:
        size: the table's size.
        rate: read units per second of all workers together; None or 0 for no limit.
        consistent: whether reads are strongly consistent.

    Raises:
        ConfigError: it would take too long to end.
    """
    units = size.scan_units if consistent else size.scan_units / 2
    return _check("rebuild", units, rate, _EXECUTION_SECONDS, "a state machine may run for")


def check_pace(
    size: TableSize,
    rate: float | None,
    *,
    workers: int = 1,
    parts: int = 1,
    seconds: float,
    settle: float,
) -> None:
    """Check that an invocation gets from one checkpoint of a comparison to the next.

    Args:
        size: the table's size.
        rate: read units per second of all workers together; None or 0 for no limit.
        workers: how many functions work at a time.
        parts: the number of parts that the cache is divided into.
        seconds: the time of one invocation of a function.
        settle: seconds that an invocation may take to settle differences.

    Raises:
        ConfigError: it does not.
    """
    if settle >= seconds:
        raise ConfigError(
            f"settle: differences may take {settle:,.0f} s to settle, but a function has "
            f"{seconds:,.0f} s; give a shorter time"
        )
    needed = size.lookups_at_once(parts) / (seconds - settle) * workers
    if rate and rate < needed:
        raise ConfigError(
            f"rate: {workers} functions at a time cannot get from one checkpoint to the next "
            f"with {rate:g} read units a second together; give at least {ceil(needed):,}, or "
            "fewer functions (maxConcurrency)"
        )


def check_verification(
    size: TableSize, rate: float | None, *, workers: int, seconds: float, settle: float
) -> str | None:
    """Return a sentence if a verification takes longer than a day at its rate.

    Args:
        size: the table's size.
        rate: read units per second of all workers together; None or 0 for no limit.
        workers: how many functions work at a time.
        seconds: the time of one invocation of a function.
        settle: seconds that an invocation may take to settle differences.

    Raises:
        ConfigError: it would take too long to end, or could not get from one checkpoint to another.
    """
    check_pace(size, rate, workers=workers, seconds=seconds, settle=settle)
    reason = "results are kept for"
    return _check("verification", size.comparison_units, rate, _VERIFICATION_SECONDS, reason)


def _check(job: str, units: float, rate: float | None, most: float, reason: str) -> str | None:
    seconds = units / rate if rate else 0.0
    if seconds <= DAY_SECONDS:
        return None
    sentence = (
        f"rate: at {rate:,g} read units a second, the {job} of {units:,.0f} units takes "
        f"{seconds / DAY_SECONDS:,.1f} days"
    )
    if seconds > most:
        least = ceil(units / most)
        raise ConfigError(
            f"{sentence}, and {reason} {most // DAY_SECONDS:,.0f} days; give at least {least:,}"
        )
    return f"{sentence}; a day would need {ceil(units / DAY_SECONDS):,}"
