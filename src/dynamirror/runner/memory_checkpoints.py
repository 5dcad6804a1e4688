"""Checkpoints of shards that end with the process."""

from dynamirror.cache.checkpoints import Checkpoint


class MemoryCheckpoints:
    """Keeps checkpoints in memory, as `cache.checkpoints.Checkpoints` does in the cache."""

    def __init__(self) -> None:
        self._checkpoints: dict[str, Checkpoint] = {}

    def load(self) -> dict[str, Checkpoint]:
        """Return all checkpoints by shard id."""
        return dict(self._checkpoints)

    def save(self, shard_id: str, checkpoint: Checkpoint) -> None:
        """Save the checkpoint of a shard."""
        self._checkpoints[shard_id] = checkpoint

    def forget(self, shard_id: str) -> None:
        """Remove the checkpoint of a shard."""
        self._checkpoints.pop(shard_id, None)
