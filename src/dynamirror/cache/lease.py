"""The lease of a mirror: which of several processes replicates a table, and since when."""

from time import time
from typing import Annotated, Final
from uuid import uuid4

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import RELEASE_LEASE, TAKE_LEASE
from dynamirror.cache.stored_record import decode_record, encode_record
from dynamirror.views.keyspace import lease_key

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=10**10)]


class Lease(msgspec.Struct, frozen=True):
    """A lease as it is stored.

    Args:
        token: identifier of the holder's term; empty once it is released.
        since: when the holder took it, in seconds since 1970 by the cache's clock.
        at: when it was last renewed, by the same clock.
        who: host and process of the holder.
        seconds: length; it ends this long after it was last renewed.
    """

    token: str
    since: _Seconds
    at: _Seconds
    who: str
    seconds: _Seconds

    @property
    def is_held(self) -> bool:
        """Return whether a process holds it."""
        return self.token != ""


def new_token() -> str:
    """Return a token that no other term has."""
    return uuid4().hex


def token_prefix(token: str) -> bytes:
    """Return how the stored lease of a token begins."""
    return b'{"token":"%b"' % token.encode()


class Leases:
    """The lease of one table.

    Args:
        cache: the cache.
        table: the table's name.
        who: host and process that may hold it.
        seconds: its length.
    """

    def __init__(self, cache: Cache, table: str, who: str, seconds: float) -> None:
        self._cache = cache
        self._key: Final = lease_key(table)
        self._who = who
        self.seconds = seconds

    def read(self) -> Lease | None:
        """Return the stored lease; None where there is none.

        Raises:
            CacheError: the cache cannot be read.
        """
        return _stored(self._cache, self._key)

    def take(self, token: str) -> Lease | None:
        """Take or renew the lease unless another holds it; return it as it is stored now.

        Raises:
            CacheError: the cache did not answer; whether the lease was taken is not known.
        """
        fields = encode_record({"who": self._who, "seconds": self.seconds})[1:]
        command = TAKE_LEASE.command(
            self._key.encode(), token_prefix(token), fields, self._milliseconds, f"{time():.3f}"
        )
        return _decoded(self._cache.execute_one(command), self._key)

    def release(self, token: str) -> bool:
        """Release the lease of a token; return whether it was held.

        Raises:
            CacheError: the cache did not answer.
        """
        now = round(time(), 3)
        released = encode_record(Lease("", now, now, self._who, self.seconds))
        command = RELEASE_LEASE.command(
            self._key.encode(), token_prefix(token), released, self._milliseconds
        )
        return bool(self._cache.execute_one(command))

    @property
    def _milliseconds(self) -> int:
        return round(self.seconds * 1000)


def read_lease(cache: Cache, table: str) -> Lease | None:
    """Return the lease of a table while a process holds it.

    Raises:
        CacheError: the cache cannot be read.
    """
    lease = _stored(cache, lease_key(table))
    return lease if lease is not None and lease.is_held else None


def _stored(cache: Cache, key: str) -> Lease | None:
    return _decoded(cache.call(key, b"GET", key.encode()), key)


def _decoded(text: bytes | None, key: str) -> Lease | None:
    return decode_record(text, Lease, key, reading="it ends by itself")
