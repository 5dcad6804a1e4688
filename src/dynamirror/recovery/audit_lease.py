"""The lease of an audit, so that one invocation at a time audits a table."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from time import time
from typing import Final

from dynamirror.cache.client import Cache
from dynamirror.cache.stored_record import decode_record, encode_record
from dynamirror.errors import CacheError
from dynamirror.views.keyspace import audit_key

# An auditor that is killed leaves its lease behind for so long.
LEASE_SECONDS: Final = 60.0
_RENEWAL_SECONDS: Final = 15.0


def is_busy(cache: Cache, table: str, *, now: Callable[[], float] = time) -> bool:
    """Return whether another invocation audits the table.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = audit_key(table)
    until = decode_record(cache.call(key, b"HGET", key, b"busy"), float, f"{key} busy")
    return until is not None and until > now()


def save_busy(cache: Cache, table: str, until: float) -> None:
    """Write until when the lease lasts.

    Args:
        cache: the cache.
        table: the table's name.
        until: the time, in seconds since 1970; 0 once the audit has ended.

    Raises:
        CacheError: the cache cannot be reached.
    """
    key = audit_key(table)
    cache.call(key, b"HSET", key, b"busy", encode_record(until))


@contextmanager
def lease(
    cache: Cache,
    table: str,
    *,
    seconds: float = LEASE_SECONDS,
    renewal: float = _RENEWAL_SECONDS,
) -> Iterator[None]:
    """Hold the lease of a table's audit, and renew it in a thread.

    Args:
        cache: the cache.
        table: the table's name.
        seconds: how long the lease lasts after its last renewal.
        renewal: seconds between two renewals.

    Raises:
        CacheError: the cache cannot be reached.
    """
    end = Event()

    def renew() -> None:
        while not end.wait(renewal):
            with suppress(CacheError):  # the next renewal may succeed
                save_busy(cache, table, time() + seconds)

    save_busy(cache, table, time() + seconds)
    thread = Thread(target=renew, name="audit-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        save_busy(cache, table, 0)
