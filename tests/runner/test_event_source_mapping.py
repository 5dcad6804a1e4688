"""The invoker treats a batch as Lambda's event source mapping does.

https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import item, record

from dynamirror import backoff
from dynamirror.backoff import Backoff
from dynamirror.dynamodb.stream_reader import Record
from dynamirror.errors import DynamirrorError
from dynamirror.runner import event_source_mapping as module
from dynamirror.runner.event_source_mapping import EventSourceMapping, Function, Invoker, checkpoint

NOW = 1_790_000_000.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "_LONGEST_PAUSE", 0.001)
    monkeypatch.setattr(module, "time", lambda: NOW)


def numbers(records: Sequence[Record]) -> list[int]:
    return [int(one["dynamodb"]["SequenceNumber"]) for one in records]


def name(number: int) -> str:
    return str(record(number)["dynamodb"]["SequenceNumber"])


def failed(*identifiers: object) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": one} for one in identifiers]}


class Log:
    """A function that notes what it is given and answers in turn; at the end, with success."""

    def __init__(
        self, *answers: object, otherwise: Callable[[list[int]], Any] = lambda _numbers: None
    ) -> None:
        self.batches: list[list[int]] = []
        self.events: list[Any] = []
        self._answers = list(answers)
        self._otherwise = otherwise

    def __call__(self, event: Mapping[str, Any], _context: object) -> Any:
        self.events.append(event)
        self.batches.append(numbers(event["Records"]))
        answer = self._answers.pop(0) if self._answers else self._otherwise(self.batches[-1])
        if isinstance(answer, Exception):
            raise answer
        return answer


def invoker(function: Function, stop: threading.Event | None = None, **settings: Any) -> Invoker:
    return Invoker(function, EventSourceMapping(**settings), stop or threading.Event())


def deliver(function: Function, count: int = 5, **settings: Any) -> Invoker:
    """Deliver records 1 to count; none is left when it returns."""
    made = invoker(function, **settings)
    assert made.deliver([record(number, item(str(number))) for number in range(1, count + 1)])
    return made


@pytest.mark.parametrize(
    "answer", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}]
)
def test_nothing_and_an_empty_or_null_list_are_success(answer: object) -> None:
    function = Log(answer)
    counts = deliver(function).counts
    assert function.batches == [[1, 2, 3, 4, 5]]
    assert (counts.records, counts.invocations, counts.retries) == (5, 1, 0)


@pytest.mark.parametrize("order", [(3, 5), (5, 3), (3, 3, 4)])
def test_all_from_the_lowest_number_named_is_delivered_again(order: tuple[int, ...]) -> None:
    function = Log(failed(*map(name, order)))
    counts = deliver(function).counts
    assert function.batches == [[1, 2, 3, 4, 5], [3, 4, 5]]
    assert counts.records == 5


@pytest.mark.parametrize(
    "answer",
    [
        failed(""),
        failed(None),
        failed("unknown"),
        failed(7),
        failed([]),
        failed(name(3), "unknown"),
        {"batchItemFailures": [{}]},
        {"batchItemFailures": [{"itemID": name(3)}]},
        {"batchItemFailures": [None]},
        {"batchItemFailures": "all"},
        ["not", "an", "object"],
        "done",
        {"not JSON": ...},
        RuntimeError("boom"),
    ],
    ids=repr,
)
def test_a_wrong_answer_or_an_exception_fails_the_whole_batch(answer: object) -> None:
    function = Log(answer)
    counts = deliver(function).counts
    assert function.batches == [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]
    assert (counts.records, counts.retries, counts.discarded) == (5, 1, 0)


def test_without_report_batch_item_failures_the_answer_is_not_heeded() -> None:
    function = Log(failed(name(3)))
    deliver(function, report_batch_item_failures=False)
    assert function.batches == [[1, 2, 3, 4, 5]]


@given(
    st.lists(st.integers(1, 8), max_size=8).flatmap(
        lambda known: st.tuples(st.just(known), st.permutations(known))
    )
)
def test_the_checkpoint_is_the_lowest_number_in_any_order(
    named: tuple[list[int], list[int]],
) -> None:
    known, shuffled = named
    records = [record(number) for number in range(1, 9)]
    expected = min(known) - 1 if known else None
    assert checkpoint(failed(*map(name, shuffled)), records) == expected


def test_retries_have_no_end_by_default() -> None:
    function = Log(*[RuntimeError("boom")] * 200)
    counts = deliver(function).counts
    assert len(function.batches) == 201
    assert (counts.records, counts.retries, counts.discarded) == (5, 200, 0)


@pytest.mark.parametrize("attempts", [0, 1, 4])
def test_a_batch_is_discarded_after_the_retries_allowed(attempts: int) -> None:
    function = Log(otherwise=lambda _numbers: failed(""))
    counts = deliver(function, maximum_retry_attempts=attempts).counts
    assert len(function.batches) == 1 + attempts
    assert (counts.records, counts.discarded) == (0, 5)


def test_what_comes_after_a_discarded_batch_is_delivered() -> None:
    function = Log(RuntimeError("boom"), RuntimeError("boom"))
    counts = deliver(function, 6, batch_size=2, maximum_retry_attempts=1).counts
    assert function.batches == [[1, 2], [1, 2], [3, 4], [5, 6]]
    assert (counts.records, counts.discarded) == (4, 2)


def test_bisecting_is_no_attempt() -> None:
    function = Log(RuntimeError("boom"), RuntimeError("boom"))
    counts = deliver(
        function, 8, bisect_batch_on_function_error=True, maximum_retry_attempts=0
    ).counts
    assert function.batches == [
        [1, 2, 3, 4, 5, 6, 7, 8],
        [1, 2, 3, 4],
        [1, 2],
        [3, 4],
        [5, 6, 7, 8],
    ]
    assert (counts.records, counts.discarded) == (8, 0)


def test_bisecting_goes_on_from_the_number_named() -> None:
    function = Log(failed(name(5)), failed(name(5)))
    deliver(function, 8, bisect_batch_on_function_error=True)
    assert function.batches == [[1, 2, 3, 4, 5, 6, 7, 8], [5, 6, 7, 8], [5, 6], [7, 8]]


@given(
    count=st.integers(1, 30),
    poison=st.sets(st.integers(1, 30)),
    batch_size=st.integers(1, 10),
    attempts=st.integers(0, 2),
    names_it=st.booleans(),
)
def test_with_bisecting_only_poison_is_discarded(
    count: int, poison: set[int], batch_size: int, attempts: int, *, names_it: bool
) -> None:
    taken: list[int] = []

    def function(event: Mapping[str, Any], _context: object) -> Any:
        batch = numbers(event["Records"])
        bad = [number for number in batch if number in poison]
        if not bad:
            taken.extend(batch)
            return None
        if not names_it:
            raise RuntimeError("boom")
        taken.extend(number for number in batch if number < bad[0])
        return failed(name(bad[0]))

    made = deliver(
        function,
        count,
        batch_size=batch_size,
        bisect_batch_on_function_error=True,
        maximum_retry_attempts=attempts,
    )
    assert taken == [number for number in range(1, count + 1) if number not in poison]
    assert made.counts.discarded == len(poison & set(range(1, count + 1)))
    assert made.counts.records == len(taken)


def test_records_beyond_the_maximum_age_are_discarded() -> None:
    function = Log()
    made = invoker(function, maximum_record_age=60)
    ages = {1: 61, 2: 61, 3: 59, 4: 59}
    assert made.deliver(
        [record(number, ApproximateCreationDateTime=NOW - age) for number, age in ages.items()]
    )
    assert function.batches == [[3, 4]]
    assert (made.counts.records, made.counts.discarded) == (2, 2)


def test_records_that_grow_too_old_while_they_are_retried_are_discarded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = iter(range(0, 1000, 30))
    monkeypatch.setattr(module, "time", lambda: NOW + next(ticks))
    function = Log(otherwise=lambda _numbers: failed(""))
    made = invoker(function, maximum_record_age=60)
    assert made.deliver([record(1, ApproximateCreationDateTime=NOW)])
    assert function.batches == [[1], [1], [1]]
    assert made.counts.discarded == 1


def test_no_record_is_too_old_by_default() -> None:
    function = Log()
    assert invoker(function).deliver([record(1, ApproximateCreationDateTime=0)])
    assert function.batches == [[1]]


@given(count=st.integers(1, 40), batch_size=st.integers(1, 12))
def test_batches_are_full_but_for_the_last(count: int, batch_size: int) -> None:
    function = Log()
    deliver(function, count, batch_size=batch_size)
    assert [number for batch in function.batches for number in batch] == [*range(1, count + 1)]
    assert all(len(batch) == batch_size for batch in function.batches[:-1])
    assert 1 <= len(function.batches[-1]) <= batch_size


def test_a_batch_keeps_within_6_mb() -> None:
    function = Log()
    large = [record(number, item(str(number), text="x" * 390_000)) for number in range(1, 41)]
    assert invoker(function, batch_size=10_000).deliver(large)
    assert [number for batch in function.batches for number in batch] == [*range(1, 41)]
    sizes = [len(msgspec.json.encode(event)) for event in function.events]
    assert all(5_000_000 < size <= 6_000_000 for size in sizes[:-1])
    assert len(sizes) == 3


def test_the_event_went_through_json() -> None:
    given_ones = [record(1, item("1", text="ä\n😀"))]
    function = Log()
    assert invoker(function).deliver(given_ones)
    (event,) = function.events
    assert event == {"Records": given_ones}
    event["Records"][0]["dynamodb"].clear()  # a function may do with it what it likes
    assert given_ones[0]["dynamodb"]


def test_a_function_is_told_how_much_time_is_left() -> None:
    times = iter([0.0, 1.5, 11.0])
    left: list[int] = []

    def function(_event: object, context: Any) -> None:
        left.extend(context.get_remaining_time_in_millis() for _ in range(2))

    made = Invoker(
        function, EventSourceMapping(timeout=10), threading.Event(), clock=lambda: next(times)
    )
    assert made.deliver([record(1)])
    assert left == [8500, 0]


def test_a_stop_ends_retries_and_says_that_not_all_was_delivered() -> None:
    stop = threading.Event()
    function = Log(otherwise=lambda _numbers: stop.set() or failed(""))  # type: ignore[func-returns-value]
    assert not invoker(function, stop).deliver([record(1)])
    assert function.batches == [[1]]


def test_waiting_ends_at_once_when_asked_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "_LONGEST_PAUSE", 600.0)
    stop = threading.Event()
    patient = Backoff(stop)
    patient.failures = 100
    waiting = threading.Thread(target=patient.wait, args=("boom",))
    waiting.start()
    stop.set()
    waiting.join(30)
    assert not waiting.is_alive()


def test_pauses_grow_to_the_longest_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "_LONGEST_PAUSE", 10.0)
    pauses: list[float] = []

    class Noted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0)
            return False

    longer = Backoff(Noted(), jitter=lambda: 1.0)
    for _ in range(11):
        longer.wait("boom")
    assert pauses == sorted(pauses)
    assert pauses[0] == pytest.approx(0.1)
    assert pauses[-1] == 10.0
    longer.reset()
    longer.wait("boom")
    assert pauses[-1] == pauses[0]


class Judge:
    """Fails at random, and checks that no change of an item overtakes an earlier one."""

    def __init__(self, changes: Mapping[str, list[int]], faults: list[tuple[str, float]]) -> None:
        self._changes = changes
        self._faults = faults
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self.done: dict[str, int] = defaultdict(int)
        self.wrong: list[str] = []

    def __call__(self, event: Mapping[str, Any], _context: object) -> Any:
        batch = [
            (one["dynamodb"]["Keys"]["id"]["S"], int(one["dynamodb"]["SequenceNumber"]))
            for one in event["Records"]
        ]
        items = {item_id for item_id, _ in batch}
        with self._lock:
            if items & self._running:
                self.wrong.append(f"two invocations at once have {items & self._running}")
            self._running |= items
            fault, share = self._faults.pop() if self._faults else ("none", 0.0)
        for item_id in items:
            got = [number for one, number in batch if one == item_id]
            begin = self.done[item_id]
            if got != self._changes[item_id][begin : begin + len(got)]:
                self.wrong.append(f"{item_id}: {got} after {begin} of {self._changes[item_id]}")
        kept = {"none": len(batch), "part": int(share * len(batch))}.get(fault, 0)
        for item_id, _ in batch[:kept]:
            self.done[item_id] += 1
        with self._lock:
            self._running -= items
        match fault:
            case "raise":
                raise RuntimeError("boom")
            case "part":
                return failed(*(name(number) for _, number in batch[kept:]))
            case "unknown":
                return failed("unknown")
            case _:
                return {"batchItemFailures": []}


@given(
    items=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60),
    faults=st.lists(
        st.tuples(
            st.sampled_from(["none", "part", "raise", "unknown"]),
            st.floats(0, 1, exclude_max=True),
        ),
        max_size=20,
    ),
    factor=st.integers(1, 10),
    batch_size=st.integers(1, 20),
    bisect=st.booleans(),
)
def test_changes_of_an_item_stay_in_order_whatever_fails(
    items: list[str],
    faults: list[tuple[str, float]],
    factor: int,
    batch_size: int,
    *,
    bisect: bool,
) -> None:
    changes: dict[str, list[int]] = defaultdict(list)
    for number, item_id in enumerate(items, 1):
        changes[item_id].append(number)
    judge = Judge(changes, list(faults))
    made = invoker(
        judge,
        batch_size=batch_size,
        parallelization_factor=factor,
        bisect_batch_on_function_error=bisect,
    )
    assert made.deliver([record(n, item(item_id)) for n, item_id in enumerate(items, 1)])
    assert not judge.wrong
    assert judge.done == {item_id: len(given) for item_id, given in changes.items()}
    assert made.counts.records == len(items)


def test_batches_of_a_shard_run_at_once() -> None:
    records = [record(number, item(str(number))) for number in range(1, 101)]
    lanes = {module._lane(one, 4) for one in records}
    assert lanes == {0, 1, 2, 3}
    together = threading.Barrier(4, timeout=30)

    def function(_event: object, _context: object) -> None:
        together.wait()

    made = invoker(function, parallelization_factor=4, maximum_retry_attempts=0)
    assert made.deliver(records)
    assert made.counts.records == 100


def test_an_item_has_one_lane_however_its_key_is_spelt() -> None:
    one, two = (
        {"Keys": {"a": {"S": "1"}, "b": {"N": "2"}}},
        {"Keys": {"b": {"N": "2"}, "a": {"S": "1"}}},
    )
    assert module._lane({"dynamodb": one}, 10) == module._lane({"dynamodb": two}, 10)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch_size": 0}, "batch_size must be 1 to 10000, not 0"),
        ({"batch_size": 10_001}, "batch_size must be 1 to 10000, not 10001"),
        ({"maximum_batching_window": 301}, "maximum_batching_window must be 0 to 300, not 301"),
        ({"parallelization_factor": 11}, "parallelization_factor must be 1 to 10, not 11"),
        ({"maximum_retry_attempts": -2}, "maximum_retry_attempts must be -1 to 10000, not -2"),
        ({"maximum_record_age": 59}, "maximum_record_age must be -1 or 60 to 604800, not 59"),
        (
            {"maximum_record_age": 604_801},
            "maximum_record_age must be -1 or 60 to 604800, not 604801",
        ),
        ({"timeout": 0}, "timeout must be 1 to 900, not 0"),
    ],
)
def test_settings_that_aws_would_refuse_are_refused(
    settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(DynamirrorError) as caught:
        EventSourceMapping(**settings)
    assert str(caught.value) == sentence
