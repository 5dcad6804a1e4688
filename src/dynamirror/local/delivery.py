"""The local stand-in for Lambda's event source mapping: follows a stream's shards.

Parents come before children, each shard has a thread, and how far each got is kept.
"""

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from time import monotonic
from typing import Protocol

from dynamirror.backoff import Backoff
from dynamirror.errors import CacheError, SourceError
from dynamirror.local.invoker import Counts, EventSourceMapping, Function, Invoker
from dynamirror.stream.positions import Position
from dynamirror.stream.reader import (
    Description,
    Record,
    ShardGoneError,
    StreamGoneError,
    StreamReader,
    TrimmedError,
)
from dynamirror.stream.shards import Shard, readable

logger = logging.getLogger("dynamirror")


class PositionStore(Protocol):
    """Where positions are kept: `stream.positions.Positions`, or memory."""

    def load(self) -> dict[str, Position]:
        """Read all positions."""

    def save(self, shard_id: str, position: Position) -> None:
        """Keep one position."""


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
    """

    def __init__(
        self,
        reader: StreamReader,
        function: Function,
        positions: PositionStore,
        mapping: EventSourceMapping | None = None,
        *,
        poll_seconds: float = 0.25,
        discover_seconds: float = 10.0,
        note_gap: Callable[[str], object] = lambda _reason: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._reader = reader
        self._positions = positions
        self._mapping = mapping or EventSourceMapping()
        self._note_gap = note_gap
        self._poll_seconds = poll_seconds
        self._discover_seconds = discover_seconds
        self._clock = clock
        self._stop = threading.Event()
        self._look = threading.Event()
        self._backoff = Backoff(self._stop)
        self._invoker = Invoker(function, self._mapping, self._stop, clock=clock)
        self._consumers: dict[str, _Consumer] = {}
        self._finished: set[str] = set()
        self._shards: list[Shard] = []
        self._listed_at = -1.0
        self._begun = clock()
        self._error: BaseException | None = None
        self._supervisor = threading.Thread(target=self._supervise, name="delivery", daemon=True)

    @property
    def counts(self) -> Counts:
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
            known = self._positions_loaded()
            self._finished |= {shard for shard, position in known.items() if position.finished}
            latest: set[str] | None = None
            while not self._stop.is_set():
                asked_at = self._clock()
                stream = self._described()
                self._shards = stream.shards
                if latest is None:
                    self._notice_lost_shards(known)
                    # What a shard that comes later holds was written from now on: all of it counts.
                    new_here = self._mapping.latest and not known
                    latest = {shard.id for shard in self._shards} if new_here else set()
                self._begin(self._shards, latest)
                self._listed_at = asked_at
                if stream.switched_off and self._all_finished():
                    break
                self._look.wait(self._discover_seconds)
                self._look.clear()  # before it is asked for the end: whoever stops it sets both
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self._fail(error)
        for consumer in self._consumers.values():
            consumer.join()

    def _described(self) -> Description:
        failures = 0
        while not self._stop.is_set():
            try:
                return self._reader.describe()
            except StreamGoneError:
                raise
            except SourceError as error:
                failures += 1
                self._backoff.wait(failures, error)
        return Description([])

    def _notice_lost_shards(self, known: Mapping[str, Position]) -> None:
        """A shard that was not read to its end, and is listed no more, was trimmed."""
        listed = {shard.id for shard in self._shards}
        for shard, position in known.items():
            if not position.finished and shard not in listed:
                self._lose(f"shard {shard} was trimmed before it was read to its end")
                self._give_up(shard, position.after)

    def _lose(self, reason: str) -> None:
        """Records are gone."""
        self._invoker.counts.gaps += 1
        logger.error("records lost", extra={"reason": reason})
        self._told(reason)

    def _give_up(self, shard: str, after: str | None) -> None:
        """Once it is noted that a shard is lost, it is not lost again at the next start."""
        if not self._stop.is_set():  # else it may not have been noted
            with suppress(CacheError):
                self._positions.save(shard, Position(after, finished=True))

    def _told(self, reason: str) -> None:
        """Do not go on before it is noted: positions would move on, and nobody would know."""
        failures = 0
        while not self._stop.is_set():
            try:
                self._note_gap(reason)
            except CacheError as error:
                failures += 1
                self._backoff.wait(failures, error)
            else:
                return

    def _all_finished(self) -> bool:
        return all(shard.id in self._finished for shard in self._shards)

    def _positions_loaded(self) -> dict[str, Position]:
        failures = 0
        while not self._stop.is_set():
            try:
                return self._positions.load()
            except CacheError as error:
                failures += 1
                self._backoff.wait(failures, error)
        return {}

    def _begin(self, shards: list[Shard], latest: Collection[str]) -> None:
        new = [s for s in readable(shards, self._finished) if s.id not in self._consumers]
        positions = self._positions_loaded() if new else {}
        for shard in new:
            self._consumers[shard.id] = _Consumer(
                shard,
                positions.get(shard.id, Position()).after,
                reader=self._reader,
                invoker=self._invoker,
                positions=self._positions,
                mapping=self._mapping,
                latest=shard.id in latest,
                poll_seconds=self._poll_seconds,
                stop=self._stop,
                ended=self._ended,
                lose=self._lose,
                give_up=self._give_up,
                told=self._told,
                clock=self._clock,
            )
            self._consumers[shard.id].start()

    def _ended(self, shard: Shard, error: BaseException | None) -> None:
        """A consumer tells that its shard is finished, or why it cannot go on."""
        if error is not None:
            self._fail(error)
        else:
            self._finished.add(shard.id)
            self._look.set()  # its children may be read now

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._stop.set()
        self._look.set()


class _Consumer(threading.Thread):
    """Reads one shard to its end."""

    def __init__(
        self,
        shard: Shard,
        after: str | None,
        *,
        reader: StreamReader,
        invoker: Invoker,
        positions: PositionStore,
        mapping: EventSourceMapping,
        latest: bool,
        poll_seconds: float,
        stop: threading.Event,
        ended: Callable[[Shard, BaseException | None], None],
        lose: Callable[[str], None],
        give_up: Callable[[str, str | None], None],
        told: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(name=f"shard {shard.id}", daemon=True)
        self._shard = shard
        self._after = after
        self._latest = latest
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
        self._backoff = Backoff(stop)
        self._failures = 0
        self.idle_since = -1.0
        self.done = False

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._consume()
            except TrimmedError as error:
                self._lose(str(error))
                self._after, self._latest = None, False
            except ShardGoneError as error:
                if self._is_gone(error):
                    return
            except (SourceError, CacheError) as error:
                self._failures += 1
                self._backoff.wait(self._failures, error)
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                self._ended(self._shard, error)
                return
            else:
                return

    def _is_gone(self, error: ShardGoneError) -> bool:
        """Whether the shard is listed no more, in which case that is told."""
        self._failures += 1
        self._backoff.wait(self._failures, error)
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
        self._give_up(self._shard.id, self._after)
        self.done = True
        self._ended(self._shard, None)
        return True

    def _consume(self) -> None:
        buffer: list[Record] = []
        waiting_since = asked_at = self._clock()
        for page in self._reader.pages(self._shard, self._after, latest=self._latest):
            if self._latest:
                self._latest = False  # should it begin again, what came since counts
                self._told("reading began with what was written from then on")
            if not buffer:
                waiting_since = self._clock()
            buffer += page.records
            due = page.closed or self._clock() - waiting_since >= self._window
            while buffer and (due or len(buffer) >= self._full):
                if not self._deliver(buffer[: self._full]):
                    return
                del buffer[: self._full]
            if page.closed:
                self._positions.save(self._shard.id, Position(self._after, finished=True))
                self.done = True
                self._ended(self._shard, None)
                return
            if not page.records:
                if not buffer:
                    self.idle_since = asked_at
                self._stopping.wait(self._poll_seconds)
            if self._stopping.is_set():
                return
            self._failures = 0
            asked_at = self._clock()

    def _deliver(self, records: list[Record]) -> bool:
        if not self._invoker.deliver(records):
            return False
        newest = records[-1]["dynamodb"]
        self._after, created = newest["SequenceNumber"], newest["ApproximateCreationDateTime"]
        self._positions.save(self._shard.id, Position(self._after, created=created))
        return True
