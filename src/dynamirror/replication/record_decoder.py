"""Decodes the records of a batch into entries."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from dynamirror.cache.quarantine import ParkedItem, reason_in_view
from dynamirror.cache.writer import PackedPut, can_pack, packed_put
from dynamirror.errors import RecordError
from dynamirror.records import stream_record
from dynamirror.records.stream_record import Change, decode_put, parse_stream_arn
from dynamirror.replication.record_batch import RecordBatch, parked_item
from dynamirror.views.canary import PARTITION, views_for
from dynamirror.views.entry import Entry, entries_of_change
from dynamirror.views.view import Schema, View, Views

_Pack = Callable[[Any], PackedPut | None]

OTHER_KEY: Final = "the record's key attributes are not the table's"


def entries_of_batch(
    batch: RecordBatch, views: Views, parked: list[ParkedItem], *, fence_ttl: int
) -> tuple[Iterable[Entry], int]:
    """Return the entries of a batch, and how many were coalesced before they were decoded.

    Entries are decoded when they are drawn.

    Args:
        batch: the records.
        views: the views of all tables.
        parked: takes the items of records that cannot become entries.
        fence_ttl: seconds a fence is kept.

    Raises:
        ConfigError: a view needs old images, which the stream does not carry.
    """
    records = batch.records
    bound = views.bound(batch.table)
    pack = _packer(batch.stream_arn, bound, b"%d" % fence_ttl) if bound else _never
    # An item's newest record suffices for views that need nothing of the records before it.
    if bound and all(view.is_static for view in bound):
        newest = stream_record.newest(records)
        if newest is not records:
            entries = list(_decode(newest, views, parked, pack))
            if not parked:
                return entries, (len(records) - len(newest)) * len(bound)
            # A record that cannot be decoded must not hide those before it.
            parked.clear()
    return _decode(records, views, parked, pack), 0


def _decode(
    records: list[Any], views: Views, parked: list[ParkedItem], pack: _Pack
) -> Iterator[Entry]:
    for record in records:
        if (packed := pack(record)) is not None:
            yield packed
            continue
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
                yield from entries_of_change(view, change)
            except RecordError as error:  # the other views can still be written
                reason = reason_in_view(view, error)
                parked.append(parked_item(record, reason, change.version.created))


def _packer(arn: str, views: tuple[View, ...], fence_ttl: bytes) -> _Pack:
    """Return a function that packs the puts of the commonest records, and returns None for others.

    A third faster: a record is read, converted and packed while the processor's cache holds it.
    """
    (view, *others), stream = views, parse_stream_arn(arn)
    if others or not can_pack(view):
        return _never
    names = view.schema.keys
    partition = names[0]

    def pack(record: Any) -> PackedPut | None:
        change = decode_put(record, arn, stream, names)
        if change is None or change.keys[partition] == PARTITION:
            return None
        return packed_put(view, change, fence_ttl)

    return pack


def _never(_record: Any) -> None:
    return None


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
