"""Entries: one key of the cache, and the write that it needs."""

from collections.abc import Iterable, Iterator

import msgspec

from dynamirror.errors import RecordError
from dynamirror.records.attribute_value import Item
from dynamirror.records.stream_record import Change, check_view_type
from dynamirror.records.version import Version
from dynamirror.views.view import View


class Put(msgspec.Struct, frozen=True, gc=False):
    """Write the item to its entry; encoded only if the batch has nothing newer for it."""

    view: View
    key: str
    version: Version
    item: Item


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Delete an item's entry; of the item, at least the primary key is known."""

    view: View
    key: str
    version: Version
    item: Item


Entry = Put | Delete


def entries_of_change(view: View, change: Change) -> Iterable[Entry]:
    """Return the entries that one change writes in one view.

    Raises:
        RecordError: the new item cannot have a key in this view; an entry it had before is given
            first, to be deleted.
        ConfigError: the view needs old images, which the stream does not carry.
    """
    if not view.is_static:
        return _of_moving(view, change)
    if change.new is None:
        key = view.possible_key(change.keys)
        if key is None:
            return ()
        return (Delete(view, key, change.version, change.old or change.keys),)
    key = view.key_of(change.keys)
    if key is None:
        return ()
    return (Put(view, key, change.version, change.new),)


def _of_moving(view: View, change: Change) -> Iterator[Entry]:
    """Return the same for a view where an item can come, go or change its key."""
    old_key = _old_key(view, change)
    if change.new is None:
        if old_key is not None:
            yield Delete(view, old_key, change.version, change.old or change.keys)
        return
    try:
        new_key = view.render(change.new)
    except RecordError:
        if old_key is not None:
            yield Delete(view, old_key, change.version, change.old or change.keys)
        raise
    if old_key is not None and old_key != new_key:
        yield Delete(view, old_key, change.version, change.old or change.keys)
    if new_key is not None:
        yield Put(view, new_key, change.version, change.new)


def _old_key(view: View, change: Change) -> str | None:
    """Return the key of an earlier entry that the new one may not replace."""
    if not view.needs_old_image:
        if change.old is None and (change.new is None or not change.carries_old):
            # An item outside the view now may have had an entry.
            return view.possible_key(change.keys)
    elif not change.carries_old:
        check_view_type("NEW_IMAGE", change.table, needs_old_image=True)
    if change.old is None:
        return None
    try:
        return view.render(change.old)
    except RecordError:
        return None  # it had no entry


def entry_of_row(view: View, key: Item, item: Item | None, version: Version) -> Entry | None:
    """Return the entry that a snapshot row writes in one view; None if it writes none.

    Args:
        view: the view.
        key: the primary key that was read.
        item: what was found there, None if nothing.
        version: the as-of time of the read.

    Raises:
        RecordError: the item cannot have a key in this view.
    """
    if item is not None:
        rendered = view.render(item)
        return None if rendered is None else Put(view, rendered, version, item)
    return deletion_of_row(view, key, version)


def deletion_of_row(view: View, key: Item, version: Version) -> Delete | None:
    """Return the deletion of an item that is not in the table, or not for the view.

    It is None if the primary key alone does not determine the entry.

    Args:
        view: the view.
        key: the item's primary key.
        version: the as-of time of the read.

    Raises:
        RecordError: the item cannot have a key in this view.
    """
    rendered = view.possible_key(key)
    return None if rendered is None else Delete(view, rendered, version, key)
