"""Checkpoints of shards, stored in the cache beside the data that they vouch for."""

from typing import Annotated, Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.lease import token_prefix
from dynamirror.cache.scripts import CHECKPOINT
from dynamirror.cache.stored_record import decode_record, encode_record, report_damage
from dynamirror.errors import CacheError
from dynamirror.records.stream_record import parse_stream_arn
from dynamirror.views.keyspace import checkpoints_key, lease_key

_SequenceNumber = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+$")]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=10**10)]


class Checkpoint(msgspec.Struct, frozen=True):
    """How far one shard is processed.

    Args:
        after: sequence number of the last processed record; None for none.
        finished: whether the shard is closed and processed to its end.
        created: creation time of that record, in seconds since 1970; None where it is not known.
        since: a time, in seconds since 1970, before which no record was created that is still to
            come from the shard or its children; None where it is not known.
        latest: whether reading began at the shard's end and no record has come since.
    """

    after: _SequenceNumber | None = None
    finished: bool = False
    created: _Seconds | None = None
    since: _Seconds | None = None
    latest: bool = False


# Reading begins at the shard's oldest record, and the shard's consumer records a gap, as it does
# for each shard that was not read for almost a day.
DAMAGED: Final = Checkpoint(since=0.0)


class Checkpoints:
    """The checkpoints of one stream; a newer stream of the same table has its own.

    Args:
        cache: the cache.
        stream_arn: ARN of the stream.
        token: the lease's token without which nothing is saved; None for no lease.
    """

    def __init__(self, cache: Cache, stream_arn: str, *, token: str | None = None) -> None:
        stream = parse_stream_arn(stream_arn)
        self._cache = cache
        self._table = stream.table
        self._token = token
        self.key = checkpoints_key(stream.table, stream.epoch)

    def load(self) -> dict[str, Checkpoint]:
        """Return the checkpoint of every shard that has one; `DAMAGED` for one that is damaged.

        Raises:
            CacheError: the cache cannot be reached.
        """
        flat = self._cache.call(self.key, b"HGETALL", self.key.encode())
        checkpoints = {}
        for field, text in zip(flat[::2], flat[1::2], strict=True):
            if not field.isascii():
                report_damage(self.key, field, "no shard can have that name, so it is ignored")
                continue
            shard = field.decode()
            reading = "the shard is read again from its oldest record, and a gap is recorded"
            name = f"{self.key} {shard}"
            found = decode_record(text or b"?", Checkpoint, name, reading=reading)
            checkpoints[shard] = found or DAMAGED
        return checkpoints

    def save(self, shard_id: str, checkpoint: Checkpoint) -> None:
        """Save the checkpoint of a shard.

        Raises:
            CacheError: the cache did not take it, or another process holds the lease.
        """
        text = encode_record(checkpoint)
        if self._token is not None:
            self._change_as_holder(self._token, shard_id, text)
            return
        self._cache.call(self.key, b"HSET", self.key.encode(), shard_id.encode(), text)

    def forget(self, shard_id: str) -> None:
        """Remove the checkpoint of a shard.

        Raises:
            CacheError: the cache did not take it, or another process holds the lease.
        """
        if self._token is not None:
            self._change_as_holder(self._token, shard_id, b"")
            return
        self._cache.call(self.key, b"HDEL", self.key.encode(), shard_id.encode())

    def _change_as_holder(self, token: str, shard_id: str, text: bytes) -> None:
        lease = lease_key(self._table).encode()
        command = CHECKPOINT.command(
            *(self.key.encode(), lease, token_prefix(token), shard_id.encode(), text)
        )
        if not self._cache.execute_one(command):
            raise CacheError(
                f"{self._cache}: the checkpoint of shard {shard_id} is not saved, because this "
                f"process does not hold the lease of table {self._table}"
            )
