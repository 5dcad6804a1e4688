"""What a whole-table job costs in read units and time, and which jobs cannot end."""

from math import ceil
from typing import Any, Final

import msgspec

from dynamirror.cache.slot_map import SLOTS
from dynamirror.dynamodb.scan import MOST_SEGMENTS
from dynamirror.errors import ConfigError
from dynamirror.recovery.long_job import Job

DAY_SECONDS: Final = 86_400
# Results of a verification's parts stay in the cache that long.
_VERIFICATION_SECONDS: Final = 7 * DAY_SECONDS
# Step Functions ends an execution after a year.
_EXECUTION_SECONDS: Final = 365 * DAY_SECONDS
_BYTES_OF_UNIT: Final = 4096
# An entry is looked up for half a unit of its item's, and read again consistently.
_LOOKUP_AND_DOUBT: Final = 1.5
# SCAN returns that many keys at least, where it is asked for one: those that share a bucket.
_KEYS_OF_BUCKET: Final = 12
# More ranges than workers, so that these end together.
_RANGES_OF_WORKER: Final = 4
_KEYS_OF_RANGE: Final = 250_000
_MOST_RANGES: Final = 1_000
_MOST_LANES: Final = 1_000
# How long a job of the state machine may take, and why no longer.
_ENDS: Final = {
    Job.REBUILD: (_EXECUTION_SECONDS, "a state machine may run for"),
    Job.VERIFICATION: (_VERIFICATION_SECONDS, "results are kept for"),
}


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


class Duration(msgspec.Struct, frozen=True):
    """How long a job takes at its rate.

    Args:
        job: the job.
        units: its read units.
        rate: read units per second; 0 for no limit.
    """

    job: Job
    units: float
    rate: float

    @property
    def seconds(self) -> float:
        """The seconds that the job takes at least."""
        return self.units / self.rate if self.rate else 0.0

    @property
    def is_long(self) -> bool:
        """Whether it takes more than a day."""
        return self.seconds > DAY_SECONDS

    @property
    def sentence(self) -> str:
        """What the job takes, and what a day would need."""
        text = (
            f"rate: at {self.rate:,g} read units a second, the {self.job} of {self.units:,.0f} "
            f"units takes {_span(self.seconds)}"
        )
        if self.is_long:
            text += f"; a day would need {ceil(self.units / DAY_SECONDS):,}"
        return text


def rebuild_time(size: TableSize, rate: float | None, *, consistent: bool) -> Duration:
    """Return how long a rebuild takes.

    Args:
        size: the table's size.
        rate: read units per second of all workers together; None or 0 for no limit.
        consistent: whether reads are strongly consistent.
    """
    units = size.scan_units if consistent else size.scan_units / 2
    return Duration(Job.REBUILD, units, rate or 0.0)


def verification_time(size: TableSize, rate: float | None) -> Duration:
    """Return how long a verification takes.

    Args:
        size: the table's size.
        rate: read units per second of all workers together; None or 0 for no limit.
    """
    return Duration(Job.VERIFICATION, size.comparison_units, rate or 0.0)


def check_end(duration: Duration) -> None:
    """Check that a job of the state machine comes to its end.

    Raises:
        ConfigError: it would take too long.
    """
    most, reason = _ENDS[duration.job]
    if duration.seconds > most:
        raise ConfigError(
            f"rate: at {duration.rate:,g} read units a second, the {duration.job} of "
            f"{duration.units:,.0f} units takes {_span(duration.seconds)}, and {reason} "
            f"{most // DAY_SECONDS:,.0f} days; give at least {ceil(duration.units / most):,}"
        )


def check_pace(
    size: TableSize,
    rate: float | None,
    *,
    workers: int = 1,
    seconds: float,
    settle: float,
) -> None:
    """Check that an invocation gets from one checkpoint of a comparison to the next.

    A lower rate makes checkpoints more frequent. But between two of them, at least the items of one
    SCAN's keys are looked up, and read again if their entries are in doubt.

    Args:
        size: the table's size.
        rate: read units per second of all workers together; None or 0 for no limit.
        workers: how many functions work at a time.
        seconds: the time of one invocation of a function.
        settle: seconds that an invocation may take to settle differences.

    Raises:
        ConfigError: it does not.
    """
    if not (settle or rate):
        return  # then an invocation gets further, however short it is
    if settle >= seconds:
        raise ConfigError(
            f"settle: differences may take {settle:,.0f} s to settle, but a function has "
            f"{seconds:,.0f} s; give a shorter time"
        )
    needed = _LOOKUP_AND_DOUBT * _KEYS_OF_BUCKET * size.item_units / (seconds - settle) * workers
    if rate and rate < needed:
        raise ConfigError(
            f"rate: {workers} functions at a time cannot get from one checkpoint to the next "
            f"with {rate:g} read units a second together; give at least {needed:,.2g}, or "
            "fewer functions (maxConcurrency)"
        )


def _span(seconds: float) -> str:
    days = seconds / DAY_SECONDS
    return f"{days:,.1f} days" if days >= 1 else f"{seconds / 3600:,.1f} hours"
