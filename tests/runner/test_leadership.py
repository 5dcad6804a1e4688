"""One of several processes leads: the one that a lease in the cache names."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from threading import Event
from typing import Any, NoReturn

import pytest
from tests.support.deadlines import wait_until

from dynamirror.cache.checkpoints import Checkpoint, Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.cache.lease import Leases, new_token, read_lease
from dynamirror.errors import CacheError
from dynamirror.runner.event_source_mapping import EventSourceMapping, Invoker
from dynamirror.runner.leadership import Leadership, Term
from dynamirror.views.keyspace import lease_key

TABLE = "users"
STREAM = f"arn:aws:dynamodb:eu-1:1:table/{TABLE}/stream/2026-01-02T03:04:05.678"
KEY = lease_key(TABLE)
SECONDS = 30.0


@dataclass
class Clock:
    """A clock that a test sets."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Process:
    """What one process knows of the lease; it looks only when the test has it look."""

    def __init__(self, cache: Cache, who: str, clock: Clock) -> None:
        self.leases = Leases(cache, TABLE, who, SECONDS)
        self.said: list[str] = []
        self.leadership = Leadership(self.leases, TABLE, notify=self.said.append, clock=clock)
        self.leadership._pause = 0.01

    def look(self) -> Term | None:
        """Look at the lease once."""
        return self.leadership._look()


@pytest.fixture
def clock() -> Clock:
    """Return a clock."""
    return Clock()


@pytest.fixture
def first(cache: Cache, clock: Clock) -> Process:
    """Return a process."""
    return Process(cache, "a:1", clock)


@pytest.fixture
def second(cache: Cache, clock: Clock) -> Process:
    """Return another process."""
    return Process(cache, "b:2", clock)


@contextmanager
def leading(process: Process) -> Iterator[Term]:
    """Have a process lead, and renew its lease all the time."""
    term = process.leadership.wait(Event())
    assert term is not None
    try:
        yield term
    finally:
        process.leadership.end(term)


def drop(cache: Cache) -> None:
    """Lose the lease, as a flush does, or time when nobody renews it."""
    cache.call(KEY, b"UNLINK", KEY.encode())


def test_one_leads_and_the_lease_names_it(cache: Cache, first: Process, second: Process) -> None:
    term = first.look()
    assert term is not None
    assert term.remaining() == SECONDS
    assert second.look() is None
    assert second.leadership.leader == "a:1"
    assert second.leadership.role == "a:1 leads"
    lease = read_lease(cache, TABLE)
    assert lease is not None
    assert (lease.who, lease.seconds, lease.token) == ("a:1", SECONDS, term.token)
    remaining = cache.call(KEY, b"PTTL", KEY.encode())
    assert 0 < remaining <= SECONDS * 1000


def test_a_renewed_lease_keeps_since_when_its_holder_leads(cache: Cache, first: Process) -> None:
    term = first.look()
    assert term is not None
    before = read_lease(cache, TABLE)
    first.leases.take(term.token)
    after = read_lease(cache, TABLE)
    assert before is not None
    assert after is not None
    assert after.since == before.since
    assert after.at >= before.at


def test_a_released_lease_is_taken_at_once(cache: Cache, first: Process, second: Process) -> None:
    term = first.look()
    assert term is not None
    assert second.look() is None
    assert first.leases.release(term.token)
    assert read_lease(cache, TABLE) is None
    assert second.look() is not None


def test_only_its_holder_releases_a_lease(first: Process, second: Process) -> None:
    assert first.look() is not None
    assert not second.leases.release(new_token())
    assert second.look() is None


def test_after_a_kill_the_lease_is_taken_when_it_has_run_out(
    cache: Cache, clock: Clock, first: Process, second: Process
) -> None:
    assert first.look() is not None
    assert second.look() is None
    drop(cache)  # the cache ended it
    clock.now += SECONDS
    assert second.look() is not None


def test_a_lease_that_the_cache_never_ends_is_taken_when_it_was_not_renewed(
    cache: Cache, clock: Clock, first: Process, second: Process
) -> None:
    """The cache's clock may go back, as with another node after a failover."""
    assert first.look() is not None
    cache.call(KEY, b"PERSIST", KEY.encode())
    assert second.look() is None
    clock.now += SECONDS - 1
    assert second.look() is None
    assert second.leadership.leader == "a:1"
    clock.now += 1
    assert second.look() is None
    assert second.look() is not None


def test_a_lease_that_was_renewed_while_another_process_was_paused_is_left_alone(
    cache: Cache, clock: Clock, first: Process, second: Process
) -> None:
    term = first.look()
    assert term is not None
    assert second.look() is None
    read = second.leases.read

    def pausing() -> Any:
        lease = read()
        clock.now += SECONDS
        first.leases.take(term.token)
        return lease

    second.leases.read = pausing  # type: ignore[method-assign]
    assert second.look() is None
    assert read_lease(cache, TABLE) is not None


def test_a_leader_takes_a_flushed_lease_again_before_others_may(
    cache: Cache, clock: Clock, first: Process, second: Process
) -> None:
    term = first.look()
    assert term is not None
    assert second.look() is None
    cache.broadcast(b"FLUSHALL")
    clock.now += SECONDS - 1
    assert second.look() is None, "its holder may not have noticed yet"
    lease = first.leases.take(term.token)
    assert lease is not None
    assert lease.token == term.token
    clock.now += 2
    assert second.look() is None
    assert second.leadership.leader == "a:1"


