"""What is done wrong on purpose, so that the inspector has something to find."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from dynamirror.cache import pipeline, scripts
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import DELETE, PUT, PUT_HASH, Command
from dynamirror.records import stream_record
from dynamirror.views.encoding import ValueType
from dynamirror.views.entry import Put, entries_of_change
from dynamirror.views.view import View

_FENCED: Final = b"if held then"
_GARBAGE: Final = b"damaged behind the mirror's back"


class Tampering(msgspec.Struct, frozen=True):
    """Shares of the records with which something is done wrong.

    Args:
        is_fenced: whether the fence decides; without it each write wins, also an older one.
        attempts: deliveries of a batch until it is given up; None for any number.
        dropped: share of the records that are never delivered.
        delayed: share of the records that are delivered late.
        delay: by how many seconds.
        corrupted: share of the records whose entry is damaged after it was written.
        unlisted: share of the records whose member is taken out of its index afterwards.
    """

    is_fenced: bool = True
    attempts: int | None = None
    dropped: float = 0.0
    delayed: float = 0.0
    delay: float = 0.0
    corrupted: float = 0.0
    unlisted: float = 0.0

    @property
    def damages(self) -> bool:
        """Return whether entries are damaged."""
        return bool(self.corrupted or self.unlisted)

    def chosen(self, record: Any, what: str) -> bool:
        """Return whether a record is one of those, the same at each delivery.

        Args:
            record: the record.
            what: the name of the share.
        """
        share: float = getattr(self, what)
        if not share:
            return False
        return Random(f"{what}{record['dynamodb']['SequenceNumber']}").random() < share


@contextmanager
def fence_off() -> Iterator[None]:
    """Have the scripts of this process write whatever comes, until the end of a block."""
    usual = scripts._FOLDER  # noqa: SLF001 - no other way is meant to be
    with tempfile.TemporaryDirectory() as folder:
        for path in usual.glob("*.lua"):
            text = path.read_bytes()
            if path.name == "fence.lua":
                assert text.count(_FENCED) == 1
                text = text.replace(_FENCED, b"if false then")
            (Path(folder) / path.name).write_bytes(text)
        _read_scripts(Path(folder))
    try:
        yield
    finally:
        _read_scripts(usual)


def _read_scripts(folder: Path) -> None:
    """Read the scripts that write entries from a folder; everyone has imported their objects."""
    usual, scripts._FOLDER = scripts._FOLDER, folder  # noqa: SLF001 - same
    for script in (PUT, PUT_HASH, DELETE):
        script.__init__(script.name)  # type: ignore[misc] # the object stays the same
    scripts._FOLDER = usual  # noqa: SLF001 - same
    loads = tuple((b"SCRIPT", b"LOAD", script.source) for script in scripts.ALL)
    pipeline._SCRIPT_LOADS = loads  # type: ignore[misc] # noqa: SLF001 - same


def damage(
    cache: Cache, views: Sequence[View], records: Sequence[Any], tampering: Tampering
) -> None:
    """Damage what some records wrote."""
    cache.execute(command for record in records for command in _damages(views, record, tampering))


def _damages(views: Sequence[View], record: Any, tampering: Tampering) -> Iterator[Command]:
    corrupted = tampering.chosen(record, "corrupted")
    unlisted = tampering.chosen(record, "unlisted")
    if not (corrupted or unlisted):
        return
    change = stream_record.decode(record)
    for view in views:
        for entry in entries_of_change(view, change):
            if not isinstance(entry, Put):
                continue
            key = entry.key.encode()
            if corrupted and view.encoding.layout is ValueType.HASH:
                yield Command(key, (b"HSET", key, b"n", _GARBAGE))
            elif corrupted:
                yield Command(key, (b"SET", key, _GARBAGE, b"KEEPTTL"))
            if unlisted and view.members is not None:
                index = view.members.index_key(entry.item).encode()
                yield Command(index, (b"ZREM", index, view.members.member(entry.item)))
