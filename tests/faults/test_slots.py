"""Slots move, or belong to nobody for a while, as batches are applied."""

from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.builders import STREAM_ARN, view
from tests.support.clusters import (
    RANGES,
    Node,
    drop,
    give,
    keys_of,
    knows_all,
    migrate,
    other_than,
    slot_in_between,
)
from tests.support.deadlines import wait_until
from tests.support.mirroring import Mirror, Table, entries, number
from tests.support.slots import borrowed, move, moved
from valkey.crc import key_slot

from dynamirror.cache import quarantine
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import read_marker, record_complete, record_gap
from dynamirror.cache.pipeline import CHUNK
from dynamirror.cache.quarantine import ParkedItem
from dynamirror.cache.writer import apply_all
from dynamirror.reader import Reader
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.verify import compare
from dynamirror.views.encoding import DYNAMODB_JSON, HASH, JSON, Encoding, attribute
from dynamirror.views.entry import entry_of_row
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import Schema, ViewSpec

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
            cluster.cluster.invalidate_topology()
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


PAIR = Schema("users", ("pk", "sk"), ("S", "S"))


ENCODINGS = (JSON, DYNAMODB_JSON, HASH, attribute("name"))


FAR = 4_102_444_800


def in_the_slot(sort: int, until: int | None, **attributes: str) -> dict[str, Any]:
    """An item whose entry, fence and index are in the slot."""
    texts = {"pk": "moving", "sk": str(sort), **attributes}
    item: dict[str, Any] = {name: {"S": text} for name, text in texts.items()}
    return item if until is None else item | {"until": {"N": str(until)}}


def stages(ttl: str | None) -> list[list[dict[str, Any]]]:
    """What a table holds, again and again: fields come and go, many and few, and so do times."""
    many = {f"field-{number}": "old" for number in range(3_000)}
    later = FAR + 1 if ttl else None
    return [
        [
            in_the_slot(1, FAR, name="a", gone="x"),
            in_the_slot(2, None, name="a", **many),
            in_the_slot(3, FAR, name="a", same="x"),
            in_the_slot(4, None, name="a"),
        ],
        [
            in_the_slot(1, None, name="b", new="y"),
            in_the_slot(2, later, name="b", **(many | {"field-7": "new"})),
            in_the_slot(3, FAR, name="b", same="x"),
        ],
        [
            in_the_slot(1, later, name="c", **many),
            in_the_slot(2, None, name="c"),
            in_the_slot(3, None, name="c", same="x"),
        ],
    ]


@pytest.mark.parametrize("ahead", [False, True], ids=["behind", "ahead"])
@pytest.mark.parametrize("collection", [False, True], ids=["alone", "collection"])
@pytest.mark.parametrize("ttl", [None, "until"], ids=["for good", "ttl"])
@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda encoding: encoding.name)
def test_every_script_writes_every_encoding_in_a_slot_that_moves_key_by_key(
    cluster: Cache,
    nodes: list[Node],
    *,
    encoding: Encoding,
    ttl: str | None,
    collection: bool,
    ahead: bool,
) -> None:
    spec = ViewSpec(key="users:{{{pk}}}:{sk}", encoding=encoding, ttl=ttl, collection=collection)
    mirrored = view(spec, PAIR)
    first, *later = stages(ttl)

    def write(as_of: int, items: list[dict[str, Any]]) -> int:
        there = {item["sk"]["S"]: item for item in items}
        rows = (
            entry_of_row(
                mirrored, PAIR.key_of(item), there.get(item["sk"]["S"]), SnapshotVersion(as_of)
            )
            for item in first
        )
        return apply_all(cluster, filter(None, rows), fence_ttl=93_600).applied

    assert write(1, first) == len(first)
    with slot_in_between(nodes, SLOT, to=(target := other_than(SLOT))) as source:
        if ahead:
            keys = nodes[source].ask(b"CLUSTER", b"GETKEYSINSLOT", SLOT, 1_000)
            migrate(nodes, source, target, keys)
        assert write(2, later[0]) == len(first)
        assert compare(later[0], cluster, [mirrored]).sample == {}
        if not ahead:
            keys = nodes[source].ask(b"CLUSTER", b"GETKEYSINSLOT", SLOT, 1_000)
            migrate(nodes, source, target, keys)
        give(nodes, SLOT, to=target)
        assert write(3, later[1]) == len(first)
        result = compare(later[1], cluster, [mirrored])
        assert (result.sample, result.items, result.entries) == ({}, 3, 3)


