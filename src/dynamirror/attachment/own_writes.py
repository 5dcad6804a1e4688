"""The writes of an attachment's own client that the cache may still lack."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from math import floor, inf
from threading import Lock
from time import time
from typing import Any, Final, NamedTuple

from dynamirror.cache.scripts import Command
from dynamirror.dynamodb.keys import identity
from dynamirror.errors import RecordError
from dynamirror.reader.freshness import fence_command, is_visible, version_of
from dynamirror.reader.guarded_cache import DOWN
from dynamirror.reader.steps import Steps
from dynamirror.records.attribute_value import Item
from dynamirror.views.view import Schema, View

# A write that changes nothing never reaches the cache; so each is forgotten after a while.
FORGET_SECONDS: Final = 300.0
MOST_ITEMS: Final = 10_000
# Fences that one read looks at; beyond, it is passed on.
_MOST_FENCES: Final = 100

# A time that no change has.
NEVER: Final = 10**11

_Key = tuple[str, frozenset[tuple[str, str]]]


class Write(NamedTuple):
    """One item that a request writes.

    Args:
        schema: the table; its keys are empty if they are not known.
        item: the item, or its primary key.
    """

    schema: Schema
    item: Item


@dataclass(slots=True)
class _Pending:
    """What the cache may lack of an item.

    Args:
        name: the table, and the identity of the item.
        key: the item's primary key.
        partition: the collection that it is in.
        under_way: how many writes have no answer yet.
        second: DynamoDB's second of the newest write.
        writes: how many writes of that second there are.
        until: when it is forgotten.
    """

    name: _Key
    key: Item
    partition: _Key
    under_way: int = 0
    second: int = -1
    writes: int = 0
    until: float = inf

    @property
    def visible(self) -> float:
        """Return the time of a change that has every write."""
        if self.under_way:
            return NEVER
        # Streams date to the second: of two writes within one, the first may be there.
        return self.second if self.writes == 1 else self.second + 1

    def is_in(self, fence: Any) -> bool:
        """Return whether the change that a fence dates has every write."""
        return fence is not DOWN and is_visible(version_of(fence), self.visible)


class OwnWrites:
    """Remembers the items that were written until the cache has them.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, *, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._items: OrderedDict[_Key, _Pending] = OrderedDict()
        self._partitions: dict[_Key, set[_Key]] = {}
        # Until when nothing of a table is read from the cache; "" is all tables.
        self._blocked: dict[str, float] = {}
        self.renew_lock()

    def renew_lock(self) -> None:
        """Forget a lock that another thread of the parent process may hold."""
        self._lock = Lock()

    def begin(self, writes: Iterable[Write]) -> Sequence[_Key]:
        """Remember the items of a request that is sent now; returns their names for `end`."""
        names = []
        with self._lock:
            for write in writes:
                names.append(name := _name(write))
                pending = self._items.get(name)
                if pending is None:
                    pending = self._add(name, write)
                pending.under_way += 1
                pending.until = inf
                self._items.move_to_end(name)
            while len(self._items) > MOST_ITEMS:
                oldest = next(iter(self._items))
                self._drop(oldest)
                self._block(oldest[0])
        return names

    def end(self, names: Sequence[_Key], second: int | None) -> None:
        """Note that a request has ended.

        Args:
            names: of `begin`.
            second: DynamoDB's time of the answer, NEVER if there is none; None if nothing was
                written.
        """
        with self._lock:
            for name in names:
                pending = self._items.get(name)
                if pending is None:
                    continue
                pending.under_way -= 1
                if second is not None and second > pending.second:
                    pending.second, pending.writes = second, 1
                elif second is not None:
                    pending.writes += 1
                if not pending.under_way:
                    pending.until = self._clock() + FORGET_SECONDS
                    if pending.second < 0:  # all were refused
                        self._drop(name)

    def block(self, table: str) -> None:
        """Note a write of unknown items, to a table or, with an empty name, to any."""
        with self._lock:
            self._block(table)

    def min_time(self, table: str, key: Item) -> float | None:
        """Return the time that a change must have for the cache to lack no write to an item.

        Args:
            table: the table's name.
            key: the item's primary key, or the partition key of a query.
        """
        if not (self._items or self._blocked):
            return None
        name = table, identity(key)
        with self._lock:
            if self._is_blocked(table):
                return NEVER
            for own in self._remembered([name]):
                return own.visible
            return NEVER if any(self._remembered(self._partitions.get(name, ()))) else None

    def settle(self, table: str, partition: Item, view: View) -> Steps[bool]:
        """Forget what a view has of a partition's writes; returns whether that is all of them.

        Args:
            table: the table's name.
            partition: the partition key.
            view: the view whose collection is to be read.
        """
        with self._lock:
            names = self._partitions.get((table, identity(partition)), ())
            pending = list(self._remembered(tuple(names)))
            if self._is_blocked(table) or len(pending) > _MOST_FENCES:
                return False
        try:
            fences = [_fence(view, own.key) for own in pending]
        except RecordError:  # such an item has no entry, and so no fence
            return False
        versions = (yield fences) if fences else []
        with self._lock:
            for own, version in zip(pending, versions, strict=True):
                # It may have been written again, or forgotten, meanwhile.
                if own.is_in(version) and self._items.get(own.name) is own:
                    self._drop(own.name)
            return not any(own.name in self._items for own in pending)

    def _is_blocked(self, table: str) -> bool:
        now = self._clock()
        return any(self._blocked.get(name, 0.0) > now for name in (table, ""))

    def _remembered(self, names: Iterable[_Key]) -> Iterator["_Pending"]:
        """Yield what is known of names, without what is forgotten by now."""
        now = self._clock()
        for name in tuple(names):
            own = self._items.get(name)
            if own is not None and own.until <= now:
                self._drop(name)
            elif own is not None:
                yield own

    def _add(self, name: _Key, write: Write) -> _Pending:
        key = write.schema.key_of(write.item)
        partition = name[0], identity({write.schema.keys[0]: key[write.schema.keys[0]]})
        self._items[name] = pending = _Pending(name, key, partition)
        self._partitions.setdefault(partition, set()).add(name)
        return pending

    def _drop(self, name: _Key) -> None:
        pending = self._items.pop(name)
        names = self._partitions[pending.partition]
        names.discard(name)
        if not names:
            del self._partitions[pending.partition]

    def _block(self, table: str) -> None:
        self._blocked[table] = self._clock() + FORGET_SECONDS


