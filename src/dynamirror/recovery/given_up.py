"""The watchdog's note, in the cache, that it starts no further rebuild."""

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.stored_record import decode_record, encode_record
from dynamirror.views.keyspace import given_up_key

# The watchdog writes it again at each check.
_SECONDS = 3600


class GivenUp(msgspec.Struct, frozen=True):
    """The end of the watchdog's attempts.

    Args:
        at: when it was noted last, in seconds since 1970.
        why: how the last rebuild failed.
    """

    at: int
    why: str

    @property
    def sentence(self) -> str:
        """What happened, and what to do."""
        return (
            f"the watchdog has given up after three failed rebuilds in a row ({self.why}); "
            "repair the cause, then run `dynamirror backfill --via`"
        )


def given_up(cache: Cache, table: str) -> GivenUp | None:
    """Return the watchdog's note; None if it has not given up, or the note is damaged.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = given_up_key(table)
    return decode_record(cache.call(key, b"GET", key), GivenUp, key)


def save_given_up(cache: Cache, table: str, note: GivenUp) -> None:
    """Write the note, for an hour.

    Raises:
        CacheError: the cache cannot be reached.
    """
    key = given_up_key(table)
    cache.call(key, b"SET", key, encode_record(note), b"EX", _SECONDS)
