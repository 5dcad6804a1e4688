"""A cluster of three real nodes, between which slots move and of which one may hang."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from tests.support.clusters import (
    HOST,
    OPTIONS,
    RANGES,
    Node,
    give,
    holders,
    hung,
    in_one_slot,
    keys_of,
    knows_all,
    migrate,
    other_than,
    slot_in_between,
    three_nodes,
)
from tests.support.deadlines import wait_until
from tests.support.scans import scanned_keys
from valkey.crc import key_slot

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.pipeline import CHUNK
from dynamirror.cache.scripts import PUT, Command
from dynamirror.cache.writer import apply
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError
from dynamirror.records.version import ChangeVersion
from dynamirror.settings import Settings
from dynamirror.views.entry import Put
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import Schema, ViewSpec

FENCE_TTL = 93_600
OpenCache = Callable[[Settings], Cache]


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    """Three nodes that know each other, each with a third of the slots."""
    with three_nodes() as nodes:
        yield nodes


@pytest.fixture(autouse=True)
def _empty(nodes: list[Node]) -> None:
    for node in nodes:
        node.ask(b"FLUSHALL")
        node.ask(b"SCRIPT", b"FLUSH", b"SYNC")


@pytest.fixture
def cluster(nodes: list[Node], open_cache: OpenCache) -> Cache:
    """The cluster, reached through its first node; waits for no answer longer than 0.3 s."""
    return open_cache(nodes[0].server.settings(timeout=0.3))


def put(key: str, sequence: int = 1) -> Command:
    """Write an entry through its fence."""
    version = str(ChangeVersion(1, sequence, 1))
    return PUT.command(key.encode(), fence_key(key).encode(), version, FENCE_TTL, b"value")


def test_every_command_reaches_the_node_of_its_key(cluster: Cache, nodes: list[Node]) -> None:
    keys = [key for node in range(3) for key in keys_of(node, CHUNK + 10)]
    assert cluster.execute(map(put, keys)) == [b"applied"] * len(keys)
    assert [node.ask(b"DBSIZE") for node in nodes] == [2 * (CHUNK + 10)] * 3
    assert [node.errors("MOVED") for node in nodes] == [0, 0, 0]


def test_answers_of_several_nodes_keep_the_order_of_commands(cluster: Cache) -> None:
    size = 4 * CHUNK
    answers = cluster.execute(
        Command(b"k%d" % index, (b"ECHO", b"%d" % index)) for index in range(size)
    )
    assert answers == [b"%d" % index for index in range(size)]


def test_scan_and_broadcast_reach_all_nodes(cluster: Cache) -> None:
    keys = [key for node in range(3) for key in keys_of(node, 5)]
    cluster.execute(map(put, keys))
    assert set(scanned_keys(cluster, "key-*")) == {key.encode() for key in keys}
    assert cluster.broadcast(b"DBSIZE") == [10, 10, 10]


def test_a_slot_that_moved_is_followed_and_remembered(cluster: Cache, nodes: list[Node]) -> None:
    keys = in_one_slot("moved", CHUNK + 50)
    slot = key_slot(keys[0].encode())
    assert cluster.execute([put(keys[0])]) == [b"applied"]
    with slot_in_between(nodes, slot, to=(new := other_than(slot))) as source:
        migrate(nodes, source, new, [keys[0], fence_key(keys[0])])
        give(nodes, slot, to=new)
        before = nodes[source].errors("MOVED")
        mixed = [*keys, *keys_of(0, 20), *keys_of(1, 20), *keys_of(2, 20)]
        answers = cluster.execute(put(key, 2) for key in mixed)
        assert answers == [b"applied"] * len(mixed)
        assert holders(nodes, keys[0]) == [new]
        redirected = nodes[source].errors("MOVED")
        assert redirected - before == len(keys)

        again = cluster.execute(put(key, 3) for key in mixed)
        assert again == [b"applied"] * len(mixed)
        assert nodes[source].errors("MOVED") == redirected


def test_a_single_read_follows_a_slot_that_moves(cluster: Cache, nodes: list[Node]) -> None:
    (key,) = in_one_slot("read", 1)
    slot, read = key_slot(key.encode()), Command(key.encode(), (b"GET", key.encode()))
    assert cluster.execute([put(key)]) == [b"applied"]
    assert cluster.read_one(read) == b"value"
    with slot_in_between(nodes, slot, to=(new := other_than(slot))) as source:
        migrate(nodes, source, new, [key, fence_key(key)])
        assert cluster.read_one(read) == b"value"
        give(nodes, slot, to=new)
        assert [cluster.read_one(read) for _ in range(3)] == [b"value"] * 3


@pytest.fixture
def configure(nodes: list[Node]) -> Iterator[Callable[[str, str], None]]:
    """Set an option of all nodes; at the end it is as it was."""
    with ExitStack() as stack:

        def configure_(name: str, value: str) -> None:
            for node in nodes:
                _, before = node.ask(b"CONFIG", b"GET", name)
                stack.callback(node.ask, b"CONFIG", b"SET", name, before)
                node.ask(b"CONFIG", b"SET", name, value)

        yield configure_


@pytest.mark.parametrize("said", ["unknown-endpoint", "hostname"])  # no host, and `?`
def test_a_redirection_without_a_host_is_to_the_host_it_came_from(
    cluster: Cache, nodes: list[Node], configure: Callable[[str, str], None], said: str
) -> None:
    (key,) = in_one_slot("hostless", 1)
    slot, read = key_slot(key.encode()), Command(key.encode(), (b"GET", key.encode()))
    assert cluster.execute([put(key)]) == [b"applied"]
    configure("cluster-preferred-endpoint-type", said)
    with slot_in_between(nodes, slot, to=(new := other_than(slot))) as source:
        migrate(nodes, source, new, [key, fence_key(key)])
        assert cluster.read_one(read) == b"value"
        give(nodes, slot, to=new)
        assert cluster.execute([put(key, 2), read]) == [b"applied", b"value"]


def test_nothing_stays_open_to_an_address_that_holds_nothing_any_more(
    cluster: Cache, nodes: list[Node], configure: Callable[[str, str], None]
) -> None:
    def clients() -> list[int]:
        return [node.ask(b"CLIENT", b"LIST").count(b"\n") for node in nodes]

    everywhere = [put(key) for node in range(3) for key in keys_of(node, 1)]
    assert cluster.execute(everywhere) == [b"applied"] * 3
    before = clients()
    configure("cluster-announce-hostname", "localhost")
    configure("cluster-preferred-endpoint-type", "hostname")
    wait_until(lambda: repr(nodes[0].ask(b"CLUSTER", b"SLOTS")).count("[b'localhost'") == 3)
    assert cluster.broadcast(b"PING") == [b"PONG"] * 3
    assert {node.host for node in cluster.cluster.nodes} == {"localhost"}
    # The first is spoken to as seed, too.
    wait_until(lambda: clients() == [before[0] + 1, *before[1:]])


def test_who_closes_the_cache_does_not_disturb_who_uses_it(
    nodes: list[Node], open_cache: OpenCache
) -> None:
    cache = open_cache(nodes[0].server.settings())
    keys = [key for node in range(3) for key in keys_of(node, 1)]
    reads = [Command(key.encode(), (b"GET", key.encode())) for key in keys]

    def use() -> None:
        for _ in range(15):
            assert cache.execute(reads) == [None] * 3
            assert [cache.read_one(read) for read in reads] == [None] * 3

    with ThreadPoolExecutor(4) as pool:
        users = [pool.submit(use) for _ in range(4)]
        while not all(user.done() for user in users):
            cache.close()
    assert [user.result() for user in users] == [None] * 4


def test_a_key_that_went_ahead_of_its_slot_is_followed(cluster: Cache, nodes: list[Node]) -> None:
    ahead, behind = in_one_slot("ask", 2)
    slot = key_slot(ahead.encode())
    assert cluster.execute(map(put, [ahead, behind])) == [b"applied"] * 2
    with slot_in_between(nodes, slot, to=(new := other_than(slot))) as source:
        migrate(nodes, source, new, [ahead, fence_key(ahead)])
        # The new node has not seen our scripts, and never hears of them but by redirection.
        for sequence in (2, 3):
            answers = cluster.execute([put(ahead, sequence), put(behind, sequence)])
            assert answers == [b"applied"] * 2
        assert nodes[source].errors("ASK") > 0
        assert holders(nodes, ahead) == [new]
        assert holders(nodes, behind) == [source]
        assert cluster.execute([put(ahead, 1)]) == [b"stale"]


def test_an_entry_without_a_fence_waits_for_its_slot_to_arrive(
    cluster: Cache, nodes: list[Node]
) -> None:
    # Valkey carries out a command on two keys of a slot in between only where both are.
    new_entry, other = in_one_slot("wait", 2)
    slot = key_slot(new_entry.encode())
    assert cluster.execute([put(other)]) == [b"applied"]
    with slot_in_between(nodes, slot, to=(new := other_than(slot))) as source:
        failure, applied = cluster.execute([put(new_entry), put(other, 2)])
        assert isinstance(failure, Failure)
        assert failure.reason == "TRYAGAIN (a slot is being moved)"
        assert applied == b"applied"
        migrate(nodes, source, new, [other, fence_key(other)])
        give(nodes, slot, to=new)
        assert cluster.execute([put(new_entry)]) == [b"applied"]


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_node_that_hangs_costs_one_timeout_and_what_is_on_it(
    cluster: Cache, nodes: list[Node], given_up: list[str], victim: int
) -> None:
    size = 3 * CHUNK
    view = ViewSpec(key="key-{id}").bind(Schema("users", ("id",), ("S",)))

    def entry(key: str, sequence: int) -> Put:
        image = {"id": {"S": key.removeprefix("key-")}}
        return Put(view, key, ChangeVersion(1, sequence, 1), image)

    mine = {index: keys_of(index, size) for index in range(3)}
    keys = [key for triple in zip(*mine.values(), strict=True) for key in triple]
    cluster.execute([put(key, 1) for key in keys[:3]])  # connected to all of them

    with hung(nodes[victim].server):
        for sequence in (2, 3):  # the second time it is known to be suspect
            given_up.clear()
            entries = [entry(key, sequence) for key in keys]
            report = apply(cluster, entries, fence_ttl=FENCE_TTL)
            assert given_up == [f"{HOST}:{nodes[victim].port}"]
            assert report.applied == 2 * size
            assert {trouble.entry.key for trouble in report.failed} == set(mine[victim])
            (reason,) = {trouble.reason for trouble in report.failed}
            assert reason == f"{HOST}:{nodes[victim].port}: no answer in time"

    def recovered() -> bool:
        # Sent to the hung node, and perhaps carried out by it afterwards: newer ones are sent.
        report = apply(cluster, [entry(key, 4) for key in keys], fence_ttl=FENCE_TTL)
        return not report.failed

    wait_until(recovered)
    for key in (mine[victim][0], mine[victim][-1]):
        fence = cluster.call(key, b"GET", fence_key(key))
        assert fence == str(ChangeVersion(1, 4, 1)).encode()
    wait_until(lambda: all(map(knows_all, nodes)))


def test_a_seed_that_hangs_is_told_in_one_sentence(
    nodes: list[Node], open_cache: OpenCache
) -> None:
    fresh = open_cache(nodes[0].server.settings(timeout=0.3))
    port = nodes[0].port
    refused = pytest.raises(CacheError, match=f"^cache {HOST}:{port}: no answer in time$")
    with hung(nodes[0].server), refused:
        fresh.execute([put("k")])
    assert fresh.execute([put("k")]) == [b"applied"]
    wait_until(lambda: all(map(knows_all, nodes)))


def test_a_slot_that_nobody_holds_fails_only_its_own_keys(open_cache: OpenCache) -> None:
    with EmbeddedValkey(slots=RANGES[0], options=OPTIONS) as alone:
        cache = open_cache(alone.settings())
        wait_until(
            lambda: b"cluster_state:ok\r" in cache.broadcast(b"CLUSTER", b"INFO")[0],
        )
        present, absent = keys_of(0, 1)[0], keys_of(1, 1)[0]
        applied, failure = cache.execute([put(present), put(absent)])
        assert applied == b"applied"
        assert isinstance(failure, Failure)
        assert failure.reason == "no node holds the key's slot"


def test_a_cluster_that_was_not_set_up_is_told(open_cache: OpenCache) -> None:
    with EmbeddedValkey(slots=None) as empty:
        cache = open_cache(empty.settings())
        with pytest.raises(CacheError, match="no node holds any slot"):
            cache.execute([put("k")])


def test_a_node_with_a_part_of_the_slots_is_ready_though_the_cluster_is_not() -> None:
    with EmbeddedValkey(slots=RANGES[1]) as part:
        direct = Cache(part.settings(), single=True)
        (info,) = direct.broadcast(b"CLUSTER", b"INFO")
        direct.close()
    assert b"cluster_slots_assigned:5462\r" in info
