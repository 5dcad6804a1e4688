"""Tallies of the processes that inspect a table, stored in the cache beside the heartbeats."""

from time import time
from typing import Final

from dynamirror.cache.client import Cache
from dynamirror.cache.stored_record import decode_record, encode_record
from dynamirror.inspection.tally import Tally, merged
from dynamirror.views.keyspace import inspection_key

# A tally is forgotten so long after it was stored.
_FORGET_SECONDS: Final = 3600


def store_tally(cache: Cache, table: str, who: str, tally: Tally) -> None:
    """Write the tally of a process over its last one, and forget those of long ago.

    Args:
        cache: the cache.
        table: the table's name.
        who: distinguishes the processes that inspect the table.
        tally: the counts.

    Raises:
        CacheError: the cache did not take it.
    """
    key = inspection_key(table)
    for name, stored in _stored(cache, table).items():
        if stored is None or stored.at < tally.at - _FORGET_SECONDS:
            cache.call(key, b"HDEL", key.encode(), name)
    cache.call(key, b"HSET", key.encode(), who.encode(), encode_record(tally))
    cache.call(key, b"EXPIREAT", key.encode(), int(tally.at) + _FORGET_SECONDS)


def stored_tally(cache: Cache, table: str) -> Tally | None:
    """Return the sum of the tallies of the last hour; None where there is none.

    Raises:
        CacheError: the cache cannot be read.
    """
    oldest = time() - _FORGET_SECONDS
    stored = _stored(cache, table).values()
    tallies = [tally for tally in stored if tally is not None and tally.at >= oldest]
    return merged(tallies) if tallies else None


def _stored(cache: Cache, table: str) -> dict[bytes, Tally | None]:
    """Return the tallies by process; None for one that is damaged."""
    key = inspection_key(table)
    flat = cache.call(key, b"HGETALL", key.encode())
    return {
        name: decode_record(text, Tally, f"{key} {name!r}")
        for name, text in zip(flat[::2], flat[1::2], strict=True)
    }
