"""Reads one shard to its end, delivers its records, and saves its checkpoint."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, time
from typing import Protocol

import msgspec

from dynamirror.backoff import Backoff
from dynamirror.cache.checkpoints import Checkpoint
from dynamirror.cache.completeness_marker import SKIPPED
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
from dynamirror.runner.progress import Progress

# A stream keeps records for 24 hours; a trimmed record of a shard that gave none leaves no trace.
_OLD_SECONDS = 23 * 3600
# Shorter than any rebuild: a flushed checkpoint is saved again before the mirror is complete.
_SAVE_SECONDS = 5.0


class CheckpointStore(Protocol):
    """Keeps checkpoints: `cache.checkpoints.Checkpoints`, or memory."""

    def load(self) -> dict[str, Checkpoint]:
        """Return all checkpoints by shard id."""

    def save(self, shard_id: str, checkpoint: Checkpoint) -> None:
        """Save one checkpoint."""

    def forget(self, shard_id: str) -> None:
        """Remove one checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerContext:
    """What the consumers of one stream share.

    Args:
        reader: reads the stream.
        invoker: takes the records.
        checkpoints: keeps how far each shard was processed.
        mapping: settings of the event source mapping.
        poll_seconds: pause after a page without records.
        stop: ends all consumers when set.
        on_end: called with a shard and its last checkpoint, or with the error that ended it.
        record_loss: records that records are gone, and the gap.
        give_up: saves that a shard is gone after a sequence number.
        record_gap: records a gap where no record is known to be gone.
        progress: notes each step.
        clock: monotonic seconds.
        now: seconds since 1970.
    """

    reader: StreamReader
    invoker: Invoker
    checkpoints: CheckpointStore
    mapping: EventSourceMapping
    poll_seconds: float
    stop: threading.Event
    on_end: Callable[[Shard, Checkpoint | BaseException], None]
    record_loss: Callable[[str], None]
    give_up: Callable[[str, str | None], None]
    record_gap: Callable[[str], None]
    progress: Progress
    clock: Callable[[], float] = monotonic
    now: Callable[[], float] = time


