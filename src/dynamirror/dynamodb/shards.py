"""The shards of a stream and the order they must be read in."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a stream.

    Args:
        id: the shard's id.
        parent: the shard it took over from; None for the first ones.
    """

    id: str
    parent: str | None


def readable(shards: Iterable[Shard], finished: Collection[str]) -> list[Shard]:
    """Return the shards to read now: unfinished, with parents that are finished or gone.

    Changes of one item go on in the child after its parent's end, so a child waits. A parent that
    is listed no more has been trimmed; there is nothing left to wait for.
    """
    shards = list(shards)
    listed = {shard.id for shard in shards}
    return [
        shard
        for shard in shards
        if shard.id not in finished
        and (shard.parent is None or shard.parent in finished or shard.parent not in listed)
    ]
