"""Whether a full cache may have evicted fences, and with them the protection against old changes.

A fence expires, so it is what `volatile-*` evicts first. A late duplicate may then replace a newer
entry. A rebuild or a whole round of audits that began after the last eviction removes the doubt.
"""

from collections.abc import Callable, Mapping
from math import ceil
from time import time
from typing import Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.eviction import NodeMemory, is_full, read_memory
from dynamirror.cache.stored_record import decode_record, encode_record
from dynamirror.views.keyspace import evictions_key

# By how much clocks may differ.
_CLOCKS_SECONDS: Final = 2
# A rebuild in a cache that still evicts would only evict more.
_QUIET_SECONDS: Final = 600


class _Round(msgspec.Struct, frozen=True):
    """The audits of consecutive parts without a difference that stayed.

    Args:
        of: the number of parts.
        part: the last part.
        parts: how many in a row.
        began: when the first began, in seconds since 1970.
    """

    of: int
    part: int
    parts: int
    began: int


class Evictions(msgspec.Struct, frozen=True):
    """What was noticed of a cache's evictions.

    Args:
        counts: the keys that each process of a node had evicted, by its run id.
        at: when evictions were noticed last, in seconds since 1970; -1 for never.
        cleared: when the newest rebuild or round of audits began; -1 for none.
        last_round: the audits since.
    """

    counts: Mapping[str, int] = {}
    at: int = -1
    cleared: int = -1
    last_round: _Round | None = None

    @property
    def is_doubtful(self) -> bool:
        """Return whether fences may have been evicted since all entries were written or read."""
        return self.at >= 0 and self.at >= self.cleared


def read_evictions(
    cache: Cache, table: str, nodes: list[NodeMemory], *, now: Callable[[], float] = time
) -> Evictions:
    """Return what is known of a cache's evictions, including those that nobody has noted yet.

    Args:
        cache: the cache.
        table: the table's name.
        nodes: what the nodes report now.
        now: returns seconds since 1970.

    Raises:
        CacheError: the cache cannot be read.
    """
    noted, counts = noted_evictions(cache, table), _counts(nodes)
    # A lower number is one that was reset.
    if any(count and count != noted.counts.get(name) for name, count in counts.items()):
        return msgspec.structs.replace(noted, counts=counts, at=ceil(now()) + _CLOCKS_SECONDS)
    return noted


def note_evictions(
    cache: Cache, table: str, *, pause: float = 0.0, now: Callable[[], float] = time
) -> None:
    """Record evictions that nobody has noted yet.

    Args:
        cache: the cache.
        table: the table's name.
        pause: seconds after which evictions are noted again.
        now: returns seconds since 1970.

    Raises:
        CacheError: the cache cannot be read.
    """
    noted = noted_evictions(cache, table)
    if now() - noted.at < pause:
        return
    found = read_evictions(cache, table, read_memory(cache), now=now)
    if found.at > noted.at:
        _save(cache, table, at=found.at, counts=found.counts)


def note_reported(cache: Cache, table: str) -> None:
    """Record evictions that another source reports than the nodes: CloudWatch.

    Raises:
        CacheError: the cache cannot be reached.
    """
    _save(cache, table, at=ceil(time()) + _CLOCKS_SECONDS)


def note_written(cache: Cache, table: str, as_of: int) -> None:
    """Record that all entries were written or compared.

    Args:
        cache: the cache.
        table: the table's name.
        as_of: when that began, in seconds since 1970.

    Raises:
        CacheError: the cache cannot be reached.
    """
    if as_of > noted_evictions(cache, table).cleared:
        _save(cache, table, cleared=as_of)


def note_part(cache: Cache, table: str, part: int, of: int, *, began: int, is_true: bool) -> None:
    """Record that a part was audited; when all parts were, one after the other, doubts end.

    Args:
        cache: the cache.
        table: the table's name.
        part: the number of the part, from 0.
        of: the number of parts.
        began: when the audit began, in seconds since 1970.
        is_true: whether the part was as the table, after repairs.

    Raises:
        CacheError: the cache cannot be reached.
    """
    noted = noted_evictions(cache, table)
    if not noted.is_doubtful:
        return
    last = noted.last_round
    follows = (
        last is not None and last.began > noted.at and (last.of, (last.part + 1) % of) == (of, part)
    )
    current = _Round(of, part, 1, began)
    if follows:
        assert last is not None
        current = _Round(of, part, last.parts + 1, last.began)
    if not is_true or current.began <= noted.at:
        current = _Round(of, part, 0, -1)
    if current.parts >= of:
        _save(cache, table, cleared=current.began)
    _save(cache, table, round=current)


def noted_evictions(cache: Cache, table: str) -> Evictions:
    """Return what was noted.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = evictions_key(table)
    flat = cache.call(key, b"HGETALL", key)
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return Evictions(
        decode_record(fields.get(b"counts"), dict[str, int], f"{key} counts") or {},
        _number(fields, key, "at"),
        _number(fields, key, "cleared"),
        decode_record(fields.get(b"round"), _Round, f"{key} round"),
    )


def doubt(evictions: Evictions) -> str | None:
    """Return a sentence about a doubtful mirror, and what to do; None for one that is not."""
    if not evictions.is_doubtful:
        return None
    return (
        "the mirror is doubtful: the cache was full and evicted keys, fences perhaps, so a late "
        "duplicate may have replaced a newer entry; give the cache more room; then the next round "
        "of audits, `dynamirror run` or `dynamirror backfill` repairs it"
    )


def is_time_to_rebuild(evictions: Evictions, nodes: list[NodeMemory]) -> bool:
    """Return whether a mirror is doubtful, and its cache has room and was quiet for a while.

    Args:
        evictions: what was noticed.
        nodes: what the nodes report now.
    """
    is_quiet = time() - evictions.at >= _QUIET_SECONDS
    return evictions.is_doubtful and is_quiet and not is_full(nodes)


def _counts(nodes: list[NodeMemory]) -> dict[str, int]:
    return {node.run_id or "": node.evicted_keys for node in nodes if node.evicted_keys is not None}


def _number(fields: Mapping[bytes, bytes], key: str, name: str) -> int:
    number = decode_record(fields.get(name.encode()), int, f"{key} {name}")
    return -1 if number is None else number


def _save(cache: Cache, table: str, **fields: object) -> None:
    key = evictions_key(table)
    words = (
        word for name, value in fields.items() for word in (name.encode(), encode_record(value))
    )
    cache.call(key, b"HSET", key, *words)