def test_an_item_is_never_absent_while_its_slot_moves_and_it_is_written(
    cluster: Cache, nodes: list[Node]
) -> None:
    spec = ViewSpec(key="users:{{{pk}}}:{sk}", encoding=HASH)
    mirrored = view(spec, PAIR)
    ids = range(60)
    record_gap(cluster, [mirrored], stream=STREAM_ARN, at=1, reason="new")
    record_complete(cluster, [mirrored], SnapshotVersion(2))
    nobody: Any = SimpleNamespace(dynamodb=lambda: None)
    names = set[str]()

    def write(as_of: int) -> None:
        for number in ids:
            item = in_the_slot(number, None, **{f"v{as_of}": "x"})
            row = entry_of_row(mirrored, item, item, SnapshotVersion(as_of))
            assert row is not None
            assert apply_all(cluster, [row], fence_ttl=93_600).applied == 1
            answer = reader.get_item(Key={"pk": "moving", "sk": str(number)})
            assert answer["ResponseMetadata"]["dynamirror"]["source"] == "cache"
            names.update(answer["Item"])
            assert f"v{as_of}" in answer["Item"]
            assert len(answer["Item"]) == 3

    with Reader(
        nodes[0].server.settings(),
        "users",
        views=[spec],
        aws=nobody,
        schema=PAIR,
        on_miss="absent",
    ) as reader:
        write(3)
        with slot_in_between(nodes, SLOT, to=(target := other_than(SLOT))) as source:
            write(4)
            for number in ids[::2]:
                key = f"users:{{moving}}:{number}"
                migrate(nodes, source, target, [key, fence_key(key)])
            write(5)
        assert names == {"pk", "sk", "v3", "v4", "v5"}


def test_marker_and_quarantine_are_written_in_a_slot_that_moves_key_by_key(
    cluster: Cache, nodes: list[Node]
) -> None:
    schema = Schema("moving", ("id",), ("S",))
    mirrored = view(ViewSpec(), schema)
    parked = [ParkedItem("moving", {"id": {"S": str(number)}}, "1", "bad") for number in range(3)]

    def park(*some: ParkedItem, limit: int = 2) -> int:
        return len(quarantine.park(cluster, some, at="now", limit=limit))

    record_gap(cluster, [mirrored], stream=STREAM_ARN, at=1, reason="new")
    assert park(*parked) == 0
    assert quarantine.overflow(cluster, "moving") > 0
    with slot_in_between(nodes, SLOT, to=(target := other_than(SLOT))) as source:
        for as_of in (10, 20):
            record_gap(cluster, [mirrored], stream=STREAM_ARN, at=as_of, reason="late")
            assert not read_marker(cluster, "moving").is_complete
            assert record_complete(cluster, [mirrored], SnapshotVersion(as_of + 1)) is None
            assert read_marker(cluster, "moving").is_complete
            assert park(*parked) == 0
            parked_items = quarantine.read_quarantine(cluster, "moving")
            assert len(parked_items) == 2
            assert quarantine.release(cluster, "moving", parked_items[0], instead=None)
            if as_of == 10:
                keys = nodes[source].ask(b"CLUSTER", b"GETKEYSINSLOT", SLOT, 1_000)
                migrate(nodes, source, target, keys)
