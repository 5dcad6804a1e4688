"""Decodes the records of a batch into entries."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from dynamirror.cache.quarantine import ParkedItem, reason_in_view
from dynamirror.errors import RecordError
from dynamirror.records import stream_record
from dynamirror.records.stream_record import Change
from dynamirror.replication.record_batch import RecordBatch, parked_item
from dynamirror.views.canary import views_for
from dynamirror.views.entry import Entry, Put, entries_of_change
from dynamirror.views.view import Schema, Views

OTHER_KEY: Final = "the record's key attributes are not the table's"


def entries_of_batch(
    batch: RecordBatch, views: Views, parked: list[ParkedItem]
) -> tuple[Iterable[Entry], int]:
    """Return the entries of a batch, and how many were coalesced before they were decoded.

    Entries are decoded when they are drawn.

    Args:
        batch: the records.
        views: the views of all tables.
        parked: takes the items of records that cannot become entries.

    Raises:
        ConfigError: a view needs old images, which the stream does not carry.
    """
    records = batch.records
    bound = views.bound(batch.table)
    # An item's newest record suffices for views that need nothing of the records before it.
    if bound and all(view.is_static for view in bound):
        newest = stream_record.newest(records)
        if newest is not records:
            entries = list(_decode(newest, views, parked))
            if not parked:
                return entries, (len(records) - len(newest)) * len(bound)
            # A record that cannot be decoded must not hide those before it.
            parked.clear()
    return _decode(records, views, parked), 0


def _decode(records: list[Any], views: Views, parked: list[ParkedItem]) -> Iterator[Entry]:
    for record in records:
        change = None
        try:
            change = stream_record.decode(record)
            views_of_table = views.of_change(change)
            _check_key(change, views_of_table[0].schema)
            views_of_item = views_for(change.keys, views_of_table)
        except RecordError as error:
            created = change.version.created if change else None
            parked.append(parked_item(record, str(error), created))
            continue
        for view in views_of_item:
            try:
                # As entries_of_change() would, with a call less for the commonest change.
                if change.new is not None and view.is_static:
                    key = view.key_of(change.keys)
                    if key is not None:
                        yield Put(view, key, change.version, change.new)
                else:
                    yield from entries_of_change(view, change)
            except RecordError as error:  # the other views can still be written
                reason = reason_in_view(view, error)
                parked.append(parked_item(record, reason, change.version.created))


def _check_key(change: Change, schema: Schema) -> None:
    """Refuse a record that does not name one item: it would touch no entry, or another item's.

    Raises:
        RecordError: its key attributes are not the table's, or an image is of another item.
    """
    keys, new, old = change.keys, change.new, change.old
    if len(keys) != len(schema.keys):
        raise RecordError(OTHER_KEY)
    for name in schema.keys:
        value = keys.get(name)
        if value is None:
            raise RecordError(OTHER_KEY)
        if (new is not None and new.get(name) != value) or (
            old is not None and old.get(name) != value
        ):
            raise RecordError("the record's key is not that of its image")
