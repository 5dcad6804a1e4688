"""The local stand-in for Lambda's event source mapping: follows a stream's shards.

Parents come before children, each shard has a thread, and how far each got is kept.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
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
from dynamirror.runner.shard_consumer import CheckpointStore, Consumer

logger = logging.getLogger("dynamirror")


class Delivery:
    """Reads a stream and hands its records to a function, as a mapping would.

    Args:
        reader: the stream.
        function: the Lambda function's handler.
        positions: where to begin, and where to note how far it got.
        mapping: the settings.
        poll_seconds: pause after a shard had nothing new.
        discover_seconds: pause between looks for new shards.
        note_gap: is told why changes made before now may never be delivered; a CacheError says that
            it must be told again.
        clock: monotonic seconds.
        now: seconds since 1970.
    """

    def __init__(
        self,
        reader: StreamReader,
        function: Function,
        positions: CheckpointStore,
        mapping: EventSourceMapping | None = None,
        *,
        poll_seconds: float = 0.25,
        discover_seconds: float = 10.0,
        record_gap: Callable[[str], object] = lambda _reason: None,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], float] = time,
    ) -> None:
        self._reader = reader
        self._positions = positions
        self._mapping = mapping or EventSourceMapping()
        self._note_gap = record_gap
        self._poll_seconds = poll_seconds
        self._discover_seconds = discover_seconds
        self._clock = clock
        self._now = now
        self._stop = threading.Event()
        self._look = threading.Event()
        self._invoker = Invoker(function, self._mapping, self._stop, clock=clock)
        self._consumers: dict[str, Consumer] = {}
        self._finished: dict[str, Checkpoint] = {}
        self._shards: list[Shard] = []
        self._listed_at = -1.0
        self._begun = clock()
        self._error: BaseException | None = None
        self._supervisor = threading.Thread(target=self._supervise, name="delivery", daemon=True)

    @property
    def counts(self) -> DeliveryCounts:
        """What was done so far."""
        return self._invoker.counts

    def behind(self) -> dict[str, float]:
        """By shard that is being read: seconds since it was last seen read to its end."""
        now, consumers = self._clock(), dict(self._consumers)
        return {
            shard: max(0.0, now - max(consumer.idle_since, self._begun))
            for shard, consumer in consumers.items()
            if not consumer.done
        }

    def start(self) -> None:
        """Begin to deliver, in the background."""
        self._supervisor.start()

    def stop(self) -> None:
        """End after the invocations under way; what was not delivered is delivered next time."""
        self._stop.set()
        self._look.set()
        self._supervisor.join()

    def wait(self, timeout: float) -> bool:
        """Wait until delivery has ended by itself; tells whether it has.

        It does when the stream was switched off and all of it has been delivered.

        Raises:
            DynamirrorError: what ended it.
        """
        self._supervisor.join(timeout)
        self._check()
        return not self._supervisor.is_alive()

    def caught_up(self, since: float) -> bool:
        """Tell whether everything that was in the stream at a moment has been delivered.

        Args:
            since: the moment, by the delivery's clock.

        Raises:
            DynamirrorError: what ended the delivery.
        """
        self._check()
        if self._listed_at <= since:
            self._look.set()
            return False
        consumers = dict(self._consumers)
        if any(s.id not in consumers and s.id not in self._finished for s in self._shards):
            return False  # a parent has just ended, its child is not being read yet
        return all(consumer.idle_since > since or consumer.done for consumer in consumers.values())

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _supervise(self) -> None:
        try:
            self._follow(self._positions_loaded())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self._fail(error)
        for consumer in list(self._consumers.values()):
            consumer.join()

    def _follow(self, known: Mapping[str, Checkpoint]) -> None:
        self._finished |= {shard: one for shard, one in known.items() if one.finished}
        first, latest = True, set[str]()
        while not self._stop.is_set():
            asked_at = self._clock()
            stream = self._described()
            if self._stop.is_set():
                return
            self._shards = stream.shards
            if first:
                self._notice_lost_shards(known)
                # What a shard that comes later holds was written from now on: all of it counts.
                if self._mapping.latest and not known:
                    latest = {shard.id for shard in self._shards}
            # Where nothing is known, nothing can be missed: the marker tells what came before.
            self._begin(latest, fresh=first and not known)
            self._tend()
            first = False
            self._listed_at = asked_at
            if stream.switched_off and self._all_finished():
                return
            self._look.wait(self._discover_seconds)
            self._look.clear()  # before it is asked for the end: whoever stops it sets both

    def _described(self) -> StreamDescription:
        backoff = Backoff(self._stop)
        while not self._stop.is_set():
            try:
                return self._reader.describe()
            except StreamGoneError:
                raise
            except SourceError as error:
                backoff.wait(error)
        return StreamDescription([])

    def _notice_lost_shards(self, known: Mapping[str, Checkpoint]) -> None:
        """Note a gap for each shard that was not read to its end and is listed no more."""
        listed = {shard.id for shard in self._shards}
        for shard, position in known.items():
            if not position.finished and shard not in listed:
                self._lose(f"shard {shard} was trimmed before it was read to its end")
                self._give_up(shard, position.after)

    def _notice_lost_parents(self, begun: list[Shard], known: Mapping[str, Checkpoint]) -> None:
        """Note a gap for each shard that was trimmed before it was seen: only its child is left."""
        there = {*known, *self._finished, *self._consumers, *(one.id for one in self._shards)}
        for parent in {one.parent: None for one in begun if one.id not in known}:
            if parent is not None and parent not in there:
                self._lose(f"shard {parent} was trimmed before it was read")

    def _lose(self, reason: str) -> None:
        """Records are gone."""
        self._invoker.counts.gaps += 1
        logger.error("records lost", extra={"reason": reason})
        self._told(reason)

    def _give_up(self, shard: str, after: str | None) -> None:
        """Save that a shard is lost, so that it is not lost again at the next start."""
        if not self._stop.is_set():  # else it may not have been noted
            with suppress(CacheError):
                self._positions.save(shard, Checkpoint(after, finished=True, since=self._now()))

    def _told(self, reason: str) -> None:
        """Do not go on before it is noted: positions would move on, and nobody would know."""
        backoff = Backoff(self._stop)
        while not self._stop.is_set():
            try:
                self._note_gap(reason)
            except CacheError as error:
                backoff.wait(error)
            else:
                return

    def _all_finished(self) -> bool:
        return all(shard.id in self._finished for shard in self._shards)

    def _positions_loaded(self) -> dict[str, Checkpoint]:
        backoff = Backoff(self._stop)
        while not self._stop.is_set():
            try:
                return self._positions.load()
            except CacheError as error:
                backoff.wait(error)
        return {}

    def _begin(self, latest: Collection[str], *, fresh: bool) -> None:
        readable_now = readable(self._shards, self._finished)
        new = [shard for shard in readable_now if shard.id not in self._consumers]
        known = self._positions_loaded() if new else {}
        if self._stop.is_set():
            return  # what was not loaded is not unknown
        if not fresh:
            self._notice_lost_parents(new, known)
        for shard in new:
            position = known.get(shard.id) or self._first_position(
                shard, known, latest=shard.id in latest, fresh=fresh
            )
            self._consumers[shard.id] = Consumer(
                shard,
                position,
                reader=self._reader,
                invoker=self._invoker,
                positions=self._positions,
                mapping=self._mapping,
                poll_seconds=self._poll_seconds,
                stop=self._stop,
                ended=self._ended,
                lose=self._lose,
                give_up=self._give_up,
                told=self._told,
                clock=self._clock,
                now=self._now,
            )
            self._consumers[shard.id].start()

    def _first_position(
        self, shard: Shard, known: Mapping[str, Checkpoint], *, latest: bool, fresh: bool
    ) -> Checkpoint:
        """Where a shard begins that has no position: what is left of it is younger than `since`."""
        if shard.parent is None and not fresh:
            return Checkpoint()
        parent = known.get(shard.parent or "") or self._finished.get(shard.parent or "")
        if parent is not None:
            since = parent.created if parent.since is None else parent.since
        else:
            since = self._now()  # a gap was noted just now, or the marker tells what came before
        return Checkpoint(since=since, latest=latest)

    def _tend(self) -> None:
        """Save again what the cache has lost of finished shards, and remove what no longer matters.

        A finished shard matters while it is listed, and until its children are begun: their
        positions show that no shard in between was lost.
        """
        if not self._shards:
            return
        listed = {shard.id for shard in self._shards}
        with suppress(CacheError):  # the next look does it
            known = self._positions.load()
            finished = dict(self._finished)
            for shard in (listed & finished.keys()) - known.keys():
                self._positions.save(shard, finished[shard])
            awaited = {shard.parent for shard in self._shards if shard.id not in known}
            ended = {shard for shard, position in known.items() if position.finished}
            for shard in (ended | finished.keys()) - listed - awaited:
                if shard in ended:
                    self._positions.forget(shard)
                self._finished.pop(shard, None)
                self._consumers.pop(shard, None)

    def _ended(self, shard: Shard, end: Checkpoint | BaseException) -> None:
        """Take from a consumer where its shard ended, or why it cannot go on."""
        if isinstance(end, BaseException):
            self._fail(end)
        else:
            self._finished[shard.id] = end
            self._look.set()  # its children may be read now

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._stop.set()
        self._look.set()
