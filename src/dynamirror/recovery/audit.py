"""The result of the last audit, kept in the cache."""

from contextlib import suppress

import msgspec

from dynamirror.cache.client import Cache
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
    text = cache.call(key, b"HGET", key, b"last")
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(text, type=AuditResult) if text else None
    return None
