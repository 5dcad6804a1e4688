"""Reads one shard to its end, hands its records on, and keeps how far it got."""

import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, time
from typing import Protocol

import msgspec

from dynamirror.backoff import Backoff
from dynamirror.cache.checkpoints import Checkpoint
from dynamirror.dynamodb.shards import Shard
from dynamirror.dynamodb.stream_reader import (
    Record,
    ShardGoneError,
    StreamGoneError,
    StreamReader,
    TrimmedError,
)
from dynamirror.errors import CacheError, SourceError
from dynamirror.runner.event_source_mapping import EventSourceMapping, Invoker

# A stream keeps records for 24 hours. One of a shard that gave none yet leaves no trace.
_OLD_SECONDS = 23 * 3600
# A rebuild takes longer: a position that was flushed is there again before the marker is complete.
_KEEP_SECONDS = 5.0


class CheckpointStore(Protocol):
    """Where positions are kept: `stream.positions.Positions`, or memory."""

    def load(self) -> dict[str, Checkpoint]:
        """Read all positions."""

    def save(self, shard_id: str, position: Checkpoint) -> None:
        """Keep one position."""

    def forget(self, shard_id: str) -> None:
        """Remove one position."""


class Consumer(threading.Thread):
    """Reads one shard to its end.

    Args:
        shard: the shard.
        position: where to begin.
        reader: its stream.
        invoker: takes the records.
        positions: where to note how far it got.
        mapping: the settings.
        poll_seconds: pause after there was nothing new.
        stop: set to end.
        ended: takes where the shard ended, or why it cannot be read on.
        lose: notes that records are gone.
        give_up: notes that the whole shard is, beyond that sequence number.
        told: notes a gap that is no loss.
        clock: monotonic seconds.
        now: seconds since 1970.
    """

    def __init__(
        self,
        shard: Shard,
        position: Checkpoint,
        *,
        reader: StreamReader,
        invoker: Invoker,
        positions: CheckpointStore,
        mapping: EventSourceMapping,
        poll_seconds: float,
        stop: threading.Event,
        ended: Callable[[Shard, Checkpoint | BaseException], None],
        lose: Callable[[str], None],
        give_up: Callable[[str, str | None], None],
        told: Callable[[str], None],
        clock: Callable[[], float] = monotonic,
        now: Callable[[], float] = time,
    ) -> None:
        super().__init__(name=f"shard {shard.id}", daemon=True)
        self._shard = shard
        self._position = position
        self._latest = position.latest and mapping.latest
        self._reader = reader
        self._invoker = invoker
        self._positions = positions
        self._window = mapping.maximum_batching_window
        self._full = mapping.batch_size * mapping.parallelization_factor
        self._poll_seconds = poll_seconds
        self._stopping = stop
        self._ended = ended
        self._lose = lose
        self._give_up = give_up
        self._told = told
        self._clock = clock
        self._now = now
        self._backoff = Backoff(stop)
        self._kept: Checkpoint | None = None
        self._kept_at = float("-inf")
        self.idle_since = -1.0
        self.done = False

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._consume()
            except TrimmedError as error:
                self._lose(str(error))
                self._position, self._latest = Checkpoint(since=self._now()), False
            except ShardGoneError as error:
                if self._is_gone(error):
                    return
            except (SourceError, CacheError) as error:
                self._backoff.wait(error)
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                self._ended(self._shard, error)
                return
            else:
                return

    def _is_gone(self, error: ShardGoneError) -> bool:
        """Whether the shard is listed no more, in which case that is told."""
        self._backoff.wait(error)
        try:
            listed = {shard.id for shard in self._reader.describe().shards}
        except StreamGoneError as gone:
            self._ended(self._shard, gone)
            return True
        except SourceError:
            return False
        if self._shard.id in listed:
            return False
        self._lose(str(error))
        self._give_up(self._shard.id, self._position.after)
        self._finish()
        return True

    def _finish(self) -> None:
        self.done = True
        self._ended(self._shard, self._position)

    def _consume(self) -> None:
        self._keep(self._position)  # a shard that was begun is missed, even if it gave no record
        buffer: list[Record] = []
        waiting_since, asked_at, asked = self._clock(), self._clock(), self._now()
        for page in self._reader.pages(self._shard, self._position.after, latest=self._latest):
            self._notice_gaps()
            if self._stopping.is_set():
                return  # what was told may not have been noted
            if not buffer:
                waiting_since = self._clock()
            buffer += page.records
            due = page.closed or self._clock() - waiting_since >= self._window
            while buffer and (due or len(buffer) >= self._full):
                if not self._deliver(buffer[: self._full]):
                    return
                del buffer[: self._full]
            if page.closed:
                self._keep(self._end())
                self._finish()
                return
            if not page.records:
                if not buffer:
                    self._note_idle(asked_at, asked)
                self._stopping.wait(self._poll_seconds)
            if self._stopping.is_set():
                return
            self._backoff.reset()
            asked_at, asked = self._clock(), self._now()

    def _notice_gaps(self) -> None:
        """Note a gap where records are passed over, or may have been trimmed.

        Behind a sequence number the stream itself refuses to go on if any were; at its oldest
        record it passes over in silence what came before.
        """
        if self._latest:
            self._latest = False  # should it begin again, what came since counts
            self._told("reading began with what was written from then on")
            self._position = msgspec.structs.replace(self._position, since=self._now())
        since, now = self._position.since, self._now()
        if self._position.after is None and since is not None and now - since > _OLD_SECONDS:
            self._lose(
                f"shard {self._shard.id} was not read for more than {_OLD_SECONDS // 3600} hours: "
                "its first records may have been trimmed"
            )
            self._position = msgspec.structs.replace(self._position, since=now)

    def _note_idle(self, asked_at: float, asked: float) -> None:
        self.idle_since = asked_at
        before = self._position
        self._position = msgspec.structs.replace(before, since=asked)
        # What `since` was at first may be hours old; later, should the cache have lost it.
        outdated = before.after is None and asked - (before.since or 0) >= _KEEP_SECONDS
        if outdated or self._clock() - self._kept_at >= _KEEP_SECONDS:
            self._kept_at = self._clock()
            with suppress(CacheError):
                self._keep(self._position)

    def _deliver(self, records: list[Record]) -> bool:
        if not self._invoker.deliver(records):
            return False
        newest = records[-1]["dynamodb"]
        after, created = newest["SequenceNumber"], newest["ApproximateCreationDateTime"]
        self._keep(Checkpoint(after, created=created))
        return True

    def _end(self) -> Checkpoint:
        """The position of a shard that is finished: its children's records are younger."""
        position = self._position
        moments = [at for at in (position.created, position.since) if at is not None]
        return Checkpoint(position.after, finished=True, since=max(moments, default=None))

    def _keep(self, position: Checkpoint) -> None:
        self._position = position
        if position != self._kept:
            self._positions.save(self._shard.id, position)
            self._kept, self._kept_at = position, self._clock()
