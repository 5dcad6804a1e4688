"""What Lambda does with the records of a shard: batches, invokes, retries, bisects, gives up.

https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-eventsourcemapping.html
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import partial
from math import inf
from threading import get_ident
from time import monotonic, time
from typing import Any
from zlib import crc32

import msgspec

from dynamirror.backoff import Backoff
from dynamirror.dynamodb.stream_reader import Record
from dynamirror.errors import DynamirrorError
from dynamirror.runner.progress import Progress

logger = logging.getLogger("dynamirror")

Function = Callable[[Mapping[str, Any], Any], Mapping[str, Any] | None]

# What Lambda puts into one invocation at the most.
_PAYLOAD_BYTES = 6_000_000
_AGE_LIMITS = (60, 604_800)


@dataclass(frozen=True, slots=True)
class EventSourceMapping:
    """The settings of a mapping, with AWS's names and meanings.

    Args:
        batch_size: records of one invocation at the most, 1 to 10,000.
        maximum_batching_window: seconds to wait for a full batch, 0 to 300.
        parallelization_factor: invocations of one shard at a time, 1 to 10; changes of one item
            never overtake each other.
        maximum_retry_attempts: how often to try again; -1 for without end.
        maximum_record_age: seconds after which a record is given up; -1 for never.
        bisect_batch_on_function_error: split a batch that failed; this is no attempt.
        report_batch_item_failures: heed what the function says of each record.
        latest: begin with what is written from now on (LATEST), not at the oldest (TRIM_HORIZON).
        timeout: seconds that one invocation is given.
    """

    batch_size: int = 1000
    maximum_batching_window: float = 0.0
    parallelization_factor: int = 1
    maximum_retry_attempts: int = -1
    maximum_record_age: float = -1
    bisect_batch_on_function_error: bool = False
    report_batch_item_failures: bool = True
    latest: bool = False
    timeout: float = 60.0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("batch_size", 1, 10_000),
            ("maximum_batching_window", 0, 300),
            ("parallelization_factor", 1, 10),
            ("maximum_retry_attempts", -1, 10_000),
            ("timeout", 1, 900),
        ):
            if not low <= getattr(self, name) <= high:
                raise DynamirrorError(f"{name} must be {low} to {high}, not {getattr(self, name)}")
        low, high = _AGE_LIMITS
        if self.maximum_record_age != -1 and not low <= self.maximum_record_age <= high:
            raise DynamirrorError(
                f"maximum_record_age must be -1 or {low} to {high}, not {self.maximum_record_age}"
            )


@dataclass(slots=True)
class Invocation:
    """Lambda's context object, as far as the handler uses it."""

    end: float
    clock: Callable[[], float]
    remaining: Callable[[], float] = lambda: inf

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended."""
        return max(0, round(min(self.end - self.clock(), self.remaining()) * 1000))


@dataclass(slots=True)
class DeliveryCounts:
    """The counters of a delivery."""

    records: int = 0
    invocations: int = 0
    retries: int = 0
    discarded: int = 0
    gaps: int = 0

    def __add__(self, other: "DeliveryCounts") -> "DeliveryCounts":
        return DeliveryCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


class Invoker:
    """Hands the records of a shard to a function until each is dealt with.

    Args:
        function: the Lambda function's handler.
        mapping: the settings.
        stop: set to end.
        clock: monotonic seconds.
        progress: notes each invocation; None for nowhere.
        remaining: returns the seconds for which this process may deliver; at 0 it sets `stop`.
    """

    def __init__(
        self,
        function: Function,
        mapping: EventSourceMapping,
        stop: threading.Event,
        *,
        clock: Callable[[], float] = monotonic,
        progress: Progress | None = None,
        remaining: Callable[[], float] = lambda: inf,
    ) -> None:
        self._remaining = remaining
        self._function = function
        self._mapping = mapping
        self._stop = stop
        self._clock = clock
        self._progress = progress or Progress()
        self._lock = threading.Lock()
        self.counts = DeliveryCounts()

    def deliver(self, records: list[Record]) -> bool:
        """Hand records to the function until each is dealt with; False if stopped before."""
        lanes: list[list[Record]] = [[] for _ in range(self._mapping.parallelization_factor)]
        for record in records:
            lanes[_lane(record, len(lanes))].append(record)
        lanes = [lane for lane in lanes if lane]
        deliver = partial(self._deliver_in_order, waiting_thread=get_ident())
        if len(lanes) == 1:
            return deliver(lanes[0])
        with ThreadPoolExecutor(len(lanes)) as pool:
            return all(list(pool.map(deliver, lanes)))

    def _deliver_in_order(self, records: Sequence[Record], *, waiting_thread: int) -> bool:
        waiting = _cut(records, self._mapping.batch_size)
        backoff = Backoff(self._stop)  # counts the retries of the batch under way
        while waiting:
            if self._remaining() <= 0:
                self._stop.set()
            if self._stop.is_set():
                return False
            self._progress.note(waiting_thread)
            batch = self._without_expired(waiting.pop())
            failed_at = self._invoke(batch) if batch else None
            if failed_at is None:
                backoff.reset()
                with self._lock:
                    self.counts.records += len(batch)
                continue
            waiting += reversed(self._after_failure(batch, failed_at, backoff))
        return True

    def _after_failure(
        self, batch: Sequence[Record], failed_at: int, backoff: Backoff
    ) -> list[Sequence[Record]]:
        """Return the batches to deliver next, in order."""
        mapping, rest = self._mapping, batch[failed_at:]
        with self._lock:
            self.counts.records += failed_at
            self.counts.retries += 1
        if failed_at and mapping.report_batch_item_failures:
            backoff.reset()
            return [rest]  # what is left is a new, shorter batch
        if mapping.bisect_batch_on_function_error and len(rest) > 1:
            middle = len(rest) // 2
            return [rest[:middle], rest[middle:]]
        if 0 <= mapping.maximum_retry_attempts <= backoff.failures:
            backoff.reset()
            self._discard(rest, "too many attempts")
            return []
        backoff.wait("the batch was not wholly applied")
        return [rest]

    def _without_expired(self, batch: Sequence[Record]) -> Sequence[Record]:
        age = self._mapping.maximum_record_age
        if age == -1:
            return batch
        oldest = time() - age
        kept = [r for r in batch if r["dynamodb"]["ApproximateCreationDateTime"] >= oldest]
        if len(kept) < len(batch):
            self._discard(batch[: len(batch) - len(kept)], "too old")
        return kept

    def _discard(self, records: Sequence[Record], reason: str) -> None:
        with self._lock:
            self.counts.discarded += len(records)
        logger.error("records given up", extra={"records": len(records), "reason": reason})

    def _invoke(self, records: Sequence[Record]) -> int | None:
        """Call the function once; returns the index from which on to deliver again, or None."""
        with self._lock:
            self.counts.invocations += 1
        # Through JSON both ways, as Lambda does it: nothing else can get across.
        event = msgspec.json.decode(msgspec.json.encode({"Records": records}))
        end = self._clock() + self._mapping.timeout
        context = Invocation(end, self._clock, self._remaining)
        try:
            answer = self._function(event, context)
            response = msgspec.json.decode(msgspec.json.encode(answer))
        except Exception as error:  # noqa: BLE001 - a function may raise anything
            logger.warning("function failed", extra={"reason": f"{type(error).__name__}: {error}"})
            return 0
        if not self._mapping.report_batch_item_failures:
            return None
        return checkpoint(response, records)


def checkpoint(response: Any, records: Sequence[Record]) -> int | None:
    """Find where a function's answer says to go on; None if all is done.

    The lowest sequence number named is the one to go on from. Nothing, or an empty list, is
    success; an empty, missing or unknown identifier fails the whole batch.
    """
    failures = response.get("batchItemFailures") if isinstance(response, dict) else None
    if not failures:
        return None if response is None or isinstance(response, dict) else 0
    numbers = {record["dynamodb"]["SequenceNumber"]: index for index, record in enumerate(records)}
    try:
        return min(numbers[failure["itemIdentifier"]] for failure in failures)
    except (KeyError, TypeError):
        return 0


def _cut(records: Sequence[Record], batch_size: int) -> list[Sequence[Record]]:
    """Cut records into batches of allowed length and payload; the first one comes last."""
    batches: list[Sequence[Record]] = []
    batch: list[Record] = []
    size = 0
    for record in records:
        weight = len(msgspec.json.encode(record)) + 1
        if batch and (len(batch) == batch_size or size + weight > _PAYLOAD_BYTES):
            batches.append(batch)
            batch, size = [], 0
        batch.append(record)
        size += weight
    if batch:
        batches.append(batch)
    return batches[::-1]


def _lane(record: Record, lanes: int) -> int:
    """Return the lane of an item: always the same, so that its changes stay in order."""
    return crc32(msgspec.json.encode(record["dynamodb"]["Keys"], order="sorted")) % lanes
