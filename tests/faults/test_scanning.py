"""Every key is listed, or an error is raised, while slots move and nodes fail during a scan."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from tests.support.builders import view
from tests.support.clusters import (
    RANGES,
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
from tests.support.scans import scanned_keys
from tests.support.slots import borrowed, move, moved
from valkey.crc import key_slot

from dynamirror.cache import slot_scan as module
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.cache.slot_exchange import SlotExchange
from dynamirror.cache.slot_scan import SlotRange
from dynamirror.dynamodb.items import SnapshotRow
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.cache_scan import entries_of
from dynamirror.recovery.comparison import Comparison
from dynamirror.recovery.sweep import Sweep, SweepProgress
from dynamirror.recovery.verify import Verification
from dynamirror.settings import Settings
from dynamirror.views.encoding import JSON
from dynamirror.views.view import Schema, ViewSpec

OpenCache = Callable[[Settings], Cache]
SLOT = key_slot(b"moving")
GET = Command(b"key-1", (b"GET", b"key-1"))
# Of the last node, which is scanned last: what moves from it to the first is easily missed.
SLOTS = (10_923, 14_000)


def move_all(nodes: list[Node], *, source: int, target: int) -> None:
    """Move slots; on a busy machine the servers may give it up, and are asked again."""

    def done() -> bool:
        with suppress(CacheError):  # it is under way, or through
            if moved(nodes, SLOTS, target):
                return True
            move(nodes, SLOTS, source=source, target=target)
        return False

    wait_until(done, seconds=60)


@pytest.fixture
def last_moves(nodes: list[Node]) -> Iterator[Callable[[], None]]:
    """Move slots of the node that is scanned last to the one that is scanned first."""
    with borrowed(nodes, SLOTS, source=2):
        yield lambda: move_all(nodes, source=2, target=0)


def fill(cache: Cache, keys: list[str]) -> set[bytes]:
    """Write plain keys."""
    answers = cache.execute(Command(key.encode(), (b"SET", key, b"1")) for key in keys)
    assert answers == [b"OK"] * len(keys)
    return {key.encode() for key in keys}


def everywhere(prefix: str = "users:", each: int = 900) -> list[str]:
    """Keys of all three nodes."""
    return [key for node in range(3) for key in keys_of(node, each, prefix)]


def test_keys_whose_slots_move_to_a_node_already_scanned_are_listed(
    cluster: Cache, last_moves: Callable[[], None]
) -> None:
    keys = fill(cluster, everywhere())
    scan = scanned_keys(cluster, "users:*")
    seen = set(islice(scan, 901))  # the first node is through
    last_moves()
    assert seen | set(scan) == keys


def test_slots_that_leave_and_come_back_during_a_scan_hide_no_key(
    cluster: Cache, nodes: list[Node], last_moves: Callable[[], None]
) -> None:
    keys = fill(cluster, everywhere(each=2_500))
    with borrowed(nodes, SLOTS, source=2):
        last_moves()

        # At the last node while the first is scanned, and at the first while the last is.
        acts: Iterator[tuple[int, Callable[[], None]]] = iter(
            [(0, lambda: move_all(nodes, source=0, target=2)), (1, last_moves)]
        )
        node, act = next(acts)
        seen = set()
        for key in scanned_keys(cluster, "users:*"):
            seen.add(key)
            if RANGES[node][0] <= key_slot(key) <= RANGES[node][1]:
                act()
                node, act = next(acts, (2, lambda: None))
        assert seen == keys


class NoTable:
    """An empty table."""

    def most_at_once(self, *_seconds: float) -> None:
        """Read any number."""

    def read_many(self, keys: Any, **_options: Any) -> Iterator[SnapshotRow]:
        """Find nothing."""
        return (SnapshotRow(key, None, SnapshotVersion(2_000)) for key in keys)

    def pages(self, _segment: Any, _start: Any) -> Iterator[Any]:
        """Hold nothing."""
        return iter(())


def once(act: Callable[[], object]) -> Callable[[Any], object]:
    """Act when first told of progress, after some entries of the first node."""
    times = count()

    def tell(progress: SweepProgress | Comparison) -> None:
        if progress.entries > 0 and next(times) == 2:
            act()

    return tell


def test_a_sweep_removes_orphans_whose_slots_move_under_it(
    cluster: Cache, last_moves: Callable[[], None]
) -> None:
    fill(cluster, everywhere())
    nobody: Any = NoTable()
    work = Sweep(cluster, [view()], nobody, SnapshotVersion(1_000), fence_ttl=93_600)
    act = once(last_moves)
    for progress in work.run(SlotRange(), SweepProgress()):
        act(progress)
    assert set(scanned_keys(cluster, "users:*")) == set()


def test_verify_finds_orphans_whose_slots_move_under_it(
    cluster: Cache, last_moves: Callable[[], None]
) -> None:
    keys = fill(cluster, everywhere())
    nobody: Any = NoTable()
    result = Verification(
        cache=cluster,
        views=[view()],
        scan=nobody,
        reader=nobody,
        settle=0,
        on_progress=once(last_moves),
        wait=lambda _: None,
    ).run()
    assert (result.orphaned, result.entries) == (len(keys), len(keys))


def test_keys_that_move_one_by_one_to_a_node_already_scanned_are_listed(
    cluster: Cache, nodes: list[Node]
) -> None:
    """The slot is still half-way at the end, so its holder never changed."""
    hidden = in_one_slot("moving", 30)
    assert RANGES[0][1] < SLOT
    keys = fill(cluster, [*keys_of(0, 900), *hidden])
    with slot_in_between(nodes, SLOT, to=0) as source:
        scan = scanned_keys(cluster, "*")
        seen = set(islice(scan, 901 - len(hidden)))
        migrate(nodes, source, 0, hidden)
        seen |= set(scan)
        assert seen == keys
        assert set(scanned_keys(cluster, "*")) == keys


def test_an_index_that_moves_while_its_members_are_read_hides_none(
    cluster: Cache, nodes: list[Node]
) -> None:
    """A cursor of ZSCAN means nothing to another node."""
    schema = Schema("users", ("pk", "sk"), ("S", "S"))
    mirrored = view(ViewSpec(key="users:{{{pk}}}:{sk}", encoding=JSON, collection=True), schema)
    assert mirrored.collection is not None
    index = mirrored.collection.index_key({"pk": {"S": "moving"}, "sk": {"S": "x"}})
    members = [b"%05d" % number for number in range(5_000)]
    words = [word for member in members for word in (b"0", member)]
    cluster.call(index, b"ZADD", index, *words)
    with slot_in_between(nodes, SLOT, to=(target := other_than(SLOT))) as source:
        found = entries_of(cluster, mirrored)
        seen = [one.item_key["sk"]["S"] for one in islice(found, 1_500)]
        migrate(nodes, source, target, [index])
        give(nodes, SLOT, to=target)
        seen += [one.item_key["sk"]["S"] for one in found]
        assert set(seen) == {member.decode() for member in members}


def restless(nodes: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each node take a slot, as it were, while it is asked."""
    send = SlotExchange._send

    def send_(self: Any, node: Any, commands: Any) -> list[Any]:
        first = send(self, node, commands[:1])
        for each in nodes:
            each.ask(b"CLUSTER", b"BUMPEPOCH")
        return first + send(self, node, commands[1:])

    monkeypatch.setattr(SlotExchange, "_send", send_)


