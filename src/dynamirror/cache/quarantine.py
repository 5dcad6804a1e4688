"""Items that cannot become entries, set aside with the reason, so that no shard is ever blocked."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import msgspec

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import PARK, RELEASE
from dynamirror.errors import RecordError
from dynamirror.records.attribute_value import Item, to_json, typed
from dynamirror.settings import QUARANTINE_LIMIT
from dynamirror.views.keyspace import overflow_key, quarantine_key

# DynamoDB's keys have 3 KB at the most, of which JSON may make six times as much.
_LONGEST_KEY = 20_000


_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class ParkedItem:
    """One item that was set aside.

    Args:
        table: the table's name; `?` where the record does not tell.
        key: the item's primary key; None where the record does not tell.
        sequence: the record's SequenceNumber, as it is spelt; `?` where it has none.
        reason: why; holds no item data.
        created: seconds since 1970 by which the change had been made.
    """

    table: str
    key: Item | None
    sequence: str
    reason: str
    created: int = 0

    @property
    def field(self) -> bytes:
        """What names the item in the quarantine: its key, or the record if the key is not known."""
        if self.key:
            with suppress(RecordError, RecursionError):
                text = to_json({name: typed(value) for name, value in self.key.items()})
                if len(text) <= _LONGEST_KEY:
                    return text
        return f"record {self.sequence}".encode()


def merged(items: Iterable[ParkedItem]) -> list[ParkedItem]:
    """Make one of what was set aside of one record in several views, with all the reasons."""
    found: dict[tuple[str, bytes, str], ParkedItem] = {}
    for item in items:
        at = item.table, item.field, item.sequence
        held = found.setdefault(at, item)
        if item.reason not in held.reason:
            found[at] = replace(held, reason=f"{held.reason}; {item.reason}")
    return list(found.values())


class QuarantineNote(msgspec.Struct, frozen=True):
    """What the quarantine tells about an item.

    Args:
        reason: why it is there.
        sequence_number: of the record that it was last seen in, as it is spelt there.
        created: seconds since 1970 by which its newest change had been made.
        first: when it was first parked, in ISO 8601.
        last: when it was last parked.
        count: how often it was parked; a record that is delivered again counts again.
    """

    reason: str = "the note about it cannot be read"
    sequence_number: str = "?"
    created: int = 0
    first: str = "?"
    last: str = "?"
    count: int = 0


@dataclass(frozen=True, slots=True)
class QuarantineRecord:
    """An item in quarantine.

    Args:
        field: what names it there.
        text: the note, as it was read.
        note: the note.
    """

    field: bytes
    text: bytes
    note: QuarantineNote

    @property
    def name(self) -> str:
        """The field as text."""
        return self.field.decode(errors="replace")

    @property
    def key(self) -> dict[str, dict[str, str]] | None:
        """The item's primary key in DynamoDB JSON, binary as base64; None if it is not known."""
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(self.field, type=dict[str, dict[str, str]])
        return None


def park(
    cache: Cache, items: Sequence[ParkedItem], *, at: str, limit: int = QUARANTINE_LIMIT
) -> list[ParkedItem]:
    """Set items aside, each once; returns those that the cache did not take.

    Args:
        cache: where to.
        items: what.
        at: when, in ISO 8601.
        limit: how many items of one table are listed; more are only counted.

    Raises:
        CacheError: no node of the cache can be reached.
    """
    commands = []
    for item in items:
        keys = quarantine_key(item.table).encode(), overflow_key(item.table).encode()
        # Of what was malformed, a reason may quote what is no valid text.
        reason = item.reason[:_LONGEST_REASON].encode(errors="backslashreplace")
        note = item.field, reason, item.sequence, item.created, at
        commands.append(PARK.command(*keys, *note, limit))
    answers = cache.execute(commands) if commands else []
    return [
        item for item, answer in zip(items, answers, strict=True) if isinstance(answer, Failure)
    ]


def read_quarantine(cache: Cache, table: str) -> list[QuarantineRecord]:
    """Everything in a table's quarantine, the longest there first.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = quarantine_key(table)
    flat = cache.call(key, b"HGETALL", key)
    items = [
        QuarantineRecord(*pair, _read(pair[1])) for pair in zip(flat[::2], flat[1::2], strict=True)
    ]
    return sorted(items, key=lambda item: (item.note.first, item.field))


def _read(text: bytes) -> QuarantineNote:
    try:
        return msgspec.json.decode(text, type=QuarantineNote)
    except msgspec.DecodeError:
        return QuarantineNote()


def count(cache: Cache, table: str) -> int:
    """How many items are in a table's quarantine.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = quarantine_key(table)
    return int(cache.call(key, b"HLEN", key))


def overflow(cache: Cache, table: str) -> int:
    """How often an item could not be listed, since the quarantine was full.

    Raises:
        CacheError: the cache cannot be read.
    """
    key = overflow_key(table)
    return int(cache.call(key, b"GET", key) or 0)


def release(
    cache: Cache, table: str, item: QuarantineRecord, *, instead: QuarantineNote | None = None
) -> bool:
    """Let an item out, unless it was parked again after it was read; tells whether it is out.

    Args:
        cache: the cache.
        table: the table.
        item: the item, as it was read.
        instead: keep the item, with this note.

    Raises:
        CacheError: the cache cannot be reached.
    """
    key = quarantine_key(table).encode()
    note = b"" if instead is None else msgspec.json.encode(instead)
    answer = cache.execute_one(RELEASE.command(key, item.field, item.text, note))
    return bool(answer == b"released")


def forget_overflow(cache: Cache, table: str, count: int) -> None:
    """Take what was read off the counter of what could not be listed.

    Raises:
        CacheError: the cache cannot be reached.
    """
    key = overflow_key(table)
    cache.call(key, b"DECRBY", key, count)
