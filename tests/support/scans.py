"""Keys of a cache by pattern."""

import re
from collections.abc import Iterator
from fnmatch import translate

from dynamirror.cache.client import Cache
from dynamirror.cache.slot_scan import ALL_SLOTS, scan_range


def keys_in(cache: Cache, pattern: str) -> Iterator[bytes]:
    """Yield every key that matches a pattern and exists throughout; some may come twice.

    Args:
        cache: the cache.
        pattern: shell-style, without escapes.
    """
    matches = re.compile(translate(pattern).encode()).match
    for batch in scan_range(cache, ALL_SLOTS):
        yield from filter(matches, batch.keys)