@pytest.mark.parametrize("most", [100, 0], ids=["small", "giant"])
def test_slots_that_never_rest_are_an_error(
    cluster: Cache, nodes: list[Node], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(module, "_MOST_IN_SLOT", most)
    fill(cluster, keys_of(0, 1))
    restless(nodes, monkeypatch)
    with pytest.raises(CacheError, match="being resharded"):
        list(scanned_keys(cluster, "*"))


def test_a_giant_slot_that_is_never_read_in_one_go_is_an_error_at_last(
    cluster: Cache, nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(module, "_MOST_ATTEMPTS", 3)
    monkeypatch.setattr(module, "_MOST_IN_SLOT", 10)
    monkeypatch.setattr(module, "_SCAN_COUNT", 10)
    fill(cluster, [*in_one_slot("moving", 300), *keys_of(2, 300)])

    def scan() -> None:
        for batch in module.scan_range(cluster, SlotRange()):
            if not batch.whole_slots:
                # A node keeps its epoch as long as it knows no greater one.
                for node in sorted(nodes, key=epoch):
                    wait_until(partial(bump, node))

    def epoch(node: Node) -> int:
        found = re.search(rb"cluster_my_epoch:(\d+)", node.ask(b"CLUSTER", b"INFO"))
        assert found
        return int(found[1])

    def bump(node: Node) -> bool:
        return bool(node.ask(b"CLUSTER", b"BUMPEPOCH").startswith(b"BUMPED"))

    with pytest.raises(CacheError, match="being resharded"):
        scan()


def test_a_node_that_starts_again_during_a_scan_hides_no_key(
    tmp_path: Path, open_cache: OpenCache
) -> None:
    """Its cursors are of no use to the process that follows."""
    options = ("--dir", str(tmp_path), "--appendonly", "yes", "--appendfsync", "always")
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedValkey(cluster=False, options=options))
        cache = open_cache(server.settings())
        keys = fill(cache, [f"key-{number}" for number in range(5_000)])
        scan = scanned_keys(cache, "*")
        seen = set(islice(scan, 1_500))
        os.kill(process_of(server), signal.SIGKILL)
        server.stop()
        again = EmbeddedValkey(cluster=False, options=options, port=server.port)
        stack.callback(again.stop)
        wait_until(lambda: open_cache(again.settings()).execute([GET]) == [b"1"])
        assert seen | set(scan) == keys
