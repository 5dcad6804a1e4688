"""What a comparison covers and what it found."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Self
from zlib import crc32

from dynamirror.dynamodb.scan import MOST_SEGMENTS, Segment
from dynamirror.errors import ConfigError

_SAMPLE = 10


@dataclass(slots=True)
class Comparison:
    """How table and cache differ.

    Args:
        items: items of the table that were looked at.
        entries: entries that the views' keys fit, in the cache, that were looked at.
        missing: entries that should be in the cache and are not.
        different: entries with another value than the item's.
        left_over: entries whose items are not in the table.
        unmappable: items that cannot become entries in a view (they are quarantined).
        in_flight: entries that kept changing, so that they could not be judged.
        repaired: of the differences, those that were put right.
        sample: some keys of each kind, to look at.
    """

    items: int = 0
    entries: int = 0
    missing: int = 0
    different: int = 0
    left_over: int = 0
    unmappable: int = 0
    in_flight: int = 0
    repaired: int = 0
    sample: dict[str, list[str]] = field(default_factory=dict)

    @property
    def differences(self) -> int:
        """How many entries were not as the table says; 0 for a true mirror."""
        return self.missing + self.different + self.left_over

    @property
    def is_true(self) -> bool:
        """Whether what was looked at is as the table says, by now."""
        return self.differences == self.repaired and not self.in_flight

    def found(self, kind: str, key: str) -> None:
        """Note one difference."""
        setattr(self, kind, getattr(self, kind) + 1)
        keys = self.sample.setdefault(kind, [])
        if len(keys) < _SAMPLE:
            keys.append(key)

    def add(self, other: "Comparison") -> None:
        """Count another part of the same table, too."""
        for name in self.__slots__:
            if name != "sample":
                setattr(self, name, getattr(self, name) + getattr(other, name))
        for kind, keys in other.sample.items():
            mine = self.sample.setdefault(kind, [])
            mine += keys[: _SAMPLE - len(mine)]


@dataclass(frozen=True, slots=True)
class Part:
    """What of a table and its mirror is compared: some scan segments, and as large a share of keys.

    Args:
        of: how many parts there are.
        chosen: which ones, from 0.
    """

    of: int = 1
    chosen: tuple[int, ...] = (0,)

    @classmethod
    def sample(cls, percent: float, rng: Random) -> Self:
        """A random part.

        Raises:
            ConfigError: there is no such share.
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
        """Whether an entry's key belongs to the part."""
        return self.of == 1 or crc32(key.encode()) % self.of in self.chosen
