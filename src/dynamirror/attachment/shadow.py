"""Comparing answers of the cache with DynamoDB's own."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from time import time
from typing import Any, Final

import msgspec

from dynamirror.attachment.answers import parsed
from dynamirror.attachment.calls import Answered, Body, Calls, tables_of
from dynamirror.dynamodb.keys import identity
from dynamirror.errors import RecordError
from dynamirror.reader.freshness import fence_command, is_visible, version_of
from dynamirror.reader.mirrors import MirroredTable
from dynamirror.reader.steps import Pause, Steps
from dynamirror.records.attribute_value import Item

logger = logging.getLogger("dynamirror")

AGREED: Final = "agreed"
DIFFERED: Final = "differed"
UNDECIDED: Final = "undecided"

# Seconds before each further look at the cache: a change arrives within them, or is late.
_PAUSES: Final = (0.25, 1.0, 4.0)
# An entry so much older than the call, in seconds, is not newer than DynamoDB's answer.
_NEWER: Final = 2.0
_HASH_BYTES: Final = 8
_SETS: Final = frozenset({"SS", "NS", "BS"})

_encode = msgspec.json.Encoder(order="deterministic").encode


class Comparison:
    """One call that both answered.

    Args:
        operation: the operation's name.
        body: the request on the wire.
        cached: the cache's answer on the wire.
    """

    def __init__(self, operation: str, body: Body, cached: Body) -> None:
        self.operation = operation
        self._body = body
        self._cached = comparable(parsed(cached))
        self._began = time()

    def agrees(self, answer: Mapping[str, Any]) -> bool:
        """Return whether DynamoDB's answer, as botocore parsed it, is the cache's."""
        return self._cached == comparable(answer)

    def look_again(self, calls: Calls, answer: Mapping[str, Any]) -> Steps[str]:
        """Return whether a difference remains: `agreed`, `differed` or `undecided`.

        The cache may have been behind, or may have had a change before DynamoDB's answer, which
        need not be consistent, had it.

        Args:
            calls: answers the call again.
            answer: DynamoDB's answer as botocore parsed it.
        """
        own = comparable(answer)
        for seconds in _PAUSES:
            yield Pause(seconds)
            outcome = yield from calls.read(self.operation, self._body)
            if not isinstance(outcome, Answered):
                return UNDECIDED
            again = comparable(parsed(outcome.body))
            if again == own:
                return AGREED
            if again != self._cached:
                return UNDECIDED
        newer = yield from self._is_newer(calls, own)
        return UNDECIDED if newer else DIFFERED

    def report(self) -> None:
        """Log a difference, without data."""
        extra = {
            "table": ", ".join(tables_of(self._body)),
            "operation": self.operation,
            "view": str(self._body.get("IndexName", "")),
            "key_hash": self._hash(),
        }
        logger.warning("the cache differs from the table", extra=extra)

    def _hash(self) -> str:
        asked = self._body.get("Key") or self._body
        return blake2b(_encode(asked), digest_size=_HASH_BYTES).hexdigest()

    def _is_newer(self, calls: Calls, own: Any) -> Steps[bool]:
        """Return whether an item that differs was written at the time of the call."""
        for named in tables_of(self._body):
            table = yield from calls.tables.find(named)
            if not isinstance(table, MirroredTable):
                return True
            views = [view for view in (table.by_key, table.by_order) if view is not None]
            try:
                keys = list(self._keys(table, named, own))
                entries = [view.key_of(key) for key in keys for view in views]
            except (RecordError, KeyError):  # a projection without them
                continue
            fences = [fence_command(entry) for entry in entries if entry is not None]
            answers: Sequence[Any] = (yield fences) if fences else ()
            if any(is_visible(version_of(fence), self._began - _NEWER) for fence in answers):
                return True
        return False

    def _keys(self, table: MirroredTable, named: str, own: Any) -> Iterator[Item]:
        """Yield the primary keys of the items that one answer has, and the other has not so."""
        if "Key" in self._body:
            yield self._body["Key"]
            return
        both = []
        for answer in (self._cached, own):
            items = answer["Items"] if "Items" in answer else answer["Responses"].get(named, ())
            both.append({identity(table.schema.key_of(item)): item for item in items})
        first, second = both
        for name in first.keys() | second.keys():
            if first.get(name) != second.get(name):
                yield table.schema.key_of(first.get(name) or second[name])


def comparable(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what two equal answers share: sets, and the items of a batch, have no order."""
    return {
        name: _responses(value) if name == "Responses" else _sorted(value)
        for name, value in answer.items()
        if name not in ("ConsumedCapacity", "ResponseMetadata")
    }


def _responses(tables: Mapping[str, Sequence[Item]]) -> dict[str, Any]:
    return {
        table: sorted((_sorted(item) for item in items), key=repr)
        for table, items in tables.items()
        if items
    }


def _sorted(value: Any) -> Any:
    match value:
        case dict():
            return {
                name: sorted(inner) if name in _SETS and isinstance(inner, list) else _sorted(inner)
                for name, inner in sorted(value.items())
            }
        case list():
            return [_sorted(inner) for inner in value]
    return value
