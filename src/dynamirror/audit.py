"""What came of the last audit, kept in the cache."""

from contextlib import suppress

import msgspec

from dynamirror.cache import Cache
from dynamirror.key import RESERVED
from dynamirror.verify import Comparison


class Audited(msgspec.Struct, frozen=True):
    """What came of one audit.

    Args:
        at: when it ended, in ISO 8601.
        part: which part, from 0.
        of: how many there are.
        comparison: how it differed; None if the mirror is incomplete, and being rebuilt.
    """

    at: str
    part: int
    of: int
    comparison: Comparison | None


def audit_key(table: str) -> str:
    """The hash that holds which part is audited next, and the last result."""
    return f"{RESERVED}{{{table}}}:audit"


def last_audit(cache: Cache, table: str) -> Audited | None:
    """What came of the last audit; None for none, or none that can be read.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = audit_key(table)
    text = cache.call(key, b"HGET", key, b"last")
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(text, type=Audited) if text else None
    return None