def writes_of(operation: str, body: Mapping[str, Any]) -> Iterator[tuple[str, Item]]:
    """Yield the table, by name or ARN, and the item, or its primary key, of each write.

    Args:
        operation: the operation.
        body: the request on the wire.
    """
    match operation:
        case "BatchWriteItem":
            for table, requests in body["RequestItems"].items():
                yield from ((table, _item(one)) for request in requests for one in request.values())
        case "TransactWriteItems":
            for action in body["TransactItems"]:
                action.pop("ConditionCheck", None)
                yield from ((write["TableName"], _item(write)) for write in action.values())
        case _:
            yield body["TableName"], _item(body)


def _item(write: Mapping[str, Any]) -> Item:
    item: Item = write["Item"] if "Item" in write else write["Key"]
    return item


def second_of(headers: Mapping[str, str], now: float) -> int:
    """Return DynamoDB's time of an answer, in whole seconds since 1970.

    Args:
        headers: the answer's.
        now: the time where they have none.
    """
    try:
        return floor(parsedate_to_datetime(headers["date"]).timestamp())
    except (KeyError, TypeError, ValueError):
        return floor(now)


def _name(write: Write) -> _Key:
    return write.schema.table, identity(write.schema.key_of(write.item))


def _fence(view: View, key: Item) -> Command:
    entry = view.key_of(key)
    if entry is None:
        raise RecordError("the view has no such item")
    return fence_command(entry)
