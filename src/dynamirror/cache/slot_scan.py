"""Goes through the keys of a cache slot by slot, resumably, also while slots move.

A range of slots is a unit of work: ranges are disjoint, and each key is visited once. A cache that
is no cluster has SCAN, and its cursor.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

import msgspec

from dynamirror.cache.cluster import Cluster
from dynamirror.cache.connection import AnswerError
from dynamirror.cache.scan_division import divided, place_of
from dynamirror.cache.slot_exchange import UNKNOWN, MovedError, SlotExchange
from dynamirror.cache.slot_map import SLOTS, Node, key_slot
from dynamirror.cache.slot_ownership import Ownership
from dynamirror.errors import CacheError

if TYPE_CHECKING:
    from dynamirror.cache.client import Cache

# Keys of one exchange, unless one slot has more.
_KEYS_AT_ONCE: Final = 10_000
# Slots that are counted in one exchange.
_SLOTS_AT_ONCE: Final = 1024
# A slot with more keys is not listed in one answer, which would stop its node for 50 ms and more.
# A mirror of a billion items has 60,000 entries in each slot, and fences.
_MOST_IN_SLOT: Final = 131_072
# What SCAN looks at in one call, and how many calls make a batch.
_SCAN_COUNT: Final = 1000
_SCANS_AT_ONCE: Final = 10
# A batch is read again where slots moved or a node failed, after a growing pause in seconds: the
# nodes need a moment to agree.
_MOST_ATTEMPTS: Final = 9
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
# How long a job without another to resume it waits for slots that move: a slot with very many keys
# moves key by key for minutes.
MOVING_SECONDS: Final = 600.0
# Nodes answer so in a failover, or when they start.
_HEALING: Final = ("LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "BUSY")
_END: Final = "0"


class SlotRange(msgspec.Struct, frozen=True):
    """A range of hash slots.

    Args:
        first: the first slot.
        last: the last slot.
    """

    first: int = 0
    last: int = SLOTS - 1


ALL_SLOTS: Final = SlotRange()


class ScanCheckpoint(msgspec.Struct, frozen=True):
    """Where the scan of a range goes on.

    Args:
        slot: the next slot to list.
        after: the last key of that slot that was visited, in the order of bytes; empty for none.
        giant: slots that have too many keys for one answer, and are left for SCAN.
        cursor: the cursor of the SCAN under way; empty for none.
        process: the server that the cursor belongs to.
        scanned: how many keys were visited so far.
    """

    slot: int = 0
    after: bytes = b""
    giant: tuple[int, ...] = ()
    cursor: str = ""
    process: str = ""
    scanned: int = 0


class ScannedKeys(msgspec.Struct, frozen=True):
    """Some keys of a range.

    Args:
        keys: the keys.
        checkpoint: where to go on after them.
        whole_slots: whether they are all keys of some slots; else they are what SCAN returned.
        restarted: whether all keys of the range come again, from this batch on.
    """

    keys: list[bytes]
    checkpoint: ScanCheckpoint
    whole_slots: bool
    restarted: bool = False


def ranges(cache: "Cache", parts: int) -> list[SlotRange]:
    """Divide the keys of a cache into disjoint ranges of slots, and return these.

    A cache that is no cluster cannot be divided, and is one range.

    Args:
        cache: the cache.
        parts: the number of ranges; a cluster has at most one a slot.

    Raises:
        CacheError: no node can be reached.
    """
    cache.cluster.refresh()
    parts = max(1, min(parts, SLOTS)) if cache.cluster.is_clustered else 1
    begins = [SLOTS * index // parts for index in range(parts + 1)]
    return [SlotRange(first, end - 1) for first, end in pairwise(begins)]


def scan_range(
    cache: "Cache",
    slots: SlotRange,
    checkpoint: ScanCheckpoint | None = None,
    *,
    most: Callable[[], int | None] = lambda: None,
    patience: float = 0.0,
) -> Iterator[ScannedKeys]:
    """Yield every key of a range that exists throughout; a few may come twice.

    Args:
        cache: the cache.
        slots: the range.
        checkpoint: of an earlier batch of the same range; None for the beginning.
        most: returns about how many keys the next batch may have; None for the default.
        patience: seconds without a batch in which to wait for slots that move, beyond the first
            attempts.

    Raises:
        MovingError: slots kept moving; what is done is in the last checkpoint.
        CacheError: a node cannot be reached or refuses.
    """
    return _RangeScan(cache.cluster, slots, most, patience).batches(checkpoint)


def server_of(cache: "Cache", key: bytes) -> str:
    """Return what names the server of a key, and its slots; another cursor is of no use there.

    Args:
        cache: the cache.
        key: the key.

    Raises:
        CacheError: the server cannot be reached or refuses.
    """
    cache.cluster.refresh()
    node = cache.cluster.node_of(key)
    if node is None:
        raise CacheError(f"cache {cache.cluster.seed}: no node holds the key's slot")
    with cache.cluster.connection(node) as connection:
        return SlotExchange(cache.cluster).server(node, connection)


class MovingError(CacheError):
    """Slots keep moving, so that their keys cannot be listed now."""


class _RestartError(CacheError):
    """The server of a cursor is another, or its slots were elsewhere meanwhile."""


class _RangeScan:
    """The scan of one range."""

    def __init__(
        self,
        cluster: Cluster,
        slots: SlotRange,
        most: Callable[[], int | None],
        patience: float,
    ) -> None:
        self._cluster = cluster
        self._nodes = SlotExchange(cluster)
        self._range = slots
        self._most = most
        self._patience = patience
        self._gives_up: float | None = None
        self._counts: dict[int, int] = {}
        self._failures = 0
        self._restarts = 0

    def batches(self, checkpoint: ScanCheckpoint | None) -> Iterator[ScannedKeys]:
        """Yield the batches."""
        start = ScanCheckpoint(self._range.first)
        checkpoint, restarted = checkpoint or start, False
        while True:
            try:
                self._cluster.refresh()
                batch = self._next(checkpoint)
            except CacheError as error:
                self._wait(error)
                self._cluster.invalidate_topology()
                self._counts.clear()
                if checkpoint.cursor and (
                    isinstance(error, _RestartError) or checkpoint.process.startswith(UNKNOWN)
                ):
                    self._restarts += 1
                    checkpoint, restarted = start, True
                continue
            if batch is None:
                return
            self._failures = 0
            if not self._restarts:
                self._gives_up = None
            for part in divided(batch, checkpoint.scanned, self._most):
                yield msgspec.structs.replace(part, restarted=True) if restarted else part
                restarted = False
            checkpoint = batch.checkpoint

    def _wait(self, error: CacheError) -> None:
        """Wait a moment; raise the error if waiting does not help."""
        self._failures += 1
        moved = isinstance(error, MovedError | _RestartError)
        attempts = max(self._failures, self._restarts)
        if self._gives_up is None:
            self._gives_up = monotonic() + self._patience
        has_time = moved and monotonic() < self._gives_up
        if has_time or (attempts < _MOST_ATTEMPTS and (moved or _may_heal(error))):
            sleep(
                min(_SHORTEST_PAUSE * 2 ** min(self._failures - 1, _MOST_ATTEMPTS), _LONGEST_PAUSE)
            )
            return
        if not moved:
            raise error
        raise MovingError(
            f"cache {self._cluster.seed}: {error} each time its keys were listed "
            f"({attempts} times); try again once the cluster is no longer being resharded"
        ) from error

    def _next(self, checkpoint: ScanCheckpoint) -> ScannedKeys | None:
        """Return the next batch; None at the end."""
        if not self._cluster.is_clustered:
            if checkpoint.cursor == _END:
                return None
            return self._scan(self._cluster.nodes[0], checkpoint)
        if checkpoint.slot <= self._range.last:
            return self._list(checkpoint)
        if checkpoint.giant:
            return self._scan(self._holder(checkpoint.giant[0]), checkpoint)
        return None

    def _holder(self, slot: int) -> Node:
        node = self._cluster.holder(slot)
        if node is None:
            raise MovedError(f"no node held slot {slot}")
        return node

    def _list(self, checkpoint: ScanCheckpoint) -> ScannedKeys:
        """List the keys of the next slots, all of one node."""
        node, slot, total = self._holder(checkpoint.slot), checkpoint.slot, 0
        if slot not in self._counts:
            self._count(node, slot)
        giant, counts = list[int](), dict[int, int]()
        while (count := self._counts.get(slot)) is not None:
            if count > _MOST_IN_SLOT:
                giant.append(slot)
            elif total and total + count > _KEYS_AT_ONCE:
                break
            elif count:
                counts[slot] = count
                total += count
            slot += 1
        keys = self._keys_of(node, counts) if counts else []
        if checkpoint.after:
            place = (checkpoint.slot, checkpoint.after)
            keys = [key for key in keys if place_of(key) > place]
        after = msgspec.structs.replace(
            checkpoint,
            slot=slot,
            after=b"",
            giant=(*checkpoint.giant, *giant),
            scanned=checkpoint.scanned + len(keys),
        )
        for done in range(checkpoint.slot, slot):
            del self._counts[done]
        return ScannedKeys(keys, after, whole_slots=True)

    def _count(self, node: Node, first: int) -> None:
        """Count the keys of the next slots of a node."""
        last = first
        end = min(self._range.last, first + _SLOTS_AT_ONCE - 1)
        while last < end and self._cluster.holder(last + 1) == node:
            last += 1
        slots = range(first, last + 1)
        owner, answers = self._nodes.run(
            node, [(b"CLUSTER", b"COUNTKEYSINSLOT", slot) for slot in slots]
        )
        self._check(owner, node, first, last)
        self._counts = dict(zip(slots, answers, strict=True))
        for slot in owner.leaving():
            if slot in self._counts:
                self._counts[slot] += 1  # the other node may have all of its keys

    def _check(self, owner: Ownership, node: Node, first: int, last: int) -> None:
        if not self._nodes.holds(owner, first, last):
            raise MovedError(f"slots moved from {node}")

    def _keys_of(self, node: Node, counts: dict[int, int]) -> list[bytes]:
        """List the keys of slots of one node.

        Args:
            node: the node.
            counts: the number of keys that each slot had a moment ago.
        """
        owner, lists = self._get(node, counts)
        self._check(owner, node, min(counts), max(counts))
        keys = [key for found in lists for key in found]
        leaving = {slot: other for slot, other in owner.leaving().items() if slot in counts}
        for slot, other in leaving.items():
            keys += self._keys_at_target(slot, owner, owner.node(other, near=node))
        # A key moves in one direction only, so that it was seen here or there.
        if leaving and self._nodes.name(self._nodes.run(node, [])[0]) != self._nodes.name(owner):
            raise MovedError("slots moved between nodes")
        return list(dict.fromkeys(keys)) if leaving else keys

    def _get(self, node: Node, counts: dict[int, int]) -> tuple[Ownership, list[list[bytes]]]:
        """Return the keys that a node has of slots, all of them, even if it is not the holder."""
        # The answer shows whether there are more.
        most = {slot: count + count // 4 + 100 for slot, count in counts.items()}
        owner, lists = self._nodes.run(
            node,
            [(b"CLUSTER", b"GETKEYSINSLOT", slot, number) for slot, number in most.items()],
        )
        for found, (slot, number) in zip(lists, most.items(), strict=True):
            if len(found) >= number:
                self._counts[slot] = counts[slot] = 2 * number
                if 2 * number > _MOST_IN_SLOT:
                    raise MovedError(f"slot {slot} grew")
                return self._get(node, counts)
        return owner, lists

    def _keys_at_target(self, slot: int, owner: Ownership, target: Node | None) -> list[bytes]:
        """Return the keys of a slot that moves key by key that the other node has already."""
        if target is None:
            raise MovedError(f"slot {slot} moved to an unknown node")
        _, (count,) = self._nodes.run(target, [(b"CLUSTER", b"COUNTKEYSINSLOT", slot)])
        if count > _MOST_IN_SLOT:
            raise MovedError(f"the giant slot {slot} moved key by key")
        other, (keys,) = self._get(target, {slot: count})
        if other.arriving().get(slot) != owner.id and not other.holds(slot, slot):
            raise MovedError("slots moved between nodes")
        return keys

    def _scan(self, node: Node, checkpoint: ScanCheckpoint) -> ScannedKeys:
        """Return the next keys of a node by SCAN, of the range or of the giant slots that it holds.

        A slot that moves to a node behind the cursor would be missed, so slots must not move.
        """
        owner, giant = Ownership(), frozenset[int]()
        if self._cluster.is_clustered:
            owner, _ = self._nodes.run(node, [])
            held = (slot for slot in checkpoint.giant if self._nodes.holds(owner, slot, slot))
            giant = frozenset(held)
            if not giant or not giant.isdisjoint(owner.leaving()):
                raise MovedError("a giant slot moved")
        keys, scanned, cursor = list[bytes](), 0, checkpoint.cursor or _END
        most = self._most() or _SCAN_COUNT * _SCANS_AT_ONCE
        count = min(most, _SCAN_COUNT)
        with self._cluster.connection(node) as connection:
            process = self._nodes.server(node, connection)
            if checkpoint.cursor and process != checkpoint.process:
                raise _RestartError("the server was replaced, or slots moved,")
            for _ in range(min(most // count, _SCANS_AT_ONCE)):
                words = (b"SCAN", cursor, b"COUNT", count)
                answer, found = self._cluster.exchange(node, connection, *words)
                cursor = answer.decode()
                scanned += len(found)
                keys += self._selected(found, giant)
                if cursor == _END:
                    break
            # The former primary answers, too, but may have other keys.
            if self._nodes.server(node, connection) != process:
                raise _RestartError("the server was replaced, or slots moved,")
        after = msgspec.structs.replace(
            checkpoint, cursor=cursor, process=process, scanned=checkpoint.scanned + scanned
        )
        if cursor == _END and self._cluster.is_clustered:
            rest = tuple(slot for slot in checkpoint.giant if slot not in giant)
            after = msgspec.structs.replace(after, giant=rest, cursor="", process="")
        return ScannedKeys(keys, after, whole_slots=False)

    def _selected(self, keys: list[bytes], giant: frozenset[int]) -> list[bytes]:
        if self._cluster.is_clustered:
            return [key for key in keys if key_slot(key) in giant]
        if self._range == ALL_SLOTS:
            return keys
        first, last = self._range.first, self._range.last
        return [key for key in keys if first <= key_slot(key) <= last]


def _may_heal(error: CacheError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) or (isinstance(cause, AnswerError) and cause.code in _HEALING)
