"""The cache answers, but will not: it forgot the scripts, is full, read-only or loading."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.deadlines import wait_until
from tests.support.mirroring import Mirror, Table, entries, number

from dynamirror.cache.client import Cache
from dynamirror.cache.pipeline import CHUNK
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.settings import Settings
from dynamirror.views.encoding import HASH
from dynamirror.views.view import ViewSpec

OpenCache = Callable[[Settings], Cache]
IDS = [str(number) for number in range(4 * CHUNK)]
LAYOUTS = pytest.mark.parametrize(
    "spec", [ViewSpec(), ViewSpec(encoding=HASH)], ids=["json", "hash"]
)


@LAYOUTS
def test_scripts_forgotten_between_and_during_batches_cost_nothing(
    single: Cache, spec: ViewSpec
) -> None:
    mirror, table = Mirror(single, spec), Table()

    def forget() -> None:
        assert single.broadcast(b"SCRIPT", b"FLUSH", b"SYNC") == [b"OK"]

    for at in (1, CHUNK, CHUNK + 1, 2 * CHUNK + 17, 4 * CHUNK):
        forget()
        records = [*table.puts(IDS, name=str(at)), table.delete(IDS[at - 1])]
        assert mirror.deliver(records, during={at: forget}) is None
    assert entries(single) == table.shown()


@contextmanager
def memory(cache: Cache, limit: int) -> Iterator[None]:
    """So many bytes must do, and nothing is evicted."""
    policy = (b"maxmemory-policy", b"noeviction")
    cache.broadcast(b"CONFIG", b"SET", *policy, b"maxmemory", limit)
    try:
        yield
    finally:
        cache.broadcast(b"CONFIG", b"SET", b"maxmemory", 0)


def used(cache: Cache) -> int:
    """Bytes in use."""
    (info,) = cache.broadcast(b"INFO", b"memory")
    return int(next(line for line in info.split() if line.startswith(b"used_memory:"))[12:])


@LAYOUTS
def test_a_full_cache_still_deletes_and_takes_what_there_is_room_for_then(
    single: Cache, spec: ViewSpec
) -> None:
    mirror, table = Mirror(single, spec), Table()
    large, rows = "x" * 40_000, IDS[:100]
    assert mirror.deliver(table.puts(rows, name=large)) is None
    first, deletes = table.put("a", name="small"), list(map(table.delete, rows[:50]))
    records = [first, *deletes, *table.puts(rows[50:], name="small")]
    with memory(single, 1):
        assert mirror.deliver(records) == number(first)
        assert mirror.reports[-1].applied == len(deletes)
        assert {trouble.entry.key for trouble in mirror.reports[-1].failed} == {
            f"users:{item_id}" for item_id in ("a", *rows[50:])
        }
        assert mirror.reasons == {"command not allowed when used memory > 'maxmemory'"}
        left = entries(single)
        assert set(left) == {f"users:{item_id}" for item_id in rows[50:]}
        assert all(image["name"] == large for image in left.values())
    mirror.deliver_again(records, number(first))
    assert entries(single) == table.shown()


def test_what_a_full_cache_deletes_makes_room_for_what_it_refused(single: Cache) -> None:
    mirror, table = Mirror(single), Table()
    rows = IDS[:100]
    assert mirror.deliver(table.puts(rows, name="x" * 40_000)) is None
    records = [table.put("a", name="small"), *map(table.delete, rows)]
    with memory(single, used(single) - 1_000_000):
        assert mirror.deliver(records) == number(records[0])
        mirror.deliver_again(records, number(records[0]))  # with no more memory than before
        assert entries(single) == {"users:a": {"id": "a", "name": "small"}} == table.shown()


def test_a_replica_takes_no_writes_until_it_is_the_primary(open_cache: OpenCache) -> None:
    with EmbeddedValkey(cluster=False) as primary, EmbeddedValkey(cluster=False) as other:
        table = Table()
        before = Mirror(open_cache(primary.settings()))
        assert before.deliver(table.puts(IDS, name="old")) is None
        cache = open_cache(other.settings())
        cache.broadcast(b"CONFIG", b"SET", b"repl-diskless-load", b"swapdb")
        open_cache(primary.settings()).broadcast(
            b"CONFIG", b"SET", b"repl-diskless-sync-delay", 0, b"shutdown-timeout", 0
        )
        cache.broadcast(b"REPLICAOF", b"127.0.0.1", primary.port)
        # Each entry has a fence, and the mirror a marker.
        wait_until(lambda: cache.broadcast(b"DBSIZE") == [2 * len(IDS) + 1])

        mirror = Mirror(cache)
        records = [*table.puts(IDS[1:], name="new"), table.delete(IDS[0])]
        assert mirror.deliver(records) == number(records[0])
        assert mirror.reports[-1].applied == 0
        assert mirror.reasons == {
            f"127.0.0.1:{other.port}: You can't write against a read only replica"
        }
        cache.broadcast(b"REPLICAOF", b"NO", b"ONE")
        mirror.deliver_again(records, number(records[0]))
        assert entries(cache) == table.shown()


def test_a_server_that_is_loading_its_data_is_waited_for(
    open_cache: OpenCache, tmp_path: Path
) -> None:
    # Slow enough for a minute, unless it is told to go on; it answers all the while.
    slowly = ("--key-load-delay", "30000", "--loading-process-events-interval-bytes", "1024")
    options = ("--dir", str(tmp_path))
    table = Table()
    with EmbeddedValkey(cluster=False, options=options) as server:
        cache = open_cache(server.settings())
        mirror, port = Mirror(cache), server.port
        assert mirror.deliver(table.puts(IDS, name="old")) is None
        assert cache.broadcast(b"SAVE") == [b"OK"]
    records = [*table.puts(IDS[1:], name="new"), table.delete(IDS[0])]
    with EmbeddedValkey(cluster=False, options=(*options, *slowly), port=port):
        for _ in range(2):
            assert mirror.deliver(records) == number(records[0])
        assert mirror.reasons == {f"127.0.0.1:{port}: it is still loading its data"}
        assert mirror.reports[-1].applied == 0
        cache.broadcast(b"CONFIG", b"SET", b"key-load-delay", 0)
        mirror.deliver_again(records, number(records[0]))
        assert entries(cache) == table.shown()
