"""The scan by slots visits every key once, resumes anywhere, and costs the same in any parts."""

import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.clusters import (
    Node,
    give,
    in_one_slot,
    keys_of,
    migrate,
    other_than,
    process_of,
    slot_in_between,
)
from tests.support.deadlines import wait_until
from tests.support.serverless import Serverless
from tests.support.slots import borrowed, move, moved
from valkey.crc import key_slot

from dynamirror.cache import slot_scan as module
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.cache.slot_map import SLOTS
from dynamirror.cache.slot_map import Node as Address
from dynamirror.cache.slot_ownership import Ownership
from dynamirror.cache.slot_scan import ScanCheckpoint, SlotRange, ranges, scan_range
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.recovery.comparison import CachePart, Share
from dynamirror.settings import Settings

OpenCache = Callable[[Settings], Cache]
TAG = "moving"
SLOT = key_slot(TAG.encode())


def fill(cache: Cache, keys: list[str]) -> set[bytes]:
    """Write plain keys."""
    answers = cache.execute(Command(key.encode(), (b"SET", key, b"1")) for key in keys)
    assert answers == [b"OK"] * len(keys)
    return {key.encode() for key in keys}


def listed(cache: Cache, slots: SlotRange, checkpoint: ScanCheckpoint | None = None) -> list[bytes]:
    return [key for batch in scan_range(cache, slots, checkpoint) for key in batch.keys]


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make many batches of few keys, and giants of slots with more than 20."""
    monkeypatch.setattr(module, "_KEYS_AT_ONCE", 50)
    monkeypatch.setattr(module, "_MOST_IN_SLOT", 20)
    monkeypatch.setattr(module, "_SCAN_COUNT", 20)
    monkeypatch.setattr(module, "_SCANS_AT_ONCE", 2)


class Divided:
    """A cache of a cluster that nobody has to ask."""

    def __init__(self) -> None:
        self.cluster = self
        self.is_clustered = True

    def refresh(self) -> None:
        """Know all slots."""


@given(st.integers(0, 100_000))
def test_ranges_are_disjoint_and_together_all_slots(parts: int) -> None:
    cache: Any = Divided()
    found = ranges(cache, parts)
    assert len(found) == max(1, min(parts, SLOTS))
    slots = [slot for each in found for slot in range(each.first, each.last + 1)]
    assert slots == list(range(SLOTS))


@given(st.integers(1, 100_000), st.data())
def test_shares_are_disjoint_and_together_all_slots(of: int, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, of - 1), max_size=20))
    rest = [number for number in range(of) if number not in chosen]
    both = [Share(of, tuple(chosen)), Share(of, tuple(rest))]
    slots = [
        slot
        for share in both
        for part in share.parts()
        if isinstance(part, CachePart)
        for slot in range(part.slots.first, part.slots.last + 1)
    ]
    assert sorted(slots) == list(range(SLOTS))


@pytest.mark.parametrize("parts", [1, 7, 64])
@pytest.mark.usefixtures("few_at_once")
def test_each_key_is_visited_once_in_any_parts(cluster: Cache, parts: int) -> None:
    keys = fill(cluster, [*(f"k{n}" for n in range(2_000)), *in_one_slot(TAG, 300)])
    found = Counter(key for each in ranges(cluster, parts) for key in listed(cluster, each))
    assert found == Counter(keys)


@pytest.mark.usefixtures("few_at_once")
def test_a_scan_that_is_killed_after_any_batch_goes_on_there(cluster: Cache) -> None:
    fill(cluster, [*(f"k{n}" for n in range(500)), *in_one_slot(TAG, 90), *in_one_slot("x", 90)])
    before: Counter[bytes] = Counter()
    everything = Counter(listed(cluster, SlotRange()))
    for batch in scan_range(cluster, SlotRange()):
        before += Counter(batch.keys)
        stored = msgspec.json.encode(batch.checkpoint)
        checkpoint = msgspec.json.decode(stored, type=ScanCheckpoint)
        assert before + Counter(listed(cluster, SlotRange(), checkpoint)) == everything


@pytest.mark.usefixtures("few_at_once")
def test_a_scan_of_a_single_server_goes_on_at_its_cursor(single: Cache) -> None:
    keys = fill(single, [f"k{n}" for n in range(1_000)])
    assert ranges(single, 64) == [SlotRange()]
    batches = list(scan_range(single, SlotRange()))
    assert len(batches) > 10
    for number in (0, 5, len(batches) - 1):
        before = {key for batch in batches[: number + 1] for key in batch.keys}
        rest = list(scan_range(single, SlotRange(), batches[number].checkpoint))
        assert not any(batch.restarted for batch in rest)
        assert before | {key for batch in rest for key in batch.keys} == keys
        assert len(rest) == len(batches) - number - 1


def test_a_single_server_can_be_asked_for_some_slots(single: Cache) -> None:
    fill(single, [f"k{n}" for n in range(1_000)])
    found = [listed(single, slots) for slots in (SlotRange(0, 9_999), SlotRange(10_000, 16_383))]
    assert sum(map(len, found)) == 1_000
    assert all(key_slot(key) < 10_000 for key in found[0])


@pytest.mark.usefixtures("few_at_once")
def test_a_single_server_that_was_replaced_is_scanned_from_the_start(
    tmp_path: Path, open_cache: OpenCache
) -> None:
    options = ("--dir", str(tmp_path), "--appendonly", "yes", "--appendfsync", "always")
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedValkey(cluster=False, options=options))
        cache = open_cache(server.settings())
        keys = fill(cache, [f"key-{number}" for number in range(500)])
        first = next(scan_range(cache, SlotRange()))
        os.kill(process_of(server), signal.SIGKILL)
        server.stop()
        again = EmbeddedValkey(cluster=False, options=options, port=server.port)
        stack.callback(again.stop)
        asked = Command(b"no", (b"EXISTS", b"no"))  # which fails while the server loads its data
        wait_until(lambda: open_cache(again.settings()).execute([asked]) == [0])
        batches = list(scan_range(cache, SlotRange(), first.checkpoint))
        assert [batch.restarted for batch in batches] == [True, *[False] * (len(batches) - 1)]
        assert {key for batch in batches for key in batch.keys} == keys


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize("each", [3, 40], ids=["small", "giant"])
def test_slots_that_move_between_any_two_batches_hide_no_key(
    cluster: Cache, nodes: list[Node], each: int
) -> None:
    """A resumed scan does not know where its slots were."""
    slots = (SLOT - 50, SLOT + 50)
    tags = [
        tag for tag in map(str, range(100_000)) if SLOT - 50 <= key_slot(tag.encode()) <= SLOT + 50
    ]
    keys = fill(cluster, [key for tag in tags[:40] for key in in_one_slot(tag, each)])
    source = next(index for index, node in enumerate(nodes) if holds(node, SLOT))
    with borrowed(nodes, slots, source=source):
        seen, now, checkpoint = set[bytes](), source, None
        for number in range(400):
            batch = next(scan_range(cluster, SlotRange(*slots), checkpoint), None)
            if batch is None:
                break
            seen.update(batch.keys)
            checkpoint = batch.checkpoint
            if number in (1, 3):
                target = (now + 1) % 3
                move(nodes, slots, source=now, target=target)
                wait_until(lambda target=target: moved(nodes, slots, target))  # type: ignore[misc]
                now = target
        assert batch is None
        assert seen == keys


def holds(node: Node, slot: int) -> bool:
    report = Ownership.parse(node.ask(b"CLUSTER", b"NODES"))
    return report.holds(slot, slot)


def test_a_slot_that_moves_key_by_key_is_read_at_both_nodes(
    cluster: Cache, nodes: list[Node]
) -> None:
    keys = in_one_slot(TAG, 30)
    fill(cluster, keys)
    with slot_in_between(nodes, SLOT, to=(target := other_than(SLOT))) as source:
        for moving in (keys[:10], keys[10:]):
            migrate(nodes, source, target, moving)
            assert Counter(listed(cluster, SlotRange(SLOT, SLOT))) == Counter(
                key.encode() for key in keys
            )
        give(nodes, SLOT, to=target)
        assert len(listed(cluster, SlotRange())) == 30


@pytest.mark.usefixtures("few_at_once")
def test_a_divided_scan_visits_each_key_once_and_resumes_after_any_part(cluster: Cache) -> None:
    """Slots with more keys than a part, giant ones, and many small ones."""
    names = [*(f"k{n}" for n in range(300)), *in_one_slot(TAG, 90), *in_one_slot("x", 18)]
    everything = Counter(fill(cluster, names))
    before: Counter[bytes] = Counter()
    numbers, parts = random.Random(1), 0
    for batch in scan_range(cluster, SlotRange(), most=lambda: numbers.randint(1, 9)):
        assert not batch.whole_slots or len(batch.keys) <= 9
        before += Counter(batch.keys)
        parts += 1
        stored = msgspec.json.encode(batch.checkpoint)
        checkpoint = msgspec.json.decode(stored, type=ScanCheckpoint)
        if parts % 5 == 1:
            assert before + Counter(listed(cluster, SlotRange(), checkpoint)) == everything
        if not checkpoint.giant and checkpoint.slot <= SLOTS - 1:
            assert checkpoint.scanned == before.total()
    assert before == everything
    assert parts > 60


@pytest.mark.parametrize("most", [1, 7])
def test_a_single_server_is_scanned_a_few_keys_at_a_time(single: Cache, most: int) -> None:
    keys = fill(single, [f"k{n}" for n in range(200)])
    batches = list(scan_range(single, SlotRange(), most=lambda: most))
    assert {key for batch in batches for key in batch.keys} == keys
    assert len(batches) >= 10


@pytest.mark.usefixtures("few_at_once")
def test_a_giant_slot_that_moves_key_by_key_is_waited_for(
    cluster: Cache, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = in_one_slot(TAG, 60)
    keys = fill(cluster, names)
    pauses: list[float] = []
    with slot_in_between(nodes, SLOT, to=(target := other_than(SLOT))) as source:

        def pause(seconds: float) -> None:
            """Go on with the move: it is over at the 20th pause."""
            pauses.append(seconds)
            number = len(pauses)
            if number <= 20:
                migrate(nodes, source, target, names[3 * (number - 1) : 3 * number])
            if number == 20:
                give(nodes, SLOT, to=target)

        monkeypatch.setattr(module, "sleep", pause)
        scan = scan_range(cluster, SlotRange(SLOT, SLOT), patience=60)
        assert Counter(key for batch in scan for key in batch.keys) == Counter(keys)
    assert len(pauses) >= 20
    assert max(pauses) <= 2


@pytest.mark.usefixtures("few_at_once")
def test_a_giant_slot_that_moves_for_longer_is_left_to_the_next_attempt(
    cluster: Cache, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done is in the checkpoint, which goes on once the slot has moved."""
    monkeypatch.setattr(module, "sleep", lambda _seconds: None)
    names = in_one_slot(TAG, 60)
    keys = fill(cluster, [*names, *(f"k{n}" for n in range(100))])
    before: Counter[bytes] = Counter()
    checkpoint: ScanCheckpoint | None = None
    with slot_in_between(nodes, SLOT, to=(target := other_than(SLOT))) as source:

        def scan() -> None:
            nonlocal before, checkpoint
            for batch in scan_range(cluster, SlotRange()):
                before += Counter(batch.keys)
                checkpoint = batch.checkpoint

        with pytest.raises(module.MovingError, match="being resharded"):
            scan()
        assert before.total() == 100
        migrate(nodes, source, target, names)
        give(nodes, SLOT, to=target)
        assert before + Counter(listed(cluster, SlotRange(), checkpoint)) == Counter(keys)


