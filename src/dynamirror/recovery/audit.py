"""The state of the audit, in the cache: the result of the last one, and which part is next."""

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.stored_record import decode_record, encode_record
from dynamirror.recovery.comparison import Comparison
from dynamirror.views.keyspace import audit_key


class AuditResult(msgspec.Struct, frozen=True):
    """The result of one audit.

    Args:
        at: the time of its end, in ISO 8601.
        part: the number of the audited part, from 0.
        of: the number of parts.
        comparison: the differences; None if the mirror was incomplete.
    """

    at: str
    part: int
    of: int
    comparison: Comparison | None


def last_audit(cache: Cache, table: str) -> AuditResult | None:
    """Return the result of the last audit, or None if there is none or it is damaged.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = audit_key(table)
    return decode_record(cache.call(key, b"HGET", key, b"last"), AuditResult, f"{key} last")


def save_audit(cache: Cache, table: str, result: AuditResult) -> None:
    """Write the result of an audit.

    Raises:
        CacheError: the cache cannot be reached.
    """
    key = audit_key(table)
    cache.call(key, b"HSET", key, b"last", encode_record(result))


def next_part(cache: Cache, table: str, parts: int) -> int:
    """Return the number of the part to audit next; 0 if it is not stored or damaged.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = audit_key(table)
    number = decode_record(cache.call(key, b"HGET", key, b"next"), int, f"{key} next")
    return (number or 0) % parts


def save_next_part(cache: Cache, table: str, part: int) -> None:
    """Write the number of the part to audit next.

    Raises:
        CacheError: the cache cannot be reached.
    """
    key = audit_key(table)
    cache.call(key, b"HSET", key, b"next", part)
