"""Whether a cache has room for a table, before a rebuild finds out."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from dynamirror.views.view import View

# What an entry and its fence take beside the item, in bytes: docs/performance.md.
BYTES_PER_ENTRY: Final = 240
# Readers and the fences of changes need some, too.
_TIGHT: Final = 0.8
_GB: Final = 1_000_000_000


class Room(msgspec.Struct, frozen=True):
    """The bytes that a mirror needs at least, and those that there are.

    Args:
        table: name of the table.
        needed: bytes that the entries of all items need at least.
        limit: bytes that the cache holds; None where that is not known.
    """

    table: str
    needed: int
    limit: int | None

    @property
    def is_short(self) -> bool:
        """Return whether the mirror cannot fit."""
        return self.limit is not None and self.needed > self.limit

    @property
    def sentence(self) -> str | None:
        """Return what is wrong, and what to do; None if there is room."""
        if self.limit is None or self.needed <= _TIGHT * self.limit:
            return None
        return (
            f"table {self.table} needs at least {_size(self.needed)} in the cache, by its size of "
            f"at most six hours ago, and the cache's limit is {_size(self.limit)}; raise the limit "
            "(in AWS cacheMaxGb), or store less with include or when in mirror.toml"
        )


def room(views: Sequence[View], description: Any, limit: int | None) -> Room:
    """Return the room for a table; an estimate that is too low rather than too high.

    A view that writes whole items writes at least as many bytes as DynamoDB counts. A view that
    writes parts counts with what each entry takes, and one that may leave items out does not count.

    Args:
        views: all views of the table.
        description: the table's description by AWS.
        limit: bytes that the cache holds; None or 0 where that is not known.
    """
    items = int(description.get("ItemCount", 0))
    size = int(description.get("TableSizeBytes", 0))
    needed = 0
    for view in views:
        if not view.is_static:
            continue
        is_whole = view.attributes is None and view.make is None
        needed += items * BYTES_PER_ENTRY + (size if is_whole else 0)
    return Room(views[0].schema.table, needed, limit or None)


def _size(size: int) -> str:
    return f"{size / _GB:,.1f} GB" if size >= _GB / 10 else f"{size:,} bytes"
