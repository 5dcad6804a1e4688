"""Whatever is asked, the mirror answers as the table does, or the table is asked.

CONFORMANCE_CALLS is the number of calls in each state of the mirror (`make conformance`).
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import pytest
from tests.support.conformance import Fleet, compare_reader, compare_wire, fleet
from tests.support.generated_expressions import Requests
from tests.support.generated_reads import Reads
from tests.support.mirrored import ARN, MakeMirrored

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_gap
from dynamirror.cache.scripts import Command
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.reader.guarded_cache import GuardedCache
from dynamirror.reader.mirrors import OnMiss
from dynamirror.reader.steps import Reason
from dynamirror.views.keyspace import fence_key

CALLS = int(os.environ.get("CONFORMANCE_CALLS", "60"))
SEED = int(os.environ.get("CONFORMANCE_SEED", "17"))


class Disturbed(GuardedCache):
    """A cache in which something happens between two exchanges of a read."""

    disturb: Callable[[], None]

    def ask(self, command: Command) -> Any:
        self.disturb()
        return super().ask(command)

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        self.disturb()
        return super().execute(commands)


@pytest.fixture
def requests(dynamodb: EmbeddedDynamoDB) -> Iterator[Requests]:
    """Requests to the table itself."""
    requests = Requests(dynamodb.endpoint_url)
    yield requests
    requests.close()


@pytest.fixture
def given(make: MakeMirrored, requests: Requests) -> Fleet:
    """Tables of each kind, mirrored."""
    return fleet(make, requests, SEED)


def reads(given: Fleet) -> Reads:
    """Reads of all kinds."""
    return Reads(Random(SEED), given.tables, index=True)


def guarded(given: Fleet) -> GuardedCache:
    """The cache."""
    return GuardedCache(given.worlds[0].cache, failures=3, pause=5)


@pytest.mark.parametrize("on_miss", ["table", "absent"])
def test_a_complete_mirror_answers_as_the_table_does(given: Fleet, on_miss: OnMiss) -> None:
    tally = compare_wire(given, given.mirrors(on_miss), guarded(given), reads(given), CALLS)
    assert tally.answered["Query"] > CALLS / 4
    assert tally.answered["GetItem"] > CALLS / 20
    assert tally.answered["BatchGetItem"] > 0
    known = {Reason.CONSISTENT, Reason.NOT_UNDERSTOOD}
    assert tally.passed.keys() <= known | ({Reason.MISSING} if on_miss == "table" else set())


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_reader_answers_as_boto3_does(given: Fleet, *, is_complete: bool) -> None:
    worlds = {world.name: world for world in given.worlds}
    readers = {name: world.reader(view="plain", on_miss="absent") for name, world in worlds.items()}
    for world in given.worlds:
        if not is_complete:
            world.is_incomplete()
    tally = compare_reader(readers, worlds, reads(given), CALLS)
    assert tally.answered["Query cache"] > CALLS / 4 if is_complete else True
    assert is_complete or not tally.answered["Query cache"]


def test_an_incomplete_mirror_answers_nothing(given: Fleet) -> None:
    mirrors, cache = given.mirrors(), guarded(given)
    compare_wire(given, mirrors, cache, reads(given), CALLS // 4)
    for world in given.worlds:
        world.is_incomplete()
    tally = compare_wire(given, mirrors, cache, reads(given), CALLS)
    assert not tally.answered
    assert Reason.INCOMPLETE in tally.passed


def test_what_happens_during_a_read_never_shows_in_an_answer(given: Fleet) -> None:
    """The cache loses its data, changes are lost, and rebuilds end, between any two exchanges."""
    random, clock = Random(SEED), iter(range(2 * 10**9, 9 * 10**9, 10))
    items = {world.name: given.tables[world.name].items for world in given.worlds}
    happened: Counter[str] = Counter()

    def disturb() -> None:
        what = random.choices(["nothing", "flush", "gap", "rebuild"], [6, 1, 1, 2])[0]
        happened[what] += 1
        match what:
            case "flush":
                given.worlds[0].cache.broadcast(b"FLUSHALL")
            case "gap":
                # Changes are lost: what the cache holds is no longer the table's.
                lost(random.choice(given.worlds))
            case "rebuild":
                world = random.choice(given.worlds)
                world.mirror_items(items[world.name])
                world.is_complete(next(clock))

    def lost(world: Any) -> None:
        record_gap(world.cache, world.views, stream=ARN, at=next(clock), reason="for a test")
        gone = random.sample(items[world.name], 3)
        for view in world.views:
            for key in filter(None, map(view.render, gone)):
                for name in (key, fence_key(key)):
                    world.cache.call(name, b"UNLINK", name)

    cache = Disturbed(given.worlds[0].cache, failures=3, pause=5)
    cache.disturb = disturb
    tally = compare_wire(given, given.mirrors(), cache, reads(given), CALLS)
    assert tally.answered.total() > CALLS / 20
    assert Reason.INCOMPLETE in tally.passed


def test_expired_entries_are_looked_for_in_the_table(
    make: MakeMirrored, requests: Requests
) -> None:
    given = fleet(make, requests, SEED, ttl="expires")
    tally = compare_wire(given, given.mirrors(), guarded(given), reads(given), CALLS)
    assert tally.passed[Reason.MISSING] > 0
    assert tally.answered.total() > CALLS / 20


def test_a_cache_that_hangs_answers_nothing_and_a_reader_goes_on(given: Fleet) -> None:
    with EmbeddedValkey(cluster=False) as server:
        settings = server.settings(timeout=0.3)
        cache = Cache(settings)
        for world in given.worlds:
            world.cache = cache
            world.mirror_items(given.tables[world.name].items)
            world.is_complete()
        worlds = {world.name: world for world in given.worlds}
        options: Any = {"view": "plain", "settings": settings, "pause": 60}
        readers = {name: world.reader(**options) for name, world in worlds.items()}
        mirrors, shielded = given.mirrors(), GuardedCache(cache, failures=3, pause=60)
        assert compare_wire(given, mirrors, shielded, reads(given), CALLS // 4).answered
        cache.broadcast(b"CLIENT", b"PAUSE", b"600000", b"ALL")
        tally = compare_wire(given, mirrors, shielded, reads(given), CALLS)
        assert not tally.answered
        assert Reason.DOWN in tally.passed
        tally = compare_reader(readers, worlds, reads(given), CALLS)
        assert not tally.answered["Query cache"]
        cache.close()
