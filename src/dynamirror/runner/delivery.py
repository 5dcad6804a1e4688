"""Follows a stream's shards without Lambda: parents first, a thread and a checkpoint each."""

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from math import inf
from time import monotonic, time

from dynamirror.backoff import Backoff
from dynamirror.cache.checkpoints import Checkpoint
from dynamirror.dynamodb.shards import Shard, readable
from dynamirror.dynamodb.stream_reader import StreamDescription, StreamGoneError, StreamReader
from dynamirror.errors import CacheError, SourceError
from dynamirror.runner.event_source_mapping import (
    DeliveryCounts,
    EventSourceMapping,
    Function,
    Invoker,
)
from dynamirror.runner.progress import Progress
from dynamirror.runner.shard_consumer import CheckpointStore, ConsumerContext, ShardConsumer

logger = logging.getLogger("dynamirror")


class Delivery:
    """Reads a stream and hands its records to a function, as a mapping would.

    Args:
        reader: the stream.
        function: the Lambda function's handler.
        checkpoints: keep how far each shard was processed.
        mapping: the settings.
        poll_seconds: pause after a shard had nothing new.
        discover_seconds: pause between requests for new shards.
        record_gap: called with the reason why changes made before now may never be delivered;
            called again after a CacheError.
        remaining: returns the seconds for which this process may deliver; at 0 the delivery ends.
        clock: monotonic seconds.
        now: seconds since 1970.
    """

    def __init__(
        self,
        reader: StreamReader,
        function: Function,
        checkpoints: CheckpointStore,
        mapping: EventSourceMapping | None = None,
        *,
        poll_seconds: float = 0.25,
        discover_seconds: float = 10.0,
        record_gap: Callable[[str], object] = lambda _reason: None,
        remaining: Callable[[], float] = lambda: inf,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], float] = time,
    ) -> None:
        self._reader = reader
        self._checkpoints = checkpoints
        self._mapping = mapping or EventSourceMapping()
        self._on_gap = record_gap
        self._discover_seconds = discover_seconds
        self._clock = clock
        self._now = now
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._progress = Progress(clock)
        self._invoker = Invoker(
            *(function, self._mapping, self._stop),
            clock=clock,
            progress=self._progress,
            remaining=remaining,
        )
        self._consumers: dict[str, ShardConsumer] = {}
        self._finished: dict[str, Checkpoint] = {}
        self._shards: list[Shard] = []
        self._started_at: float | None = None
        self._listed_at = -1.0
        self._context = ConsumerContext(
            reader=reader,
            invoker=self._invoker,
            checkpoints=checkpoints,
            mapping=self._mapping,
            poll_seconds=poll_seconds,
            stop=self._stop,
            on_end=self._on_end,
            record_loss=self._record_loss,
            give_up=self._give_up,
            record_gap=self._record_gap,
            progress=self._progress,
            clock=clock,
            now=now,
        )
        self._error: BaseException | None = None
        self._supervisor = threading.Thread(target=self._supervise, name="delivery", daemon=True)

    @property
    def counts(self) -> DeliveryCounts:
        """Return what was done so far."""
        return self._invoker.counts

    def behind(self) -> dict[str, float]:
        """Return, by shard being read, the seconds that it is behind at the most."""
        return {
            shard: consumer.behind()
            for shard, consumer in dict(self._consumers).items()
            if consumer.done_at is None
        }

    def lag(self) -> float | None:
        """Return the seconds, at the most, that the shard furthest behind is behind.

        None before the shards were listed: what is unread is not known. A shard that was finished
        after the newest list counts, because its children are not read yet.
        """
        listed = self._listed_at
        if listed < 0:
            return None
        return max(
            (
                consumer.behind()
                for consumer in dict(self._consumers).values()
                if consumer.done_at is None or consumer.done_at > listed
            ),
            default=max(0.0, self._clock() - listed),
        )

    def delays(self) -> dict[str, float]:
        """Return `behind`, and under the empty name what is behind further than any shard read.

        That is the stream while its shards are not listed, or children that are not listed yet.
        """
        found = self.behind()
        lag = self.lag()
        if lag is None and self._started_at is not None:
            lag = max(0.0, self._clock() - self._started_at)
        if lag is not None and lag > max(found.values(), default=-1.0):
            found[""] = lag
        return found

    def stalled(self) -> float:
        """Return for how many seconds a thread has made no step, and so may hang."""
        return self._progress.stalled()

    def unanswered(self) -> float:
        """Return for how many seconds AWS has given no answer that could be used."""
        return self._clock() - self._reader.answered_at

    def newest(self) -> Checkpoint | None:
        """Return the checkpoint with the newest record that was delivered; None for none."""
        checkpoints = (consumer.checkpoint for consumer in dict(self._consumers).values())
        delivered = (checkpoint for checkpoint in checkpoints if checkpoint.after is not None)
        return max(delivered, key=lambda checkpoint: checkpoint.created or 0.0, default=None)

    def start(self) -> None:
        """Begin to deliver, in the background."""
        self._started_at = self._clock()
        self._supervisor.start()

    def stop(self) -> None:
        """End after the invocations under way; what was not delivered is delivered next time."""
        self.end()
        self._supervisor.join()

    def end(self) -> None:
        """Begin to stop, without waiting for it."""
        self._stop.set()
        self._wake.set()

    def wait(self, timeout: float) -> bool:
        """Wait until delivery ends by itself; returns whether it has.

        It ends when the stream is switched off and all of it has been delivered.

        Raises:
            DynamirrorError: what ended it.
        """
        self._supervisor.join(timeout)
        self._check()
        return not self._supervisor.is_alive()

    def caught_up(self, since: float) -> bool:
        """Return whether everything that was in the stream at a moment has been delivered.

        Args:
            since: the moment, by the delivery's clock.

        Raises:
            DynamirrorError: what ended the delivery.
        """
        self._check()
        if self._listed_at <= since:
            self._wake.set()
            return False
        consumers = dict(self._consumers)
        if any(s.id not in consumers and s.id not in self._finished for s in self._shards):
            return False  # a parent has just ended, its child is not being read yet
        return all(
            consumer.idle_since > since or consumer.done_at is not None
            for consumer in consumers.values()
        )

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _supervise(self) -> None:
        try:
            self._follow(self._load_checkpoints())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self._fail(error)
        finally:
            self._progress.end()
        for consumer in list(self._consumers.values()):
            consumer.join()

    def _follow(self, known: Mapping[str, Checkpoint]) -> None:
        self._finished |= {shard: one for shard, one in known.items() if one.finished}
        first, latest = True, set[str]()
        while not self._stop.is_set():
            self._progress.note()
            asked_at = self._clock()
            stream = self._described()
            if self._stop.is_set():
                return
            self._shards = stream.shards
            if first:
                self._check_lost_shards(known)
                # What a shard that comes later holds was written from now on: all of it counts.
                if self._mapping.latest and not known:
                    latest = {shard.id for shard in self._shards}
            # Without checkpoints nothing can be missing: the marker covers what came before.
            self._begin(latest, fresh=first and not known)
            self._tidy_checkpoints()
            first = False
            self._listed_at = asked_at
            if stream.switched_off and self._all_finished():
                return
            self._wake.wait(self._discover_seconds)
            self._wake.clear()  # before it is asked for the end: whoever stops it sets both

    def _described(self) -> StreamDescription:
        backoff = Backoff(self._stop)
        while not self._stop.is_set():
            self._progress.note()
            try:
                return self._reader.describe()
            except StreamGoneError:
                raise
            except SourceError as error:
                backoff.wait(error)
        return StreamDescription([])

    def _check_lost_shards(self, known: Mapping[str, Checkpoint]) -> None:
        """Note a gap for each shard that was not read to its end and is listed no more."""
        listed = {shard.id for shard in self._shards}
        for shard, checkpoint in known.items():
            if not checkpoint.finished and shard not in listed:
                self._record_loss(f"shard {shard} was trimmed before it was read to its end")
                self._give_up(shard, checkpoint.after)

    def _check_lost_parents(self, begun: list[Shard], known: Mapping[str, Checkpoint]) -> None:
        """Record a gap for each shard that was trimmed before it was seen."""
        there = {*known, *self._finished, *self._consumers, *(one.id for one in self._shards)}
        for parent in {one.parent: None for one in begun if one.id not in known}:
            if parent is not None and parent not in there:
                self._record_loss(f"shard {parent} was trimmed before it was read")

    def _record_loss(self, reason: str) -> None:
        """Record that records are gone."""
        self._invoker.counts.gaps += 1
        logger.error("records lost", extra={"reason": reason})
        self._record_gap(reason)

    def _give_up(self, shard: str, after: str | None) -> None:
        """Save that a shard is lost, so that it is not lost again at the next start."""
        if not self._stop.is_set():  # else the gap may not have been recorded
            with suppress(CacheError):
                self._checkpoints.save(shard, Checkpoint(after, finished=True, since=self._now()))

    def _record_gap(self, reason: str) -> None:
        """Record a gap first: checkpoints must not move past an unrecorded one."""
        backoff = Backoff(self._stop)
        while not self._stop.is_set():
            self._progress.note()
            try:
                self._on_gap(reason)
            except CacheError as error:
                backoff.wait(error)
            else:
                return

    def _all_finished(self) -> bool:
        return all(shard.id in self._finished for shard in self._shards)

    def _load_checkpoints(self) -> dict[str, Checkpoint]:
        backoff = Backoff(self._stop)
        while not self._stop.is_set():
            self._progress.note()
            try:
                return self._checkpoints.load()
            except CacheError as error:
                backoff.wait(error)
        return {}

    def _begin(self, latest: Collection[str], *, fresh: bool) -> None:
        readable_now = readable(self._shards, self._finished)
        new = [shard for shard in readable_now if shard.id not in self._consumers]
        known = self._load_checkpoints() if new else {}
        if self._stop.is_set():
            return  # what was not loaded is not unknown
        if not fresh:
            self._check_lost_parents(new, known)
        for shard in new:
            checkpoint = known.get(shard.id) or self._first_checkpoint(
                shard, known, latest=shard.id in latest, fresh=fresh
            )
            self._consumers[shard.id] = ShardConsumer(shard, checkpoint, self._context)
            self._consumers[shard.id].start()

    def _first_checkpoint(
        self, shard: Shard, known: Mapping[str, Checkpoint], *, latest: bool, fresh: bool
    ) -> Checkpoint:
        """Return the first checkpoint of a shard: its records left are younger than `since`."""
        if shard.parent is None and not fresh:
            return Checkpoint()
        parent = known.get(shard.parent or "") or self._finished.get(shard.parent or "")
        if parent is not None:
            since = parent.created if parent.since is None else parent.since
        else:
            since = (
                self._now()
            )  # a gap was recorded just now, or the marker covers what came before
        return Checkpoint(since=since, latest=latest)

    def _tidy_checkpoints(self) -> None:
        """Save again checkpoints that the cache lost, and remove those that no longer matter.

        A finished shard matters while it is listed, and until its children are begun: their
        checkpoints show that no shard in between was lost.
        """
        if not self._shards:
            return
        listed = {shard.id for shard in self._shards}
        with suppress(CacheError):  # the next look does it
            known = self._checkpoints.load()
            finished = dict(self._finished)
            for shard in (listed & finished.keys()) - known.keys():
                self._checkpoints.save(shard, finished[shard])
            awaited = {shard.parent for shard in self._shards if shard.id not in known}
            ended = {shard for shard, checkpoint in known.items() if checkpoint.finished}
            for shard in (ended | finished.keys()) - listed - awaited:
                if shard in ended:
                    self._checkpoints.forget(shard)
                self._finished.pop(shard, None)
                self._consumers.pop(shard, None)

    def _on_end(self, shard: Shard, end: Checkpoint | BaseException) -> None:
        """Take a shard's last checkpoint from its consumer, or the error that ended it."""
        if isinstance(end, BaseException):
            self._fail(end)
        else:
            self._finished[shard.id] = end
            self._wake.set()  # its children may be read now

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._stop.set()
        self._wake.set()
