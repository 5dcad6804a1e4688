"""The answers to `quarantine` and `redrive`."""

import time
from collections.abc import Callable, Sequence

import msgspec

from dynamirror.cache.client import Cache
from dynamirror.cache.quarantine import (
    QuarantineRecord,
    forget_overflow,
    overflow,
    read_quarantine,
    release,
)
from dynamirror.dynamodb.items import CONSISTENT_MARGIN, SnapshotReader
from dynamirror.errors import ConfigError
from dynamirror.operations.messages import LeftItem, Quarantine, QuarantinedItem, Redrive
from dynamirror.recovery.redrive import Outcome, redrive, seconds_until_safe
from dynamirror.views.view import View

# Even the youngest change is old enough after the margin; the rest is for clocks that differ.
_LONGEST_WAIT = CONSISTENT_MARGIN + 5
# A Lambda function's answer must not exceed 6 MB.
_MOST_SHOWN = 5_000


def list_quarantine(cache: Cache, table: str) -> Quarantine:
    """Return a table's quarantine.

    Raises:
        CacheError: the cache cannot be reached.
    """
    items = read_quarantine(cache, table)
    shown = [_item(item) for item in items[:_MOST_SHOWN]]
    return Quarantine(table, shown, overflow(cache, table), more=len(items) - len(shown))


def discard(cache: Cache, table: str, name: str) -> Quarantine:
    """Drop an item from the quarantine, and return the rest.

    Args:
        cache: the cache.
        table: the table's name.
        name: the item's name in the quarantine, or `all`.

    Raises:
        CacheError: the cache cannot be reached.
        ConfigError: no item has that name.
    """
    items, unlisted = read_quarantine(cache, table), overflow(cache, table)
    named = [item for item in items if name in ("all", item.name)]
    if not named and name != "all":
        raise ConfigError(f"--discard: {name} is not in the quarantine of table {table}")
    discarded = sum(release(cache, table, item) for item in named)
    if name == "all" and unlisted:
        forget_overflow(cache, table, unlisted)
    return msgspec.structs.replace(list_quarantine(cache, table), discarded=discarded)


def redrive_all(
    cache: Cache,
    views: Sequence[View],
    reader: SnapshotReader,
    *,
    fence_ttl: int,
    wait: bool,
    on_progress: Callable[[str, float, float | None], object],
) -> Redrive:
    """Apply all quarantined items again, and return the result.

    Args:
        cache: the cache.
        views: all views of the table.
        reader: reads the table.
        fence_ttl: seconds that a fence is kept.
        wait: whether to wait until no item is too fresh.
        on_progress: called with the activity, what is done, and the total.

    Raises:
        CacheError: the cache cannot be reached.
        SourceError: the table cannot be read.
    """
    table = views[0].schema.table
    items = read_quarantine(cache, table)
    if wait and items:
        _wait_until_safe(reader, items, on_progress)
    healed, left = 0, []
    results = redrive(cache, views, reader, items, fence_ttl=fence_ttl)
    for number, result in enumerate(results, 1):
        on_progress("redriving", number, len(items))
        if result.outcome is Outcome.HEALED:
            healed += 1
        else:
            left.append(LeftItem(_item(result.item), result.outcome, result.reason))
    changeable = [view.name for view in views if view.needs_old_image and not view.owns_its_keys]
    more, unlisted = max(0, len(left) - _MOST_SHOWN), overflow(cache, table)
    return Redrive(table, healed, left[:_MOST_SHOWN], unlisted, changeable, more)


def _wait_until_safe(
    reader: SnapshotReader,
    items: Sequence[QuarantineRecord],
    on_progress: Callable[[str, float, float | None], object],
) -> None:
    seconds = min(seconds_until_safe(items, reader.as_of()), _LONGEST_WAIT)
    for second in range(seconds):
        on_progress("waiting until none is too fresh", second, seconds)
        time.sleep(1)
    if seconds:
        reader.as_of()  # the next rows get the current as-of time


def _item(item: QuarantineRecord) -> QuarantinedItem:
    note = item.note
    return QuarantinedItem(
        item=item.name,
        key=item.key,
        reason=note.reason,
        sequence_number=note.sequence_number,
        first=note.first,
        last=note.last,
        count=note.count,
    )
