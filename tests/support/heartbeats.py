"""The heartbeats of replicators."""

from dynamirror.cache.client import Cache
from dynamirror.cache.heartbeat import SeenReplicator, read_heartbeats, replicator_in


def seen_replicator(cache: Cache, table: str) -> SeenReplicator | None:
    """Return the replicator that was seen last, as `status` does without a lease."""
    return replicator_in(table, *read_heartbeats(cache, table))
