"""The Lua verbs, run by a real Valkey."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.scans import keys_in

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import DELETE, PUT, PUT_HASH, Command, Script
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.records.version import ChangeVersion, SnapshotVersion, Version, parse, supersedes
from dynamirror.views.encoding import pack_fields
from dynamirror.views.keyspace import fence_key

TTL = 93_600
NEW, OLD = ChangeVersion(1, 2, 1), ChangeVersion(1, 1, 1)
VERBS = (PUT, PUT_HASH, DELETE)
# Sequence numbers that a double cannot tell apart.
HUGE = 4_981_237_498_123_749_812_374_981_237_498_123_749_810
assert len(str(HUGE)) == 40
assert float(HUGE) == float(HUGE + 9)

changes = st.builds(
    ChangeVersion,
    epoch=st.sampled_from([0, 9, 10, 1_767_323_045_678, 1_767_323_045_679, 10**13 - 1]),
    sequence=st.one_of(st.integers(HUGE, HUGE + 9), st.integers(0, 11), st.integers(0, 10**40 - 1)),
    created=st.one_of(st.integers(98, 102), st.integers(0, 10**10 - 1)),
)
rows = st.builds(SnapshotVersion, st.one_of(st.integers(98, 102), st.integers(0, 10**10 - 1)))
versions = st.one_of(changes, rows)
writes = st.lists(st.tuples(st.sampled_from(VERBS), versions), min_size=2, max_size=6)
fresh = map("entry-{}".format, count())


@pytest.fixture(scope="module")
def store(valkey: EmbeddedValkey) -> Iterator[Cache]:
    """The cluster, kept through all examples of a property."""
    cache = Cache(valkey.settings())
    cache.broadcast(b"FLUSHALL")
    yield cache
    cache.close()


def value_of(script: Script, value: bytes) -> tuple[bytes, ...]:
    """The arguments that carry a value to a verb."""
    if script is PUT:
        return (value,)
    return (pack_fields({b"field": value}),) if script is PUT_HASH else ()


def call(key: str, script: Script, version: Version, *value: bytes) -> Command:
    """A call of a verb as the replicator makes it."""
    return script.command(key.encode(), fence_key(key).encode(), str(version), TTL, *value)


def held(cache: Cache, key: str) -> object:
    """What an entry holds."""
    kind = cache.call(key, b"TYPE", key)
    if kind == b"hash":
        flat = cache.call(key, b"HGETALL", key)
        return dict(zip(flat[::2], flat[1::2], strict=True))
    return cache.call(key, b"GET", key)


def expected(script: Script, value: bytes) -> object:
    """What an entry holds after a verb."""
    return {PUT: value, PUT_HASH: {b"field": value}, DELETE: None}[script]


@settings(max_examples=300)
@given(history=writes)
@example(history=[(PUT, ChangeVersion(1, HUGE + 1, 5)), (PUT, ChangeVersion(1, HUGE, 9))])
@example(history=[(PUT, ChangeVersion(1, HUGE, 5)), (DELETE, ChangeVersion(1, HUGE + 1, 5))])
@example(history=[(PUT, ChangeVersion(9, 2, 5)), (PUT, ChangeVersion(10, 1, 5))])
@example(history=[(PUT, SnapshotVersion(100)), (PUT_HASH, ChangeVersion(1, 1, 99))])
@example(history=[(PUT, SnapshotVersion(100)), (PUT_HASH, ChangeVersion(1, 1, 100))])
@example(history=[(PUT, ChangeVersion(1, 1, 99)), (DELETE, SnapshotVersion(100))])
@example(history=[(PUT, ChangeVersion(1, 1, 100)), (DELETE, SnapshotVersion(100))])
@example(
    history=[(PUT, SnapshotVersion(9)), (PUT, SnapshotVersion(10)), (PUT, SnapshotVersion(10))]
)
def test_lua_and_python_agree_on_what_supersedes_what(
    store: Cache, history: list[tuple[Script, Version]]
) -> None:
    key = next(fresh)
    fence: Version | None = None
    value: object = None
    outcomes = []
    for index, (script, version) in enumerate(history):
        wins = supersedes(version, fence)
        outcomes.append(b"applied" if wins else b"stale")
        if wins:
            fence, value = version, expected(script, b"%d" % index)

    answers = store.execute(
        call(key, script, version, *value_of(script, b"%d" % index))
        for index, (script, version) in enumerate(history)
    )

    assert answers == outcomes
    assert held(store, key) == value
    assert parse(store.call(key, b"GET", fence_key(key)).decode()) == fence


@pytest.mark.parametrize("script", VERBS, ids=lambda script: script.name)
def test_a_fence_is_kept_as_long_as_asked(cache: Cache, script: Script) -> None:
    cache.execute([call("k", script, NEW, *value_of(script, b"v"))])
    assert TTL - 3600 < cache.call("k", b"TTL", fence_key("k")) <= TTL


@pytest.mark.parametrize("script", [PUT, PUT_HASH], ids=lambda script: script.name)
def test_an_entry_itself_does_not_expire(cache: Cache, script: Script) -> None:
    cache.call("k", b"SET", "k", b"of someone else", b"EX", 100)
    cache.execute([call("k", script, NEW, *value_of(script, b"v"))])
    assert cache.call("k", b"TTL", "k") == -1


def test_a_stale_write_leaves_the_fence_its_old_time(cache: Cache) -> None:
    cache.execute([call("k", PUT, NEW, b"v")])
    cache.call("k", b"EXPIRE", fence_key("k"), 100)
    assert cache.execute([call("k", PUT, OLD, b"w")]) == [b"stale"]
    assert cache.call("k", b"TTL", fence_key("k")) <= 100


def test_a_delete_removes_the_entry_and_leaves_its_fence(cache: Cache) -> None:
    answers = cache.execute([call("k", PUT, OLD, b"v"), call("k", DELETE, NEW)])
    assert answers == [b"applied", b"applied"]
    assert cache.call("k", b"EXISTS", "k") == 0
    assert cache.call("k", b"GET", fence_key("k")) == str(NEW).encode()


def test_a_deleted_entry_does_not_come_back_by_an_older_put(cache: Cache) -> None:
    answers = cache.execute([call("k", DELETE, NEW), call("k", PUT, OLD, b"v")])
    assert answers == [b"applied", b"stale"]
    assert cache.call("k", b"EXISTS", "k") == 0


OCCUPANTS: dict[str, tuple[bytes, ...]] = {
    "string": (b"SET", b"k", b"x"),
    "hash": (b"HSET", b"k", b"left over", b"x"),
    "list": (b"RPUSH", b"k", b"x"),
    "set": (b"SADD", b"k", b"x"),
    "zset": (b"ZADD", b"k", b"1", b"x"),
    "stream": (b"XADD", b"k", b"*", b"left over", b"x"),
}


@pytest.mark.parametrize("kind", OCCUPANTS)
@pytest.mark.parametrize("script", VERBS, ids=lambda script: script.name)
def test_an_entry_of_any_type_gives_way(cache: Cache, script: Script, kind: str) -> None:
    cache.call("k", *OCCUPANTS[kind])
    assert cache.execute([call("k", script, NEW, *value_of(script, b"v"))]) == [b"applied"]
    assert held(cache, "k") == expected(script, b"v")


def test_a_hash_replaces_all_fields(cache: Cache) -> None:
    first, second = pack_fields({b"a": b"1", b"b": b"2"}), pack_fields({b"b": b"3"})
    cache.execute([call("k", PUT_HASH, OLD, first), call("k", PUT_HASH, NEW, second)])
    assert held(cache, "k") == {b"b": b"3"}


@pytest.mark.parametrize(("before", "after"), [(12_000, 1), (1, 12_000), (12_000, 11_999)])
def test_a_hash_of_any_size_gives_way_to_one_of_any_size(
    cache: Cache, before: int, after: int
) -> None:
    old = {b"field-%d" % number: b"old" for number in range(before)}
    new = {b"field-%d" % number: b"new" for number in range(before - 1, before - 1 + after)}
    cache.execute([call("k", PUT_HASH, OLD, pack_fields(old))])
    assert cache.execute([call("k", PUT_HASH, NEW, pack_fields(new))]) == [b"applied"]
    assert held(cache, "k") == new


@pytest.mark.parametrize("until", ["", "4102444800", "1"])
def test_an_earlier_expiry_of_a_hash_is_replaced(cache: Cache, until: str) -> None:
    fields = pack_fields({b"a": b"1"})
    cache.execute([call("k", PUT_HASH, OLD, fields, b"4102444000")])
    assert cache.execute([call("k", PUT_HASH, NEW, fields, until.encode())]) == [b"applied"]
    expected = {"": -1, "4102444800": 4_102_444_800, "1": -2}[until]
    assert cache.call("k", b"EXPIRETIME", "k") == expected


@pytest.mark.parametrize("withheld", ["set", "hkeys", "hset", "hdel", "persist", "expireat"])
def test_a_hash_is_never_lost_by_a_command_withheld(
    cache: Cache, open_with_acl: Callable[..., Cache], withheld: str
) -> None:
    """What is there may be of two versions; the fence does not pretend that it is the newer."""
    until = b"4102444800" if withheld == "expireat" else b""
    fields = pack_fields({b"b": b"3", b"c": b"4"})
    cache.execute([call("k", PUT_HASH, OLD, pack_fields({b"a": b"1", b"b": b"2"}))])
    confined = open_with_acl("~*", "+@all", f"-{withheld}")
    (answer,) = confined.execute([call("k", PUT_HASH, NEW, fields, until)])
    assert isinstance(answer, Failure)
    assert cache.call("k", b"HEXISTS", "k", b"b") == 1
    assert cache.call("k", b"GET", fence_key("k")) == str(OLD).encode()
    assert cache.execute([call("k", PUT_HASH, NEW, fields, until)]) == [b"applied"]
    assert held(cache, "k") == {b"b": b"3", b"c": b"4"}
    assert cache.call("k", b"GET", fence_key("k")) == str(NEW).encode()


@pytest.mark.parametrize("size", [1, 499, 500, 501, 5_000])
def test_a_hash_of_any_size_is_written_whole(cache: Cache, size: int) -> None:
    fields = {b"field-%d" % number: b"value-%d" % number for number in range(size)}
    assert cache.execute([call("k", PUT_HASH, NEW, pack_fields(fields))]) == [b"applied"]
    assert held(cache, "k") == fields


@pytest.mark.parametrize("size", [0, 31, 32, 255, 256, 65_535, 65_536, 400_000])
def test_bytes_of_any_kind_and_length_arrive_as_they_are(cache: Cache, size: int) -> None:
    value = (bytes(range(256)) * (size // 256 + 1))[:size]
    cache.execute(
        [call("s", PUT, NEW, value), call("h", PUT_HASH, NEW, pack_fields({b"\0\xff": value}))]
    )
    assert held(cache, "s") == value
    assert held(cache, "h") == {b"\0\xff": value}


@pytest.mark.parametrize("script", VERBS, ids=lambda script: script.name)
@pytest.mark.parametrize("held_before", [None, OLD, SnapshotVersion(1), ChangeVersion(9, 9, 9)])
@pytest.mark.parametrize("key", ["k", "user:{a}:b"])
def test_a_verb_touches_nothing_but_its_two_keys(
    cache: Cache,
    open_with_acl: Callable[..., Cache],
    script: Script,
    held_before: Version | None,
    key: str,
) -> None:
    # The server itself refuses this user every other key, inside scripts as well.
    confined = open_with_acl("resetkeys", f"~{key}", f"~{fence_key(key)}", "+@all")
    if held_before is not None:
        cache.execute([call(key, PUT, held_before, b"before")])
    fields = value_of(script, b"v")
    (answer,) = confined.execute([call(key, script, NEW, *fields)])
    assert answer == (b"applied" if supersedes(NEW, held_before) else b"stale")
    assert set(keys_in(cache, "*")) <= {key.encode(), fence_key(key).encode()}


@pytest.fixture
def open_with_acl(
    valkey: EmbeddedValkey,
    cache: Cache,
    open_cache: Callable[..., Cache],
    password_file: Callable[[str], str],
) -> Iterator[Callable[..., Cache]]:
    """Connect as a user who may do only what the rules say."""

    def open_(*rules: str) -> Cache:
        cache.broadcast(b"ACL", b"SETUSER", "confined", "reset", "on", ">secret", *rules)
        return open_cache(valkey.settings(user="confined", password_file=password_file("secret")))

    yield open_
    cache.broadcast(b"ACL", b"DELUSER", "confined")


@pytest.fixture
def full(cache: Cache) -> Iterator[Cache]:
    """The cache, out of memory after an entry and its fence were written."""
    cache.execute([call("k", PUT, OLD, b"before")])
    cache.broadcast(b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction", b"maxmemory", b"1")
    yield cache
    cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")


@pytest.mark.parametrize("script", [PUT, PUT_HASH], ids=lambda script: script.name)
def test_a_full_cache_refuses_a_write_whole(full: Cache, script: Script) -> None:
    (answer,) = full.execute([call("k", script, NEW, *value_of(script, b"v"))])
    assert "used memory > 'maxmemory'" in answer.reason
    assert held(full, "k") == b"before"
    assert full.call("k", b"GET", fence_key("k")) == str(OLD).encode()


def test_a_full_cache_leaves_a_hash_as_it_is(cache: Cache) -> None:
    cache.execute([call("k", PUT_HASH, OLD, pack_fields({b"a": b"1", b"b": b"2"}))])
    cache.broadcast(b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction", b"maxmemory", b"1")
    try:
        (answer,) = cache.execute([call("k", PUT_HASH, NEW, pack_fields({b"b": b"3"}))])
    finally:
        cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")
    assert "used memory > 'maxmemory'" in answer.reason
    assert held(cache, "k") == {b"a": b"1", b"b": b"2"}
    assert cache.call("k", b"GET", fence_key("k")) == str(OLD).encode()


def test_a_full_cache_can_still_be_emptied(full: Cache) -> None:
    assert full.execute([call("k", DELETE, NEW)]) == [b"applied"]
    assert full.call("k", b"EXISTS", "k") == 0
    assert full.call("k", b"GET", fence_key("k")) == str(NEW).encode()