def test_after_a_failover_that_lost_the_lease_its_holder_gives_way(
    cache: Cache, first: Process, second: Process
) -> None:
    with leading(second) as term:
        ended = Event()
        term.on_end = ended.set
        # The lease of the leader before, which the other node still had.
        other = first.leases.take(new_token())
        assert other is not None
        assert other.who == "b:2"
        cache.call(
            KEY, b"SET", KEY.encode(), b'{"token":"x","since":1,"at":1,"who":"a:1","seconds":9}'
        )
        assert ended.wait(60)
        assert not term.holds
        assert second.leadership.leader == "a:1"
        assert second.said == [
            "this process leads",
            "this process leads no longer: another process took the lease",
        ]


def test_a_damaged_lease_is_no_lease(cache: Cache, first: Process) -> None:
    cache.call(KEY, b"SET", KEY.encode(), b"?")
    assert first.look() is not None


def test_a_process_that_was_paused_leads_no_longer_when_it_wakes(
    clock: Clock, first: Process, second: Process
) -> None:
    with leading(first) as term:
        ended = Event()
        term.on_end = ended.set
        clock.now += SECONDS
        assert not term.holds
        assert ended.wait(60)
        term.renew(clock.now + SECONDS)  # an answer that was on its way
        assert not term.holds
        assert first.said[-1] == "this process leads no longer: its process was paused"
    assert second.look() is not None


def test_a_leader_that_cannot_reach_the_cache_ends_in_time(clock: Clock, first: Process) -> None:
    with leading(first) as term:
        ended = Event()
        term.on_end = ended.set

        def fails(_token: str) -> None:
            clock.now += 5
            raise CacheError("cache x: unreachable")

        first.leases.take = fails  # type: ignore[assignment,method-assign]
        assert ended.wait(60)
        assert first.said[-1] == "this process leads no longer: cache x: unreachable"


def test_a_leader_that_is_of_no_use_gives_way_for_a_while(
    cache: Cache, clock: Clock, first: Process, second: Process
) -> None:
    with leading(first) as term:
        ended = Event()
        term.on_end = ended.set
        term.why_give_way = lambda: "no answer"
        assert ended.wait(60)
        assert first.said[-1] == "this process leads no longer: no answer"
    assert read_lease(cache, TABLE) is None
    assert first.look() is None
    clock.now += 10
    assert first.look() is not None, "if no other process has taken over"
    assert second.look() is None


def test_a_process_that_stands_by_is_ready_while_it_could_take_over(
    first: Process, second: Process
) -> None:
    def fails() -> NoReturn:
        raise CacheError("cache x: it refuses")

    halt = Event()
    term = first.look()
    thread = threading.Thread(target=second.leadership.wait, args=(halt,))
    thread.start()
    try:
        wait_until(lambda: second.leadership.leader == "a:1")
        assert second.leadership.why_not_standing_by() is None
        second.leases.read = fails  # type: ignore[method-assign]
        wait_until(second.leadership.why_not_standing_by)
        assert "the lease cannot be read" in str(second.leadership.why_not_standing_by())
        assert second.leadership.role == "the leader is unknown"
    finally:
        halt.set()
        thread.join()
    assert term is not None
    assert second.said == ["this process stands by: a:1 leads"]


def test_only_the_holder_of_the_lease_saves_checkpoints(
    cache: Cache, first: Process, second: Process
) -> None:
    term = first.look()
    assert term is not None
    old = Checkpoints(cache, STREAM, token=term.token)
    old.save("s", Checkpoint("1"))
    assert first.leases.release(term.token)
    successor = second.look()
    assert successor is not None
    new = Checkpoints(cache, STREAM, token=successor.token)
    new.save("s", Checkpoint("7"))
    with pytest.raises(CacheError, match="does not hold the lease of table users"):
        old.save("s", Checkpoint("2"))
    with pytest.raises(CacheError, match="does not hold the lease of table users"):
        old.forget("s")
    assert new.load() == {"s": Checkpoint("7")}
    new.forget("s")
    assert new.load() == {}


def records(count: int) -> list[dict[str, Any]]:
    """Return records of one shard."""
    return [
        {"dynamodb": {"SequenceNumber": str(number), "Keys": {"id": {"S": str(number)}}}}
        for number in range(1, count + 1)
    ]


def test_a_process_whose_term_has_ended_delivers_no_batch_more(clock: Clock) -> None:
    term = Term("t", clock.now + 5, clock)
    batches: list[int] = []
    times: list[int] = []

    def function(event: Any, context: Any) -> dict[str, Any]:
        batches.append(len(event["Records"]))
        times.append(context.get_remaining_time_in_millis())
        clock.now += 3  # paused, in the second batch for longer than the lease
        times.append(context.get_remaining_time_in_millis())
        return {}

    stop = Event()
    invoker = Invoker(
        function, EventSourceMapping(batch_size=10), stop, clock=clock, remaining=term.remaining
    )
    assert not invoker.deliver(records(50))
    assert batches == [10, 10]
    assert times == [5000, 2000, 2000, 0], "and the function knows it within a batch"
    assert stop.is_set()


def test_without_a_lease_there_is_no_limit() -> None:
    invoker = Invoker(lambda _event, _context: {}, EventSourceMapping(), Event())
    assert invoker.deliver(records(3))
    assert invoker._remaining() == inf
