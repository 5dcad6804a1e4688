"""Several `run --ha` on one mirror: killed, paused and stopped under writes."""

import random
import signal
from collections.abc import Iterator
from threading import Timer
from uuid import uuid4

import pytest
from chaos.availability import Watch, Writer
from chaos.replicas import LEASE_SECONDS, Place
from tests.support.deadlines import wait_until
from tests.support.processes import linux_only

from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey


@pytest.fixture
def place(dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache) -> Iterator[Place]:
    """Return a table and an empty cache, with two processes that share the mirror."""
    with Place(dynamodb, valkey, cache, f"t-{uuid4().hex[:12]}") as place:
        place.start()
        place.start()
        wait_until(lambda: all(each.address for each in place.replicas))
        yield place


@linux_only
def test_a_process_that_is_stopped_while_it_is_paused_ends_when_it_wakes(place: Place) -> None:
    leader = place.new_leader()
    leader.pause()
    Timer(0.2, leader.wake).start()
    assert place.end(leader, signal.SIGTERM) == 0


@linux_only
def test_a_mirror_outlives_its_leaders(place: Place) -> None:
    with Watch(place) as watch, Writer(place, random.Random(7)) as writer:
        first = place.new_leader()
        (second,) = (each for each in place.replicas if each is not first)
        pid = f":{first.process.pid} leads"
        wait_until(lambda: second.health("/readyz")[0] == 200)
        for path, word in (("/livez", "live"), ("/readyz", "ready")):
            text = second.health(path)[1]
            assert text.startswith(f"{word}; standby: ")
            assert text.endswith(pid)

        # A paused leader wakes after another took over: it does not lead, and can take over again.
        first.pause()
        assert place.new_leader(first) is second
        first.wake()
        wait_until(lambda: "standby" in first.health("/readyz")[1])
        wait_until(lambda: "this process stands by: " in "\n".join(first.lines))

        # A process that is stopped hands over at once.
        assert place.end(second, signal.SIGTERM) == 0
        assert place.new_leader() is first

        # A killed leader is replaced by a process that started meanwhile.
        third = place.start()
        wait_until(lambda: third.address)
        place.end(first, signal.SIGKILL)
        assert place.new_leader() is third
    assert writer.written > 0
    assert place.settled() == 0
    assert watch.asked > 0
    assert watch.overlap <= LEASE_SECONDS
    assert watch.backward == 0
