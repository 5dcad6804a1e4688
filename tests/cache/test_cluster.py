"""A cluster of three real nodes, between which slots move and of which one may hang."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from valkey.crc import key_slot

from deadlines import wait_until
from dynamirror.apply import apply
from dynamirror.cache import CHUNK, PUT, Cache, Command, Failure
from dynamirror.config import Settings
from dynamirror.entry import Put
from dynamirror.errors import CacheError
from dynamirror.key import fence_key
from dynamirror.local.valkey import EmbeddedValkey
from dynamirror.version import ChangeVersion
from dynamirror.view import Schema, ViewSpec

HOST = "127.0.0.1"
RANGES = ((0, 5_460), (5_461, 10_922), (10_923, 16_383))
# As ElastiCache has it: the slots of a node that fails are missing, the others are served.
OPTIONS = ("--cluster-require-full-coverage", "no")
FENCE_TTL = 93_600
OpenCache = Callable[[Settings], Cache]


@dataclass
class Node:
    """One node, and a connection to it alone."""

    server: EmbeddedValkey
    direct: Cache
    name: bytes

    def ask(self, *words: bytes | str | int) -> Any:
        """Have the node carry out a command."""
        (answer,) = self.direct.broadcast(*words)
        return answer

    def errors(self, kind: str) -> int:
        """How often it answered with an error of that kind."""
        for line in self.ask(b"INFO", b"errorstats").decode().splitlines():
            if line.startswith(f"errorstat_{kind}:"):
                return int(line.partition("count=")[2])
        return 0


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    """Three nodes that know each other, each with a third of the slots."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(EmbeddedValkey(slots=slots, options=OPTIONS)) for slots in RANGES
        ]
        nodes = []
        for server in servers:
            direct = Cache(server.settings(), single=True)
            stack.callback(direct.close)
            (name,) = direct.broadcast(b"CLUSTER", b"MYID")
            nodes.append(Node(server, direct, name))
        for node in nodes[1:]:
            nodes[0].ask(b"CLUSTER", b"MEET", HOST, node.server.port)
        wait_until(lambda: all(map(knows_all, nodes)))
        yield nodes


def knows_all(node: Node) -> bool:
    """Whether the node finds the cluster in order, and knows of every slot."""
    info = node.ask(b"CLUSTER", b"INFO")
    wanted = (b"cluster_state:ok", b"cluster_slots_ok:16384", b"cluster_size:3")
    return all(line + b"\r" in info for line in wanted)


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


def keys_of(node: int, count: int) -> list[str]:
    """Keys whose slots are the node's."""
    first, last = RANGES[node]
    keys = (f"key-{number}" for number in range(1_000_000))
    mine = (key for key in keys if first <= key_slot(key.encode()) <= last)
    return [next(mine) for _ in range(count)]


def in_one_slot(tag: str, count: int) -> list[str]:
    """Keys that share a slot."""
    return [f"{{{tag}}}:{number}" for number in range(count)]


def holders(nodes: list[Node], key: str) -> list[int]:
    """The nodes that hold a key."""
    return [index for index, node in enumerate(nodes) if key.encode() in node.direct.scan("*")]


@contextmanager
def slot_in_between(nodes: list[Node], slot: int, *, to: int) -> Iterator[int]:
    """A slot on its way from one node to another; it is back where it was at the end."""
    source = next(index for index, (_, last) in enumerate(RANGES) if slot <= last)
    nodes[to].ask(b"CLUSTER", b"SETSLOT", slot, b"IMPORTING", nodes[source].name)
    nodes[source].ask(b"CLUSTER", b"SETSLOT", slot, b"MIGRATING", nodes[to].name)
    try:
        yield source
    finally:
        for node in nodes:
            node.ask(b"FLUSHALL")
        give(nodes, slot, to=source)


def give(nodes: list[Node], slot: int, *, to: int) -> None:
    """Make a node the holder of a slot, for all of them at once."""
    for index in sorted(range(len(nodes)), key=lambda index: index != to):
        nodes[index].ask(b"CLUSTER", b"SETSLOT", slot, b"NODE", nodes[to].name)

    def agreed() -> bool:
        return all(holder_of(node, slot) == nodes[to].server.port for node in nodes)

    wait_until(agreed)


def holder_of(node: Node, slot: int) -> int | None:
    """The port of the node that holds a slot, as one node sees it."""
    for first, last, primary, *_ in node.ask(b"CLUSTER", b"SLOTS"):
        if first <= slot <= last:
            return int(primary[1])
    return None


def migrate(nodes: list[Node], source: int, to: int, keys: list[str]) -> None:
    """Move keys from node to node."""
    target = (HOST, nodes[to].server.port, b"", 0, 5_000)
    assert nodes[source].ask(b"MIGRATE", *target, b"KEYS", *keys) == b"OK"


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
    assert set(cluster.scan("key-*")) == {key.encode() for key in keys}
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


def other_than(slot: int) -> int:
    """A node that does not hold the slot."""
    return 0 if slot > RANGES[0][1] else 1


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


@contextmanager
def hung(node: Node) -> Iterator[None]:
    """The node's process stands still."""
    guard = node.server.guard_pid
    children = Path(f"/proc/{guard}/task/{guard}/children").read_text(encoding="ascii").split()
    (process,) = map(int, children)
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


@pytest.fixture
def timeouts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The nodes that were given up, one by one."""
    given_up: list[str] = []
    suspect = Cache.suspect

    def noted(cache: Cache, node: Any) -> None:
        given_up.append(str(node))
        suspect(cache, node)

    monkeypatch.setattr(Cache, "suspect", noted)
    return given_up


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_node_that_hangs_costs_one_timeout_and_what_is_on_it(
    cluster: Cache, nodes: list[Node], timeouts: list[str], victim: int
) -> None:
    size = 3 * CHUNK
    view = ViewSpec(key="key-{id}").bind(Schema("users", ("id",)))

    def entry(key: str, sequence: int) -> Put:
        image = {"id": {"S": key.removeprefix("key-")}}
        return Put(view, key, ChangeVersion(1, sequence, 1), image)

    mine = {index: keys_of(index, size) for index in range(3)}
    keys = [key for triple in zip(*mine.values(), strict=True) for key in triple]
    cluster.execute([put(key, 1) for key in keys[:3]])  # connected to all of them

    with hung(nodes[victim]):
        for sequence in (2, 3):  # the second time it is known to be suspect
            timeouts.clear()
            entries = [entry(key, sequence) for key in keys]
            report = apply(cluster, entries, fence_ttl=FENCE_TTL)
            assert timeouts == [f"{HOST}:{nodes[victim].server.port}"]
            assert report.applied == 2 * size
            assert {trouble.entry.key for trouble in report.failed} == set(mine[victim])
            (reason,) = {trouble.reason for trouble in report.failed}
            assert reason == f"{HOST}:{nodes[victim].server.port}: no answer in time"

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
    port = nodes[0].server.port
    refused = pytest.raises(CacheError, match=f"^cache {HOST}:{port}: no answer in time$")
    with hung(nodes[0]), refused:
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
