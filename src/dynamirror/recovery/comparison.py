"""The parts of table and cache that a comparison covers, and its result."""

from collections.abc import Iterator
from enum import StrEnum
from random import Random
from typing import Final, Self

import msgspec

from dynamirror.cache.slot_map import SLOTS
from dynamirror.cache.slot_scan import ScanCheckpoint, SlotRange
from dynamirror.dynamodb.scan import MOST_SEGMENTS
from dynamirror.errors import ConfigError
from dynamirror.records.attribute_value import Item

_SAMPLE = 10


class Kind(StrEnum):
    """The result of a comparison at one key; the values are stored."""

    MISSING = "missing"
    DIFFERENT = "different"
    ORPHANED = "left_over"
    UNMAPPABLE = "unmappable"
    IN_FLIGHT = "in_flight"


class Comparison(msgspec.Struct, rename={"orphaned": Kind.ORPHANED.value}.get):
    """The differences between table and cache.

    Args:
        items: compared items of the table.
        entries: compared entries in the cache: keys that fit a view's template.
        missing: entries that should be in the cache and are not.
        different: entries with another value than the item's.
        orphaned: entries whose items are not in the table; stored as `left_over`.
        unmappable: items that a view cannot write; they are quarantined.
        in_flight: entries that kept changing, so that they could not be compared.
        repaired: differences that were repaired.
        sample: some keys of each kind.
    """

    items: int = 0
    entries: int = 0
    missing: int = 0
    different: int = 0
    orphaned: int = 0
    unmappable: int = 0
    in_flight: int = 0
    repaired: int = 0
    sample: dict[str, list[str]] = {}

    @property
    def differences(self) -> int:
        """Return how many entries differ from the table; 0 for an exact mirror."""
        return self.missing + self.different + self.orphaned

    @property
    def is_true(self) -> bool:
        """Return whether all that was compared matches the table, after the repairs."""
        return self.differences == self.repaired and not self.in_flight

    def record(self, kind: Kind, key: str) -> None:
        """Count one key, and add it to the sample."""
        match kind:
            case Kind.MISSING:
                self.missing += 1
            case Kind.DIFFERENT:
                self.different += 1
            case Kind.ORPHANED:
                self.orphaned += 1
            case Kind.UNMAPPABLE:
                self.unmappable += 1
            case Kind.IN_FLIGHT:
                self.in_flight += 1
        keys = self.sample.setdefault(kind.value, [])
        if len(keys) < _SAMPLE:
            keys.append(key)

    def copy(self) -> "Comparison":
        """Return the differences so far."""
        sample = {kind: list(keys) for kind, keys in self.sample.items()}
        return msgspec.structs.replace(self, sample=sample)

    def add(self, other: "Comparison") -> None:
        """Add the result of another part of the same table."""
        self.items += other.items
        self.entries += other.entries
        self.missing += other.missing
        self.different += other.different
        self.orphaned += other.orphaned
        self.unmappable += other.unmappable
        self.in_flight += other.in_flight
        self.repaired += other.repaired
        for kind, keys in other.sample.items():
            sample = self.sample.setdefault(kind, [])
            sample += keys[: _SAMPLE - len(sample)]


class TablePart(msgspec.Struct, frozen=True, tag_field="kind", tag="table"):
    """A segment of the table, whose items' entries may be missing or different.

    Args:
        segment: the number of the segment, from 0.
        of: the number of segments.
    """

    segment: int = 0
    of: int = 1


class CachePart(msgspec.Struct, frozen=True, tag_field="kind", tag="cache"):
    """The cache's keys of some slots, whose entries may be orphaned.

    Args:
        slots: the range of slots.
    """

    slots: SlotRange = SlotRange()


Part = TablePart | CachePart


class PartProgress(msgspec.Struct, frozen=True):
    """The progress of a comparison in one part, from which it resumes.

    Args:
        done: whether the part is compared.
        comparison: the differences so far, all of them settled.
        start: the start key of the next page of a table part; None for the beginning.
        checkpoint: where to go on in a cache part; None for the beginning.
    """

    done: bool = False
    comparison: Comparison = msgspec.field(default_factory=Comparison)
    start: Item | None = None
    checkpoint: ScanCheckpoint | None = None


class Share(msgspec.Struct, frozen=True):
    """A share of a table and its mirror: some scan segments, and as large a share of the slots.

    Args:
        of: the number of shares.
        chosen: the numbers of the chosen shares, from 0.
    """

    of: int = 1
    chosen: tuple[int, ...] = (0,)

    @classmethod
    def sample(cls, percent: float, rng: Random) -> Self:
        """Return a random share.

        Shares that follow one another are as random as others, because segments and slots are
        ranges of hashes. They make few ranges of slots, and a single server is scanned once a
        range.

        Args:
            percent: its share of the table, in per cent.
            rng: the random source.

        Raises:
            ConfigError: the share is not above 0 and up to 100.
        """
        if not 0 < percent <= 100:  # noqa: PLR2004 - per cent
            raise ConfigError(f"--sample: must be more than 0 and at most 100, not {percent:g}")
        of = max(100, round(min(MOST_SEGMENTS, 100 / percent)))
        count = max(1, round(of * percent / 100))
        first = rng.randrange(of)
        return cls(of, tuple(sorted((first + index) % of for index in range(count))))

    @property
    def is_whole(self) -> bool:
        """Return whether it is the whole table."""
        return len(set(self.chosen)) == self.of

    def parts(self) -> Iterator[Part]:
        """Yield the parts of table and cache."""
        for index in self.chosen:
            yield TablePart(index, self.of)
        for slots in self._slots():
            yield CachePart(slots)

    def _slots(self) -> Iterator[SlotRange]:
        """Yield the ranges of slots, those that follow one another as one."""
        first, behind = 0, 0
        for index in sorted(set(self.chosen)):
            begin, end = (SLOTS * number // self.of for number in (index, index + 1))
            if begin > behind:
                if first < behind:
                    yield SlotRange(first, behind - 1)
                first = begin
            behind = end
        if first < behind:
            yield SlotRange(first, behind - 1)


WHOLE: Final = Share()