class ShardConsumer(threading.Thread):
    """Reads one shard to its end.

    Args:
        shard: the shard.
        checkpoint: where reading begins.
        context: what all consumers of the stream share.
    """

    def __init__(self, shard: Shard, checkpoint: Checkpoint, context: ConsumerContext) -> None:
        super().__init__(name=f"shard {shard.id}", daemon=True)
        mapping = context.mapping
        self._shard = shard
        self._checkpoint = checkpoint
        self._delivery = context
        self._latest = checkpoint.latest and mapping.latest
        self._window = mapping.maximum_batching_window
        self._full = mapping.batch_size * mapping.parallelization_factor
        self._backoff = Backoff(context.stop)
        self._saved: Checkpoint | None = None
        self._saved_at = float("-inf")
        # Changes created before this moment, on the monotonic clock, are delivered.
        self._reached = context.clock() - self._age(checkpoint)
        self.idle_since = float("-inf")
        self.done_at: float | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """Return how far the shard is processed."""
        return self._checkpoint

    def behind(self) -> float:
        """Return the seconds that the shard is behind at the most.

        A busy shard may never be read to its end: the newest delivered record counts, too. Time
        goes on by the monotonic clock, because ours and DynamoDB's may differ.
        """
        return max(0.0, self._delivery.clock() - self._reached)

    def _age(self, checkpoint: Checkpoint) -> float:
        """Return the seconds since the newest change before a checkpoint; 0 where none is known."""
        times = [at for at in (checkpoint.created, checkpoint.since) if at is not None]
        return max(0.0, self._delivery.now() - max(times)) if times else 0.0

    def run(self) -> None:
        try:
            self._run()
        finally:
            self._delivery.progress.end()

    def _run(self) -> None:
        while not self._delivery.stop.is_set():
            self._delivery.progress.note()
            try:
                self._consume()
            except TrimmedError as error:
                self._delivery.record_loss(str(error))
                self._checkpoint, self._latest = Checkpoint(since=self._delivery.now()), False
            except ShardGoneError as error:
                if self._is_gone(error):
                    return
            except (SourceError, CacheError) as error:
                self._backoff.wait(error)
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                self._delivery.on_end(self._shard, error)
                return
            else:
                return

    def _is_gone(self, error: ShardGoneError) -> bool:
        """Return whether the shard is no longer listed, which ends it with a recorded loss."""
        self._backoff.wait(error)
        try:
            listed = {shard.id for shard in self._delivery.reader.describe().shards}
        except StreamGoneError as gone:
            self._delivery.on_end(self._shard, gone)
            return True
        except SourceError:
            return False
        if self._shard.id in listed:
            return False
        self._delivery.record_loss(str(error))
        self._delivery.give_up(self._shard.id, self._checkpoint.after)
        self._finish()
        return True

    def _finish(self) -> None:
        self._delivery.on_end(self._shard, self._checkpoint)
        # A list that was asked for from now on begins the children.
        self.done_at = self._delivery.clock()

    def _consume(self) -> None:
        self._save(self._checkpoint)  # so that a trimmed shard is noticed even if it gave no record
        buffer: list[Record] = []
        waiting_since, asked_at, asked = (
            self._delivery.clock(),
            self._delivery.clock(),
            self._delivery.now(),
        )
        for page in self._delivery.reader.pages(
            self._shard, self._checkpoint.after, latest=self._latest
        ):
            self._delivery.progress.note()
            self._check_gaps()
            if self._delivery.stop.is_set():
                return  # the gap may not have been recorded
            if not buffer:
                waiting_since = self._delivery.clock()
            buffer += page.records
            due = page.closed or self._delivery.clock() - waiting_since >= self._window
            while buffer and (due or len(buffer) >= self._full):
                if not self._deliver(buffer[: self._full]):
                    return
                del buffer[: self._full]
            if page.closed:
                self._save(self._last_checkpoint())
                self._finish()
                return
            if not page.records:
                if not buffer:
                    self._record_idle(asked_at, asked)
                self._delivery.stop.wait(self._delivery.poll_seconds)
            if self._delivery.stop.is_set():
                return
            self._backoff.reset()
            asked_at, asked = self._delivery.clock(), self._delivery.now()

    def _check_gaps(self) -> None:
        """Record a gap where records are skipped, or may have been trimmed.

        After a sequence number, the stream refuses to continue if records are gone. From its oldest
        record, it skips trimmed records silently.
        """
        if self._latest:
            self._latest = False  # a second attempt must not skip records
            self._delivery.record_gap(SKIPPED)
            self._checkpoint = msgspec.structs.replace(self._checkpoint, since=self._delivery.now())
        since, now = self._checkpoint.since, self._delivery.now()
        if self._checkpoint.after is None and since is not None and now - since > _OLD_SECONDS:
            self._delivery.record_loss(
                f"shard {self._shard.id} was not read for more than {_OLD_SECONDS // 3600} hours: "
                "its first records may have been trimmed"
            )
            self._checkpoint = msgspec.structs.replace(self._checkpoint, since=now)

    def _record_idle(self, asked_at: float, asked: float) -> None:
        self.idle_since = self._reached = asked_at
        before = self._checkpoint
        self._checkpoint = msgspec.structs.replace(before, since=asked)
        # The first `since` may be hours old. Later saves restore what the cache may have lost.
        outdated = before.after is None and asked - (before.since or 0) >= _SAVE_SECONDS
        if outdated or self._delivery.clock() - self._saved_at >= _SAVE_SECONDS:
            self._saved_at = self._delivery.clock()
            with suppress(CacheError):
                self._save(self._checkpoint)

    def _deliver(self, records: list[Record]) -> bool:
        if not self._delivery.invoker.deliver(records):
            return False
        newest = records[-1]["dynamodb"]
        after, created = newest["SequenceNumber"], newest["ApproximateCreationDateTime"]
        delivered = Checkpoint(after, created=created)
        reached = self._delivery.clock() - self._age(delivered)
        # A shard that was read to its end since has nothing older.
        self._reached = max(reached, self.idle_since)
        self._save(delivered)
        return True

    def _last_checkpoint(self) -> Checkpoint:
        """Return the checkpoint of a finished shard: its children's records are younger."""
        last = self._checkpoint
        moments = [at for at in (last.created, last.since) if at is not None]
        return Checkpoint(last.after, finished=True, since=max(moments, default=None))

    def _save(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        if checkpoint != self._saved:
            self._delivery.checkpoints.save(self._shard.id, checkpoint)
            self._saved, self._saved_at = checkpoint, self._delivery.clock()
