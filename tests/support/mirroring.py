"""A table, the stream of its changes, and the replicator that mirrors it through faults."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import time
from typing import TYPE_CHECKING, Any

from tests.support.builders import Time, item, record
from tests.support.deadlines import wait_until
from tests.support.scans import keys_in

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.errors import CacheError
from dynamirror.replication.replicator import Replicator
from dynamirror.views.keyspace import RESERVED
from dynamirror.views.view import Schema, Views, ViewSpec

if TYPE_CHECKING:
    from dynamirror.views.batch_result import Report

FENCE_TTL = 93_600
DEFAULT = ViewSpec()
# Forty digits, of which a double holds the first sixteen.
_FIRST = 4_981_237_498_123_749_812_374_981_237_498_123_749_810

Record = dict[str, Any]


class Table:
    """What the table holds, and a record for everything that is done to it."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self._number = _FIRST

    def put(self, item_id: str, **attributes: Any) -> Record:
        """Write an item."""
        old, new = self.items.get(item_id), item(item_id, **attributes)
        self.items[item_id] = new
        return self._record(new, old)

    def puts(self, ids: Iterable[str], **attributes: Any) -> list[Record]:
        """Write several items."""
        return [self.put(item_id, **attributes) for item_id in ids]

    def delete(self, item_id: str) -> Record:
        """Delete an item."""
        return self._record(None, self.items.pop(item_id))

    def _record(self, new: Any, old: Any) -> Record:
        self._number += 1
        created = int(time())  # none of them late
        number = str(self._number)
        return record(
            self._number, new, old, SequenceNumber=number, ApproximateCreationDateTime=created
        )

    def shown(self, key: str = "users:{id}") -> dict[str, Any]:
        """What readers should see in a view with that key."""
        plain = [
            {name: value["S"] for name, value in image.items()} for image in self.items.values()
        ]
        return {key.format(**image): image for image in plain}


def number(one: Record) -> str:
    """The record's sequence number, as it is spelt."""
    return str(one["dynamodb"]["SequenceNumber"])


class Mirror:
    """A replicator; what it says about failures is held to be one sentence.

    Args:
        cache: the cache.
        spec: its view.
    """

    def __init__(self, cache: Cache, spec: ViewSpec = DEFAULT) -> None:
        self.cache = cache
        self.reports: list[Report] = []
        self.reasons: set[str] = set()
        self._during: dict[int, Callable[[], object]] = {}
        self._ticks = 0
        self._replicator = Replicator(
            cache,
            Views((spec,), lambda table, keys: Schema(table, tuple(keys))),
            fence_ttl=FENCE_TTL,
            clock=self._tick,
            observe=lambda batch: self.reports.append(batch.report),
        )

    def _tick(self) -> float:
        # Time is asked for once a batch and then once an entry, while others are under way.
        self._ticks += 1
        if act := self._during.pop(self._ticks, None):
            act()
        return 0.0

    def deliver(
        self,
        records: Sequence[Record],
        during: Mapping[int, Callable[[], object]] | None = None,
    ) -> str | None:
        """Deliver a batch; gives the number of the record to deliver again from.

        Args:
            records: the batch.
            during: what is to happen just before the entry of that number is sent, from 1.
        """
        self._during = {entry + 1: act for entry, act in (during or {}).items()}
        self._ticks = 0
        self.reasons = set()
        try:
            answer = self._replicator({"Records": list(records)}, Time())
        except CacheError as error:  # Lambda delivers the whole batch again
            self.reasons = {str(error)}
            failures = [{"itemIdentifier": number(records[0])}]
        else:
            failures = answer["batchItemFailures"]
            self.reasons = {trouble.reason for trouble in self.reports[-1].failed}
        assert not self._during, "the batch was over before that"
        assert len(failures) <= 1
        for reason in self.reasons:
            assert_one_sentence(reason)
        return failures[0]["itemIdentifier"] if failures else None

    def deliver_again(self, records: Sequence[Record], identifier: str | None) -> None:
        """Deliver as Lambda does: from the record that was named, until there is none."""
        rest = list(records)

        def done() -> bool:
            nonlocal rest, identifier
            if identifier is not None:
                rest = rest[[number(one) for one in rest].index(identifier) :]
                identifier = self.deliver(rest)
            return identifier is None

        wait_until(done)


def assert_one_sentence(text: str) -> None:
    """Hold a message fit to be shown as it is."""
    assert text
    assert "\n" not in text
    assert ". " not in text
    assert not text.endswith(".")
    assert "Traceback" not in text


def entries(cache: Cache) -> dict[str, Any]:
    """All that readers can see, hashes and JSON alike."""
    keys = sorted(key for key in set(keys_in(cache, "*")) if not key.startswith(RESERVED.encode()))
    kinds = cache.execute(Command(key, (b"TYPE", key)) for key in keys)
    words = {b"string": b"GET", b"hash": b"HGETALL"}
    values = cache.execute(
        Command(key, (words[kind], key)) for key, kind in zip(keys, kinds, strict=True)
    )
    return {
        key.decode(): _value(value)
        for key, value in zip(keys, values, strict=True)
        if value is not None and value != []
    }


def _value(stored: Any) -> Any:
    if isinstance(stored, bytes):
        return json.loads(stored)
    texts = [word.decode() for word in stored]
    return dict(zip(texts[::2], texts[1::2], strict=True))
