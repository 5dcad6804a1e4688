"""What orders two writes of one entry: the version a fence remembers."""

from functools import lru_cache

import msgspec

_EPOCH_END = 14
_SEQUENCE_END = 54


class ChangeVersion(msgspec.Struct, frozen=True, gc=False):
    """Where one change stands in the history of its item.

    Args:
        epoch: creation of the stream, in milliseconds since 1970 (the label in its ARN). A stream
            that was switched off and on again is a new one, with sequence numbers of its own.
        sequence: the stream's SequenceNumber, 21 to 40 digits.
        created: ApproximateCreationDateTime, in whole seconds since 1970.
    """

    epoch: int
    sequence: int
    created: int

    def __str__(self) -> str:
        """Return a text of fixed width: text order is number order, in Lua too."""
        head, tail = _around(self.epoch, self.created)
        return f"{head}{str(self.sequence).zfill(40)}{tail}"


@lru_cache(maxsize=1024)
def _around(epoch: int, created: int) -> tuple[str, str]:
    """Return the text around the sequence number, the same for all changes of a second."""
    return f"c{epoch:013d}", f"{created:010d}"


class SnapshotVersion(msgspec.Struct, frozen=True, gc=False):
    """The as-of time of a snapshot row, which holds every change created before that second.

    Args:
        as_of: whole seconds since 1970, by DynamoDB's own clock, less a margin.
    """

    as_of: int

    def __str__(self) -> str:
        return f"r{self.as_of:010d}"


Version = ChangeVersion | SnapshotVersion


def parse(text: str) -> Version:
    """Read a version back from its text.

    Raises:
        ValueError: the text is not one that a version prints.
    """
    if text[:1] == "r":
        version: Version = SnapshotVersion(int(text[1:]))
    else:
        version = ChangeVersion(
            epoch=int(text[1:_EPOCH_END]),
            sequence=int(text[_EPOCH_END:_SEQUENCE_END]),
            created=int(text[_SEQUENCE_END:]),
        )
    if str(version) != text:
        raise ValueError(f"{text!r} is not a version")
    return version


def supersedes(incoming: Version, held: Version | None) -> bool:
    """Return whether a write may replace the fence's version: the rule of scripts/fence.lua."""
    match held:
        case None:
            return True
        case ChangeVersion():
            if isinstance(incoming, SnapshotVersion):
                return held.created < incoming.as_of
            return (incoming.epoch, incoming.sequence) > (held.epoch, held.sequence)
        case SnapshotVersion():
            if isinstance(incoming, SnapshotVersion):
                return incoming.as_of > held.as_of
            return incoming.created >= held.as_of
