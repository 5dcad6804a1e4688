"""Positions are kept in the cache, for each stream apart."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.builders import STREAM_ARN
from tests.support.scans import keys_in

from dynamirror.cache.checkpoints import Checkpoint, Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.views.keyspace import RESERVED

NEWER_ARN = STREAM_ARN.replace("2026-01-02", "2026-01-03")

positions = st.builds(
    Checkpoint,
    after=st.none() | st.integers(1, 10**40 - 1).map(str),
    finished=st.booleans(),
    created=st.none() | st.floats(0, 1e10),
    since=st.none() | st.floats(0, 1e10),
    latest=st.booleans(),
)


# Each example has all shards it saves in its own stream, so that no fixture need be reset.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(saved=st.lists(st.tuples(st.text("ab-", min_size=1), positions), max_size=8))
def test_what_was_saved_last_is_loaded(cache: Cache, saved: list[tuple[str, Checkpoint]]) -> None:
    cache.broadcast(b"FLUSHALL")
    for shard_id, position in saved:
        Checkpoints(cache, STREAM_ARN).save(shard_id, position)
    assert Checkpoints(cache, STREAM_ARN).load() == dict(saved)


def test_a_new_stream_begins_anew(cache: Cache) -> None:
    Checkpoints(cache, STREAM_ARN).save("shard", Checkpoint("100"))
    assert Checkpoints(cache, NEWER_ARN).load() == {}
    Checkpoints(cache, NEWER_ARN).save("shard", Checkpoint("7"))
    assert Checkpoints(cache, STREAM_ARN).load() == {"shard": Checkpoint("100")}


def test_two_tables_are_kept_apart(cache: Cache) -> None:
    Checkpoints(cache, STREAM_ARN).save("shard", Checkpoint("100"))
    assert Checkpoints(cache, STREAM_ARN.replace("users", "orders")).load() == {}


def test_they_are_kept_under_our_own_name(cache: Cache) -> None:
    Checkpoints(cache, STREAM_ARN).save("shard", Checkpoint("100"))
    (key,) = keys_in(cache, "*")
    assert key.decode().startswith(RESERVED)


def test_they_are_lost_with_the_cache(cache: Cache) -> None:
    Checkpoints(cache, STREAM_ARN).save("shard", Checkpoint("100"))
    cache.broadcast(b"FLUSHALL")
    assert Checkpoints(cache, STREAM_ARN).load() == {}


def test_what_was_stored_before_there_were_more_fields_is_read(cache: Cache) -> None:
    positions = Checkpoints(cache, STREAM_ARN)
    for name, text in (
        ("a", b'{"after":"12","finished":false,"created":1790000000.0}'),
        ("b", b'{"after":null,"finished":true,"created":null}'),
        ("c", b'{"after":"7","finished":true}'),
    ):
        cache.call(positions.key, b"HSET", positions.key.encode(), name.encode(), text)
    assert positions.load() == {
        "a": Checkpoint("12", created=1_790_000_000.0),
        "b": Checkpoint(finished=True),
        "c": Checkpoint("7", finished=True),
    }


def test_one_that_is_forgotten_is_gone(cache: Cache) -> None:
    positions = Checkpoints(cache, STREAM_ARN)
    positions.save("a", Checkpoint("1"))
    positions.save("b", Checkpoint("2"))
    positions.forget("a")
    positions.forget("a")
    assert positions.load() == {"b": Checkpoint("2")}
