"""Items that cannot become entries, set aside with the reason, so that no shard is ever blocked."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

import msgspec

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import PARK, RELEASE
from dynamirror.cache.stored_record import decode_record, encode_record
from dynamirror.errors import RecordError
from dynamirror.records.attribute_value import Item, to_json, typed
from dynamirror.settings import QUARANTINE_LIMIT
from dynamirror.views.keyspace import overflow_key, quarantine_key
from dynamirror.views.view import View

# A key has at most 3 KB in DynamoDB, and at most six times as much in JSON.
_LONGEST_KEY = 20_000
_LONGEST_REASON = 500


class ParkedItem(msgspec.Struct, frozen=True):
    """An item to quarantine.

    Args:
        table: the table's name; `?` where the record does not name it.
        key: the item's primary key; None where the record has none.
        sequence: the record's SequenceNumber, as it is spelt; `?` where it has none.
        reason: why the item cannot become an entry, without item data.
        created: seconds since 1970 by which the change had been made.
    """

    table: str
    key: Item | None
    sequence: str
    reason: str
    created: int = 0

    @property
    def field(self) -> bytes:
        """Return the item's name in the quarantine: its key, or the record if it has no key."""
        if self.key:
            with suppress(RecordError, RecursionError):
                text = to_json({name: typed(value) for name, value in self.key.items()})
                if len(text) <= _LONGEST_KEY:
                    return text
        return f"record {self.sequence}".encode()


def reason_in_view(view: View, reason: object) -> str:
    """Return the reason why an item has no entry in one view, for the quarantine.

    Args:
        view: the view.
        reason: the error, or its text.
    """
    return f"view {view.name}: {reason}"


def merged(items: Iterable[ParkedItem]) -> list[ParkedItem]:
    """Merge the items that several views parked for one record, with all their reasons."""
    merged_items: dict[tuple[str, bytes, str], ParkedItem] = {}
    for item in items:
        identity = item.table, item.field, item.sequence
        first = merged_items.setdefault(identity, item)
        if item.reason not in first.reason:
            merged_items[identity] = msgspec.structs.replace(
                first, reason=f"{first.reason}; {item.reason}"
            )
    return list(merged_items.values())


class QuarantineNote(msgspec.Struct, frozen=True):
    """Why an item is in quarantine, and since when.

    Args:
        reason: why it is there.
        sequence_number: SequenceNumber of the newest record that parked it, as it is spelt there.
        created: seconds since 1970 by which its newest change had been made.
        first: time of its first parking, in ISO 8601.
        last: time of its last parking, in ISO 8601.
        count: number of parkings; a record that is delivered again counts again.
    """

    reason: str = "the note about it cannot be read"
    sequence_number: str = "?"
    created: int = 0
    first: str = "?"
    last: str = "?"
    count: int = 0


class QuarantineRecord(msgspec.Struct, frozen=True):
    """An item in quarantine.

    Args:
        field: its name in the quarantine.
        text: the note, as it is stored.
        note: the note, decoded.
    """

    field: bytes
    text: bytes
    note: QuarantineNote

    @property
    def name(self) -> str:
        """Return the field as text."""
        return self.field.decode(errors="replace")

    @property
    def key(self) -> dict[str, dict[str, str]] | None:
        """Return the item's key in DynamoDB JSON, binary as base64; None if it is not known."""
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(self.field, type=dict[str, dict[str, str]])
        return None


def park(
    cache: Cache, items: Sequence[ParkedItem], *, at: str, limit: int = QUARANTINE_LIMIT
) -> list[ParkedItem]:
    """Quarantine items, each once; return those that the cache did not take.

    Args:
        cache: the cache.
        items: the items.
        at: the time, in ISO 8601.
        limit: how many items of one table are listed; more are only counted.

    Raises:
        CacheError: no node of the cache can be reached.
    """
    commands = []
    for item in items:
        keys = quarantine_key(item.table).encode(), overflow_key(item.table).encode()
        # A reason may quote a malformed record, which need not be valid Unicode.
        reason = item.reason[:_LONGEST_REASON].encode(errors="backslashreplace")
        note = item.field, reason, item.sequence, item.created, at
        commands.append(PARK.command(*keys, *note, limit))
    answers = cache.execute(commands) if commands else []
    return [
        item for item, answer in zip(items, answers, strict=True) if isinstance(answer, Failure)
    ]


def read_quarantine(cache: Cache, table: str) -> list[QuarantineRecord]:
    """Return a table's quarantine, the items that are longest there first.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = quarantine_key(table)
    flat = cache.call(key, b"HGETALL", key)
    reading = "its item stays in quarantine, without its reason"
    items = []
    for field, text in zip(flat[::2], flat[1::2], strict=True):
        # The field stays out of the log: it is an item's key.
        note = decode_record(text or b"?", QuarantineNote, key, reading=reading)
        items.append(QuarantineRecord(field, text, note or QuarantineNote()))
    return sorted(items, key=lambda item: (item.note.first, item.field))


def count(cache: Cache, table: str) -> int:
    """Return how many items are in a table's quarantine.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = quarantine_key(table)
    return int(cache.call(key, b"HLEN", key))


def overflow(cache: Cache, table: str) -> int:
    """Return how often an item could not be listed, because the quarantine was full.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = overflow_key(table)
    return int(cache.call(key, b"GET", key) or 0)


def release(
    cache: Cache, table: str, item: QuarantineRecord, *, instead: QuarantineNote | None = None
) -> bool:
    """Release an item, unless it was parked again since it was read; return whether it was not.

    Args:
        cache: the cache.
        table: the table's name.
        item: the item, as it was read.
        instead: the note to keep the item with; None to release it.

    Raises:
        CacheError: the cache cannot be reached.
    """
    key = quarantine_key(table).encode()
    note = b"" if instead is None else encode_record(instead)
    answer = cache.execute_one(RELEASE.command(key, item.field, item.text, note))
    return bool(answer == b"released")


def forget_overflow(cache: Cache, table: str, count: int) -> None:
    """Subtract a count that was read from the counter of items that could not be listed.

    Raises:
        CacheError: the cache cannot be reached.
    """
    key = overflow_key(table)
    cache.call(key, b"DECRBY", key, count)
