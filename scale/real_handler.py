"""The real handler and a real Valkey, for the batches of some shards of a simulated fleet."""

import io
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from math import ceil
from typing import Any, Final

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_complete, record_gap
from dynamirror.cache.scripts import Command
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.view import Schema, Views, ViewSpec

TABLE: Final = "scale"
STREAM: Final = (
    f"arn:aws:dynamodb:us-east-1:000000000000:table/{TABLE}/stream/2026-01-01T00:00:00.000"
)
# The items that the changes of one shard touch, one after the other.
ITEMS: Final = 500
_SIZES: Final = (1, 10, 30, 100, 300, 1_000)
_PAUSE_MS: Final = 60_000
_LAMBDA_SECONDS: Final = 60.0

Handler = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]


def _item(shard: str, number: int) -> str:
    return f"{shard}-{number % ITEMS:05d}"


class BatchTimes(msgspec.Struct, frozen=True):
    """What the real handler took of one CPU, decoding included.

    Args:
        sizes: numbers of records, ascending.
        cpu_seconds: median of each size.
        spread: what single batches took, as a multiple of their median.
        hung_seconds: how long a batch takes, from begin to end, whose cache does not answer.
    """

    sizes: tuple[int, ...]
    cpu_seconds: tuple[float, ...]
    spread: tuple[float, ...]
    hung_seconds: float

    def cpu_of(self, records: int) -> float:
        """Return the median of a number of records, interpolated."""
        sizes, seconds = self.sizes, self.cpu_seconds
        upper = next((n for n, size in enumerate(sizes) if size >= records), len(sizes) - 1)
        upper = max(1, upper)
        share = (records - sizes[upper - 1]) / (sizes[upper] - sizes[upper - 1])
        return seconds[upper - 1] + share * (seconds[upper] - seconds[upper - 1])


class _Context:
    """Lambda's context: an invocation that has just begun."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return round(_LAMBDA_SECONDS * 1000)


class RealShards:
    """Applies batches of some shards through the handler, and compares the cache in the end.

    Each shard's changes count up: change n puts item n modulo `ITEMS` with the attribute n.

    Args:
        handler: Lambda's entry point, with an environment that leads to the cache.
        cache: the cache, empty.
    """

    def __init__(self, handler: Handler, cache: Cache) -> None:
        self._handler = handler
        self._cache = cache
        self._newest: dict[str, int] = {}
        self.invocations = self.records = 0
        views = Views.for_schema((ViewSpec(),), schema := Schema(TABLE, ("id",))).bind(schema)
        now = int(time.time())
        record_gap(cache, views, stream=STREAM, at=now - 60, reason="it is new")
        assert record_complete(cache, views, SnapshotVersion(now)) is None
        self._view = views[0]

    def apply(self, shard: str, first: int, records: int) -> tuple[float, int]:
        """Apply changes of a shard; return the seconds of one CPU, and how many were applied.

        Args:
            shard: name of the shard.
            first: number of the first change.
            records: how many.
        """
        event = [self._record(shard, number) for number in range(first, first + records)]
        text = json.dumps({"Records": event})
        with redirect_stdout(io.StringIO()):
            begin = time.process_time()
            answer = self._handler(json.loads(text), _Context())
            seconds = time.process_time() - begin
        failures = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
        sequences = [one["dynamodb"]["SequenceNumber"] for one in event]
        assert failures <= set(sequences), "it names a record of the batch"
        applied = next((n for n, one in enumerate(sequences) if one in failures), records)
        for number in range(first, first + applied):
            item = _item(shard, number)
            self._newest[item] = max(number, self._newest.get(item, -1))
        self.invocations += 1
        self.records += applied
        return seconds, applied

    def _record(self, shard: str, number: int) -> dict[str, Any]:
        key = {"id": {"S": _item(shard, number)}}
        # About 400 bytes, as all estimates have it.
        image = {**key, "n": {"N": f"{number}"}, "about": {"S": "x" * 360}}
        return {
            "eventID": f"{number:032x}",
            "eventName": "MODIFY",
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "eventSourceARN": STREAM,
            "dynamodb": {
                "ApproximateCreationDateTime": int(time.time()),
                "Keys": key,
                "NewImage": image,
                "SequenceNumber": f"{number + 1:021d}",
                "SizeBytes": 400,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            },
        }

    def measure(self, rounds: int) -> BatchTimes:
        """Measure batches of several sizes, so often each, and one whose cache hangs.

        Args:
            rounds: how often.
        """
        taken: dict[int, list[float]] = {size: [] for size in _SIZES}
        first = 0
        for turn in range(rounds + 1):
            for size in _SIZES:
                seconds, applied = self.apply("measured", first, size)
                assert applied == size, "an idle cache takes all"
                first += size
                if turn:  # the first ones warm up
                    taken[size].append(seconds)
        medians = {size: statistics.median(values) for size, values in taken.items()}
        spread = tuple(
            value / medians[size] for size, values in taken.items() for value in sorted(values)
        )
        return BatchTimes(_SIZES, tuple(medians.values()), spread, self._hung_seconds(first))

    def _hung_seconds(self, first: int) -> float:
        begin = time.monotonic()
        with self._paused():
            with redirect_stdout(io.StringIO()):
                event = {"Records": [self._record("hung", first)]}
                try:
                    answer = self._handler(event, _Context())
                except Exception:  # noqa: BLE001 - Lambda takes any as a failed batch
                    answer = {"batchItemFailures": [{}]}
            seconds = time.monotonic() - begin
        assert answer["batchItemFailures"], "what hangs takes nothing"
        return ceil(seconds * 100) / 100

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Have the cache answer no write."""
        self._cache.broadcast(b"CLIENT", b"PAUSE", _PAUSE_MS, b"WRITE")
        try:
            yield
        finally:
            self._cache.broadcast(b"CLIENT", b"UNPAUSE")

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Have the cache refuse every write."""
        self._cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"1")
        try:
            yield
        finally:
            self._cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")

    def differences(self) -> int:
        """Return how many entries are not as their item's newest change has them; then forget."""
        wanted = list(self._newest.items())
        self._newest.clear()
        keys = [(self._view.key_of({"id": {"S": item}}) or "").encode() for item, _ in wanted]
        answers = self._cache.execute(Command(key, (b"GET", key)) for key in keys)
        return sum(
            not isinstance(answer, bytes) or json.loads(answer)["n"] != number
            for answer, (_, number) in zip(answers, wanted, strict=True)
        )
