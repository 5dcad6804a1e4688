"""Ranges of a sorted set whose members all have one score."""

import msgspec


class Bound(msgspec.Struct, frozen=True):
    """One end of a range.

    Args:
        member: the last that may be in it.
        inside: whether it is.
    """

    member: bytes
    inside: bool

    def __bytes__(self) -> bytes:
        return (b"[" if self.inside else b"(") + self.member


class Range(msgspec.Struct, frozen=True):
    """A part of an index.

    Args:
        low: its lower end; None for none.
        high: its upper end; None for none.
    """

    low: Bound | None = None
    high: Bound | None = None

    def holds(self, member: bytes) -> bool:
        """Return whether a member is in it."""
        low, high = self.low, self.high
        above = low is None or member > low.member or (low.inside and member == low.member)
        below = high is None or member < high.member or (high.inside and member == high.member)
        return above and below

    def after(self, member: bytes, *, forward: bool) -> "Range":
        """Return the part of the range after a member, in the direction of reading."""
        end = Bound(member, inside=False)
        if forward:
            return self if self.low and self.low.member > member else Range(end, self.high)
        return self if self.high and self.high.member < member else Range(self.low, end)

    def words(self, *, forward: bool) -> tuple[bytes, ...]:
        """Return the words of ZRANGE that select the range."""
        low, high = self.ends
        return (low, high, b"BYLEX") if forward else (high, low, b"BYLEX", b"REV")

    @property
    def ends(self) -> tuple[bytes, bytes]:
        """The ends, as ZLEXCOUNT takes them."""
        return bytes(self.low) if self.low else b"-", bytes(self.high) if self.high else b"+"


def following(prefix: bytes) -> bytes | None:
    """Return the first bytes after all that begin with these; None if there are none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None