def test_a_slot_that_grows_after_it_was_counted_is_listed_whole(
    cluster: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = fill(cluster, in_one_slot(TAG, 5))
    count = module._RangeScan._count

    def grow(self: Any, node: Any, first: int) -> None:
        count(self, node, first)
        if first <= SLOT:
            keys.update(fill(cluster, in_one_slot(TAG, 2_000)))

    monkeypatch.setattr(module._RangeScan, "_count", grow)
    assert Counter(listed(cluster, SlotRange())) == Counter(keys)


def commands(nodes: list[Node], act: Callable[[], object]) -> int:
    """Count the commands that nodes carry out meanwhile, but for CLUSTER SLOTS and INFO."""
    for node in nodes:
        node.ask(b"CONFIG", b"RESETSTAT")
    act()
    calls = 0
    for node in nodes:
        for line in node.ask(b"INFO", b"commandstats").decode().splitlines():
            name, _, rest = line.removeprefix("cmdstat_").partition(":calls=")
            if rest and name not in ("cluster|slots", "cluster|nodes", "info", "config|resetstat"):
                calls += int(rest.partition(",")[0])
    return calls


def test_a_scan_takes_as_many_commands_in_64_parts_as_in_one(
    cluster: Cache, nodes: list[Node]
) -> None:
    fill(cluster, keys_of(0, 2_000))

    def scan(parts: int) -> int:
        return commands(nodes, lambda: [listed(cluster, each) for each in ranges(cluster, parts)])

    assert scan(64) == scan(1) <= 2 * SLOTS


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize("seed", range(3))
def test_keys_that_stay_are_seen_while_others_come_and_go(cluster: Cache, seed: int) -> None:
    rng = random.Random(seed)
    keys = [*(f"k{n}" for n in range(300)), *in_one_slot(TAG, 60)]
    stay = fill(cluster, keys)
    seen = set[bytes]()
    for batch in scan_range(cluster, SlotRange()):
        seen.update(batch.keys)
        others = [f"{{{rng.choice([TAG, *map(str, range(50))])}}}:new{n}" for n in range(20)]
        fill(cluster, others)
        gone = rng.sample(others, 10)
        cluster.execute(Command(key.encode(), (b"DEL", key)) for key in gone)
    assert seen >= stay


def test_a_report_of_a_node_is_read() -> None:
    text = (
        b"aa 10.0.0.1:6379@16379,one.example,shard-id=x myself,master - 0 1 7 connected 0-99 200 "
        b"[5->-bb] [300-<-cc]\n"
        b"bb 10.0.0.2:6379@16379,two.example master - 0 1 8 connected 101-199\n"
        b"cc 10.0.0.3:6380@16380 master - 0 1 9 connected\n"
    )
    owner, near = Ownership.parse(text), Address("near", 1)
    assert owner.holds(0, 99)
    assert owner.holds(200, 200)
    assert not owner.holds(99, 100)
    assert not owner.holds(300, 300)
    assert (owner.leaving(), owner.arriving()) == ({5: b"bb"}, {300: b"cc"})
    assert owner.node(b"bb", near=near) == ("two.example", 6379)
    assert owner.node(b"cc", near=near) == ("10.0.0.3", 6380)
    assert owner.node(b"dd", near=near) is None
    assert not Ownership.parse(b"").slots


@pytest.mark.usefixtures("few_at_once")
def test_serverless_is_scanned_though_it_reports_neither_nodes_nor_processes(
    valkey: EmbeddedValkey, cache: Cache, open_cache: OpenCache
) -> None:
    keys = fill(cache, [*(f"k{n}" for n in range(200)), *in_one_slot(TAG, 60)])
    refusals = {b"NODES": "ERR unknown subcommand", b"INFO": "ERR unknown command"}
    with Serverless(valkey.port, refusals) as proxy:
        settings = Settings(host="127.0.0.1", port=proxy.port, tls=False)
        serverless = open_cache(settings)
        serverless.cluster.is_serverless = True
        assert Counter(listed(serverless, SlotRange())) == Counter(keys)


@pytest.mark.usefixtures("few_at_once")
def test_a_server_that_does_not_name_its_process_is_scanned_in_one_go(
    single_valkey: EmbeddedValkey, single: Cache, open_cache: OpenCache
) -> None:
    keys = fill(single, [f"k{n}" for n in range(200)])
    with Serverless(single_valkey.port, {b"INFO": "NOPERM no right to run INFO"}) as proxy:
        cache = open_cache(Settings(host="127.0.0.1", port=proxy.port, tls=False))
        batches = list(scan_range(cache, SlotRange()))
        assert {batch.checkpoint.process for batch in batches} == {"?"}
        assert {key for batch in batches for key in batch.keys} == keys
