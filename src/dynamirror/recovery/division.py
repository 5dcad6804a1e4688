"""Into how many parts a table is divided, by its size."""

from math import ceil
from typing import Any, Final

from dynamirror.dynamodb.scan import MOST_SEGMENTS

# A worker loads that in about a minute, so that workers end together, and progress is fine enough.
_ITEMS: Final = 500_000
_BYTES: Final = 256 << 20
_FEWEST: Final = 8


def default_segments(description: Any) -> int:
    """Return how many segments a table is read in.

    Args:
        description: the table's description by AWS, whose sizes are of at most six hours ago.
    """
    items = int(description.get("ItemCount", 0))
    size = int(description.get("TableSizeBytes", 0))
    return min(MOST_SEGMENTS, max(_FEWEST, ceil(items / _ITEMS), ceil(size / _BYTES)))
