"""The part of table and cache that a comparison covers, and its result."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Self
from zlib import crc32

import msgspec

from dynamirror.dynamodb.scan import MOST_SEGMENTS, Segment
from dynamirror.errors import ConfigError

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


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a table and its mirror: some scan segments, and as large a share of the keys.

    Args:
        of: the number of parts.
        chosen: the numbers of the chosen parts, from 0.
    """

    of: int = 1
    chosen: tuple[int, ...] = (0,)

    @classmethod
    def sample(cls, percent: float, rng: Random) -> Self:
        """Return a random part.

        Args:
            percent: its share of the table, in per cent.
            rng: the random source.

        Raises:
            ConfigError: the share is not above 0 and up to 100.
        """
        if not 0 < percent <= 100:  # noqa: PLR2004 - per cent
            raise ConfigError(f"--sample: must be more than 0 and at most 100, not {percent:g}")
        parts = min(MOST_SEGMENTS, max(100, round(100 / percent)))
        count = max(1, round(parts * percent / 100))
        return cls(parts, tuple(sorted(rng.sample(range(parts), count))))

    @property
    def segments(self) -> Iterator[Segment]:
        """The segments to scan."""
        return (Segment(index, self.of) for index in self.chosen)

    def holds(self, key: str) -> bool:
        """Return whether an entry's key belongs to the part."""
        return self.of == 1 or crc32(key.encode()) % self.of in self.chosen
