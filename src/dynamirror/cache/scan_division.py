"""Division of a scan's batch of keys into parts, each with a checkpoint of its own."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dynamirror.cache.slot_map import key_slot

if TYPE_CHECKING:
    from dynamirror.cache.slot_scan import ScannedKeys


def place_of(key: bytes) -> tuple[int, bytes]:
    """Return where a key is in the order of a divided scan."""
    return key_slot(key), key


def divided(
    batch: "ScannedKeys", before: int, most: Callable[[], int | None]
) -> Iterator["ScannedKeys"]:
    """Yield the keys of a batch of whole slots in parts, if it has too many.

    Args:
        batch: the batch; one that SCAN returned stays whole.
        before: how many keys were visited before it.
        most: returns how many keys the next part may have; None for any number.
    """
    keys, begin = batch.keys, 0
    while batch.whole_slots and (number := most()) and number < len(keys) - begin:
        if not begin:
            keys = sorted(keys, key=place_of)
        part = keys[begin : begin + number]
        begin += number
        slot, last = place_of(part[-1])
        checkpoint = replace(
            batch.checkpoint,
            slot=slot,
            after=last,
            giant=tuple(giant for giant in batch.checkpoint.giant if giant < slot),
            scanned=before + begin,
        )
        yield replace(batch, keys=part, checkpoint=checkpoint, whole_slots=False)
    yield replace(batch, keys=keys[begin:], whole_slots=False) if begin else batch
