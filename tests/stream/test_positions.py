"""Positions are kept in the cache, for each stream apart."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import STREAM_ARN
from dynamirror.cache import Cache
from dynamirror.key import RESERVED
from dynamirror.stream.positions import Position, Positions

NEWER_ARN = STREAM_ARN.replace("2026-01-02", "2026-01-03")

positions = st.builds(
    Position,
    after=st.none() | st.integers(1, 10**40 - 1).map(str),
    finished=st.booleans(),
    created=st.none() | st.floats(0, 1e10),
)


# Each example has all shards it saves in its own stream, so that no fixture need be reset.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(saved=st.lists(st.tuples(st.text("ab-", min_size=1), positions), max_size=8))
def test_what_was_saved_last_is_loaded(cache: Cache, saved: list[tuple[str, Position]]) -> None:
    cache.broadcast(b"FLUSHALL")
    for shard_id, position in saved:
        Positions(cache, STREAM_ARN).save(shard_id, position)
    assert Positions(cache, STREAM_ARN).load() == dict(saved)


def test_a_new_stream_begins_anew(cache: Cache) -> None:
    Positions(cache, STREAM_ARN).save("shard", Position("100"))
    assert Positions(cache, NEWER_ARN).load() == {}
    Positions(cache, NEWER_ARN).save("shard", Position("7"))
    assert Positions(cache, STREAM_ARN).load() == {"shard": Position("100")}


def test_two_tables_are_kept_apart(cache: Cache) -> None:
    Positions(cache, STREAM_ARN).save("shard", Position("100"))
    assert Positions(cache, STREAM_ARN.replace("users", "orders")).load() == {}


def test_they_are_kept_under_our_own_name(cache: Cache) -> None:
    Positions(cache, STREAM_ARN).save("shard", Position("100"))
    (key,) = cache.scan("*")
    assert key.decode().startswith(RESERVED)


def test_they_are_lost_with_the_cache(cache: Cache) -> None:
    Positions(cache, STREAM_ARN).save("shard", Position("100"))
    cache.broadcast(b"FLUSHALL")
    assert Positions(cache, STREAM_ARN).load() == {}
