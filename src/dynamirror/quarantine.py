"""Items that cannot become entries, set aside with the reason, so that no shard is ever blocked."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from dynamirror.attributes import Item, to_json, typed
from dynamirror.cache import Cache, Command, Failure
from dynamirror.errors import RecordError
from dynamirror.key import RESERVED


@dataclass(frozen=True, slots=True)
class Parked:
    """One item that was set aside.

    Args:
        table: the table's name; `?` where the record does not tell.
        key: the item's primary key; None where the record does not tell.
        sequence: the record's SequenceNumber; `?` where it has none.
        reason: why; holds no item data.
    """

    table: str
    key: Item | None
    sequence: str
    reason: str

    @property
    def field(self) -> bytes:
        """What names the item in the quarantine: its key, or the record if the key is not known."""
        if self.key:
            with suppress(RecordError):
                return to_json({name: typed(value) for name, value in self.key.items()})
        return f"record {self.sequence}".encode()


def quarantine_key(table: str) -> str:
    """The hash that holds a table's quarantine, by item."""
    return f"{RESERVED}{{{table}}}:quarantine"


def park(cache: Cache, items: Sequence[Parked], *, at: str) -> list[Parked]:
    """Set items aside, each once; returns those that the cache did not take.

    Args:
        cache: where to.
        items: what.
        at: when, in ISO 8601.

    Raises:
        CacheError: no node of the cache can be reached.
    """
    commands = []
    for item in items:
        key = quarantine_key(item.table).encode()
        note = {"reason": item.reason, "sequence_number": item.sequence, "at": at}
        commands.append(Command(key, (b"HSET", key, item.field, msgspec.json.encode(note))))
    answers = cache.execute(commands) if commands else []
    return [
        item for item, answer in zip(items, answers, strict=True) if isinstance(answer, Failure)
    ]
