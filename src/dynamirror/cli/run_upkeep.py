"""The metrics of `run` about what keeps a mirror complete, read at each scrape."""

from collections.abc import Callable

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


def show_upkeep(endpoint: Endpoint, table: str, cache: Cache, followers: Followers) -> None:
    """Serve the checks and rebuilds of a table, and the cache's memory.

    Args:
        endpoint: serves them.
        table: the table's name.
        cache: the cache.
        followers: the followers of all tables.
    """

    def of_healer(read: Callable[[Healer], float]) -> Callable[[], float | None]:
        def value() -> float | None:
            follower = followers.follower(table)
            return None if follower is None else read(follower.healer)

        return value

    def doubtful() -> bool | None:
        try:
            return noted_evictions(cache, table).is_doubtful
        except CacheError:
            return None

    endpoint.show(table, CHECK_AGE, of_healer(Healer.check_age))
    endpoint.show(table, REBUILD_RUNNING, of_healer(Healer.rebuild_running))
    endpoint.show(table, CHECK_ERRORS, of_healer(lambda healer: healer.check_errors))
    endpoint.show(table, REBUILD_ERRORS, of_healer(lambda healer: healer.rebuild_errors))
    endpoint.show(table, MIRROR_DOUBTFUL, doubtful)
    endpoint.show(table, CACHE_MEMORY_SHARE, lambda: memory_share(read_memory(cache)))
