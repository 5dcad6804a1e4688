"""Keys of a cache by pattern."""

import re
from collections.abc import Callable, Iterator
from fnmatch import translate

from dynamirror.cache.client import Cache
from dynamirror.cache.slot_scan import ALL_SLOTS, scan_range


def keys_in(cache: Cache, pattern: str) -> Iterator[bytes]:
    """Yield every key that matches a pattern, as the nodes list them, which takes no scan.

    Args:
        cache: the cache.
        pattern: shell-style, without escapes.
    """
    matches = _matcher(pattern)
    for keys in cache.broadcast(b"KEYS", b"*"):
        yield from filter(matches, keys)


def scanned_keys(cache: Cache, pattern: str) -> Iterator[bytes]:
    """Yield every key that matches a pattern and exists throughout; some may come twice.

    For tests of the scan, which asks for each of the slots, and of what it goes through.

    Args:
        cache: the cache.
        pattern: shell-style, without escapes.
    """
    matches = _matcher(pattern)
    for batch in scan_range(cache, ALL_SLOTS):
        yield from filter(matches, batch.keys)


def _matcher(pattern: str) -> Callable[[bytes], object]:
    return re.compile(translate(pattern).encode()).match
