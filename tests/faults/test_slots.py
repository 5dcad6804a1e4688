"""Slots move, or belong to nobody for a while, as batches are applied."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from valkey.crc import key_slot

from clusters import (
    RANGES,
    Node,
    drop,
    give,
    holder_of,
    keys_of,
    knows_all,
    migrate,
    other_than,
    slot_in_between,
)
from deadlines import wait_until
from dynamirror.cache import CHUNK, Cache
from dynamirror.key import fence_key
from dynamirror.view import ViewSpec
from faults.mirroring import Mirror, Table, entries, number

ONE_SLOT = ViewSpec(key="{{moving}}:{id}")
SHOWN = "{{moving}}:{id}"  # the same, as str.format has it
SLOT = key_slot(b"moving")


def keys(ids: list[str]) -> list[str]:
    """Entries and their fences."""
    return [key for one in ids for key in (f"{{moving}}:{one}", fence_key(f"{{moving}}:{one}"))]


def test_a_slot_that_is_moved_key_by_key_under_the_batches(
    cluster: Cache, nodes: list[Node]
) -> None:
    mirror, table = Mirror(cluster, ONE_SLOT), Table()
    old = [str(number) for number in range(4 * CHUNK)]
    new = [f"new-{number}" for number in range(10)]
    half = len(old) // 2
    assert mirror.deliver(table.puts(old, name="old")) is None
    with slot_in_between(nodes, SLOT, to=(target := other_than(SLOT))) as source:
        # Every key that is there is written, wherever it is; a new one has to wait.
        records = table.puts([*old[:300], *new, *old[300:]], name="new")
        move_half = {CHUNK + 50: lambda: migrate(nodes, source, target, keys(old[:half]))}
        identifier = mirror.deliver(records, during=move_half)
        assert identifier == number(records[300])
        assert mirror.reasons == {"TRYAGAIN (a slot is being moved)"}
        assert mirror.reports[-1].applied == len(old)
        assert nodes[source].errors("ASK") > 0

        def finish() -> None:
            migrate(nodes, source, target, keys(old[half:]))
            give(nodes, SLOT, to=target)

        rest = [*records[300:], *map(table.delete, old[:100])]
        mirror.deliver_again(rest, mirror.deliver(rest, during={CHUNK + 50: finish}))
        mirror.deliver_again(records, number(records[0]))
        assert entries(cluster) == table.shown(SHOWN)
        assert entries(nodes[target].direct) == table.shown(SHOWN)
        assert entries(nodes[source].direct) == {}


@contextmanager
def borrowed(nodes: list[Node], slots: tuple[int, int], *, source: int) -> Iterator[None]:
    """Slots are back where they were at the end."""
    try:
        yield
    finally:
        for node in nodes:
            node.ask(b"FLUSHALL")
        for index, node in enumerate(nodes):
            if index != source and holder_of(node, slots[0]) == node.port:
                move(nodes, slots, source=index, target=source)
                wait_until(lambda: moved(nodes, slots, source))


def move(nodes: list[Node], slots: tuple[int, int], *, source: int, target: int) -> None:
    """Begin to move slots, all of them at once in the end."""
    words = (b"SLOTSRANGE", *slots, b"NODE", nodes[target].name)
    nodes[source].ask(b"CLUSTER", b"MIGRATESLOTS", *words)


def moved(nodes: list[Node], slots: tuple[int, int], to: int) -> bool:
    """Whether all nodes know of it."""
    return all(holder_of(node, slot) == nodes[to].port for node in nodes for slot in slots)


def test_slots_that_are_moved_at_once_under_the_batches(cluster: Cache, nodes: list[Node]) -> None:
    mirror, table = Mirror(cluster), Table()
    ids = [key.removeprefix("users:") for key in keys_of(0, 2 * CHUNK, "users:")]
    ids += [key.removeprefix("users:") for key in keys_of(1, CHUNK, "users:")]
    slots = (0, 5_000)  # a node without any would become another's replica
    with borrowed(nodes, slots, source=0):
        records = table.puts(ids, name="0")
        begin = {CHUNK: lambda: move(nodes, slots, source=0, target=2)}
        mirror.deliver_again(records, mirror.deliver(records, during=begin))
        batches = 0

        def done() -> bool:
            nonlocal batches
            batches += 1
            records = [table.put("born"), *table.puts(ids, name=f"{batches}"), table.delete("born")]
            mirror.deliver_again(records, number(records[0]))
            return moved(nodes, slots, to=2)

        wait_until(done)
        mirror.deliver_again(last := table.puts(ids[::2], name="last"), number(last[0]))
        assert entries(cluster) == table.shown()
        assert all(key_slot(key.encode()) > slots[1] for key in entries(nodes[0].direct))


def test_slots_that_nobody_holds_delay_only_what_is_in_them(
    cluster: Cache, nodes: list[Node]
) -> None:
    mirror, table = Mirror(cluster), Table()
    mine = [[key.removeprefix("users:") for key in keys_of(n, 150, "users:")] for n in range(3)]
    ids = [one for triple in zip(*mine, strict=True) for one in triple]
    assert mirror.deliver(table.puts(ids, name="old")) is None
    records = table.puts(ids, name="new")
    drop(nodes, 1)
    try:
        reasons = []
        for _ in range(2):  # told so by the node at first; known the second time
            assert mirror.deliver(records) == number(records[1])
            assert len(mirror.reports[-1].failed) == len(mine[1])
            reasons.append(mirror.reasons)
            cluster.moved()
        assert reasons == [{"Hash slot not served"}, {"no node holds the key's slot"}]
        for index in (0, 2):
            names = {image["name"] for image in entries(nodes[index].direct).values()}
            assert names == {"new"}
    finally:
        nodes[1].ask(b"CLUSTER", b"ADDSLOTSRANGE", *RANGES[1])
    wait_until(lambda: all(map(knows_all, nodes)))
    mirror.deliver_again(records, number(records[1]))
    assert entries(cluster) == table.shown()


def is_down(node: Node) -> bool:
    """Whether the node finds that the cluster cannot work."""
    return b"cluster_state:fail\r" in node.ask(b"CLUSTER", b"INFO")


def test_a_cluster_that_is_down_as_a_whole_delays_everything(
    cluster: Cache, nodes: list[Node], request: pytest.FixtureRequest
) -> None:
    mirror, table = Mirror(cluster), Table()
    ids = [str(number) for number in range(3 * CHUNK)]
    assert mirror.deliver(table.puts(ids, name="old")) is None

    def coverage(required: bytes) -> None:
        for node in nodes:
            node.ask(b"CONFIG", b"SET", b"cluster-require-full-coverage", required)

    request.addfinalizer(lambda: coverage(b"no"))
    coverage(b"yes")
    drop(nodes, 2)
    try:
        wait_until(lambda: all(map(is_down, nodes)))
        records = [*table.puts(ids[1:], name="new"), table.delete(ids[0])]
        assert mirror.deliver(records) == number(records[0])
        assert mirror.reports[-1].applied == 0
        assert mirror.reasons <= {"Hash slot not served", "The cluster is down"}
    finally:
        nodes[2].ask(b"CLUSTER", b"ADDSLOTSRANGE", *RANGES[2])
    wait_until(lambda: all(map(knows_all, nodes)))
    mirror.deliver_again(records, number(records[0]))
    assert entries(cluster) == table.shown()
