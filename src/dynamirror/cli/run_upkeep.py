"""The metrics of `run` about what keeps a mirror complete, read at each scrape."""

from collections.abc import Callable
from time import monotonic
from typing import Final, TypeVar

from dynamirror.cache import quarantine
from dynamirror.cache.client import Cache
from dynamirror.cache.doubt import noted_evictions
from dynamirror.cache.eviction import memory_share, read_memory
from dynamirror.errors import CacheError
from dynamirror.metrics.catalogue import (
    CACHE_MEMORY_SHARE,
    CHECK_AGE,
    CHECK_ERRORS,
    MIRROR_DOUBTFUL,
    REBUILD_ERRORS,
    REBUILD_RUNNING,
)
from dynamirror.metrics.openmetrics import Endpoint
from dynamirror.runner.followers import Followers
from dynamirror.runner.healer import Healer

T = TypeVar("T")

# Less than lies between two scrapes.
_SECONDS: Final = 5.0


class CacheReadings:
    """Reads the cache for scrapes, and not again for a while after it did not answer.

    A scraper waits for ten seconds by default, and what it then misses is all metrics: those that
    report the fault, too.

    Args:
        cache: the cache.
        clock: monotonic seconds.
    """

    def __init__(self, cache: Cache, clock: Callable[[], float] = monotonic) -> None:
        self._cache = cache
        self._clock = clock
        self._paused_until = float("-inf")
        self._share: float | None = None
        self._share_until = float("-inf")

    def quarantined(self, table: str) -> int | None:
        """Return the number of items in quarantine; None if it cannot be read."""
        return self._read(lambda: quarantine.count(self._cache, table))

    def is_doubtful(self, table: str) -> bool | None:
        """Return whether the mirror of a table is doubtful; None if it cannot be read."""
        return self._read(lambda: noted_evictions(self._cache, table).is_doubtful)

    def memory_share(self, _table: str) -> float | None:
        """Return the share of its memory that the fullest node uses; None if it is not known."""
        if self._clock() >= self._share_until:
            self._share = self._read(lambda: memory_share(read_memory(self._cache)))
            self._share_until = self._clock() + _SECONDS
        return self._share

    def _read(self, read: Callable[[], T]) -> T | None:
        if self._clock() < self._paused_until:
            return None
        try:
            return read()
        except CacheError:
            self._paused_until = self._clock() + _SECONDS
            return None


def show_upkeep(
    endpoint: Endpoint, table: str, readings: CacheReadings, followers: Followers
) -> None:
    """Serve the checks and rebuilds of a table, and the cache's memory.

    Args:
        endpoint: serves them.
        table: the table's name.
        readings: reads the cache.
        followers: the followers of all tables.
    """

    def of_healer(read: Callable[[Healer], float]) -> Callable[[], float | None]:
        def value() -> float | None:
            follower = followers.follower(table)
            return None if follower is None else read(follower.healer)

        return value

    def check_age() -> float | None:
        follower = followers.follower(table)
        return follower.healer.check_age() if follower is not None and follower.leads else None

    endpoint.show(table, CHECK_AGE, check_age)
    endpoint.show(table, REBUILD_RUNNING, of_healer(Healer.rebuild_running))
    endpoint.show(table, CHECK_ERRORS, of_healer(lambda healer: healer.check_errors))
    endpoint.show(table, REBUILD_ERRORS, of_healer(lambda healer: healer.rebuild_errors))
    endpoint.show(table, MIRROR_DOUBTFUL, lambda: readings.is_doubtful(table))
    endpoint.show(table, CACHE_MEMORY_SHARE, lambda: readings.memory_share(table))
