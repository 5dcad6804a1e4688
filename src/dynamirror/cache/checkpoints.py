"""How far each shard has been read: kept in the cache, beside the data it vouches for."""

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.records.stream_record import parse_stream_arn
from dynamirror.views.keyspace import checkpoints_key


class Checkpoint(msgspec.Struct, frozen=True):
    """How far one shard has been dealt with.

    Args:
        after: sequence number of the last record dealt with; None for none.
        finished: whether the shard is closed and all of it was dealt with.
        created: when that record was created, in seconds since 1970; None where it is not known.
        since: a moment, in seconds since 1970, before which no record was created that is still to
            come from the shard or its children; None where it is not known.
        latest: whether reading began at the shard's end and no record has come since.
    """

    after: str | None = None
    finished: bool = False
    created: float | None = None
    since: float | None = None
    latest: bool = False


class Checkpoints:
    """The positions of one stream. A stream with a new ARN begins anew.

    Args:
        cache: the cache.
        stream_arn: the stream.
    """

    def __init__(self, cache: Cache, stream_arn: str) -> None:
        stream = parse_stream_arn(stream_arn)
        self._cache = cache
        self.key = checkpoints_key(stream.table, stream.epoch)

    def load(self) -> dict[str, Checkpoint]:
        """Read the position of every shard that has one.

        Raises:
            CacheError: the cache cannot be reached.
        """
        flat = self._cache.call(self.key, b"HGETALL", self.key.encode())
        return {
            shard.decode(): msgspec.json.decode(text, type=Checkpoint)
            for shard, text in zip(flat[::2], flat[1::2], strict=True)
        }

    def save(self, shard_id: str, position: Checkpoint) -> None:
        """Keep a shard's position.

        Raises:
            CacheError: the cache did not take it.
        """
        text = msgspec.json.encode(position)
        self._cache.call(self.key, b"HSET", self.key.encode(), shard_id.encode(), text)

    def forget(self, shard_id: str) -> None:
        """Remove the position of a shard.

        Raises:
            CacheError: the cache did not take it.
        """
        self._cache.call(self.key, b"HDEL", self.key.encode(), shard_id.encode())
