"""Rebuild, verify and redrive meet what the cache refuses for good, and end."""

from collections.abc import Iterator

import pytest
from tests.support.serverless import LONGEST, Serverless
from tests.support.world import FENCE_TTL, World

from dynamirror.cache.client import Cache
from dynamirror.cache.quarantine import read_quarantine
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.recovery.redrive import Outcome, redrive
from dynamirror.settings import Settings
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import ViewSpec

LONG = "%" * 1400


@pytest.fixture
def behind_limit(single_valkey: EmbeddedValkey) -> Iterator[Cache]:
    """A cache that takes no longer keys than ElastiCache Serverless, empty."""
    with Serverless(single_valkey.port) as proxy:
        cache = Cache(Settings(host="127.0.0.1", port=proxy.port, tls=False))
        cache.broadcast(b"FLUSHALL")
        yield cache
        cache.close()


@pytest.mark.parametrize("known", [True, False])
def test_a_mirror_with_a_key_too_long_becomes_complete_and_true(
    dynamodb: EmbeddedDynamoDB, behind_limit: Cache, *, known: bool
) -> None:
    """Whether the settings name the limit or only the cache has it."""
    spec = ViewSpec(max_key_bytes=LONGEST if known else None)
    items = [{"id": {"S": LONG}}, *({"id": {"S": str(n)}} for n in range(20))]
    world = World(dynamodb, behind_limit, spec, items=items)
    with world.stack:
        ((loaded,), _swept) = world.rebuilt()
        assert world.marker.is_complete
        assert (loaded.applied, loaded.quarantined) == (20, 1)
        (listed,) = read_quarantine(behind_limit, world.table)
        assert ("takes no more than 4," if known else "max key size") in listed.note.reason
        result = world.verify(repair=True)
        assert result.is_true
        assert result.unmappable == 1

        def redriven() -> Outcome:
            # A row that is read now holds what the clock stamped in this second, too.
            world_reader = SnapshotReader(world.client, world.table, margin=-2)
            listed = read_quarantine(behind_limit, world.table)
            (outcome,) = redrive(
                behind_limit, world.views, world_reader, listed, fence_ttl=FENCE_TTL
            )
            return outcome.outcome

        assert redriven() is Outcome.POISON
        world.delete(LONG)
        assert redriven() is Outcome.HEALED, "where no item is, no entry is missing"


def test_a_fence_that_is_not_ours_blocks_no_rebuild_until_it_is_gone(
    dynamodb: EmbeddedDynamoDB, cache: Cache
) -> None:
    world = World(dynamodb, cache, items=[{"id": {"S": str(n)}} for n in range(20)])
    with world.stack:
        world.rebuilt()
        fence = fence_key(f"{world.table}:7")
        cache.call(fence, b"UNLINK", fence)
        cache.call(fence, b"HSET", fence, b"theirs", b"1")
        world.rebuilt()
        assert world.marker.is_complete
        assert cache.call(f"{world.table}:7", b"GET", f"{world.table}:7".encode()) is None
        assert world.verify(repair=True).unmappable == 1
        (listed,) = read_quarantine(cache, world.table)
        assert "WRONGTYPE" in listed.note.reason
        cache.call(fence, b"UNLINK", fence)
        reader = SnapshotReader(world.client, world.table, margin=-2)
        (outcome,) = redrive(cache, world.views, reader, [listed], fence_ttl=FENCE_TTL)
        assert outcome.outcome is Outcome.HEALED
        assert world.compare().is_true
