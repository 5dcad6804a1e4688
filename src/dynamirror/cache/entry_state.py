"""What the cache holds of an item, and what it should hold."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from time import time
from typing import Any, NamedTuple

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.errors import RecordError
from dynamirror.records.attribute_value import Item, utf8
from dynamirror.views.encoding import ValueType, pack_fields
from dynamirror.views.entry import Entry, Put
from dynamirror.views.view import View

# How many entries are read at a time; what they hold may be large, whatever the items are by now.
_AT_FIRST = 100
# More where the last ones were small: each time, the cache is waited for.
_AT_ONCE = 400
_SMALL_BYTES = 1 << 10
_OF_ANOTHER_KIND = b"a value of another kind"


class EntryState(NamedTuple):
    """An entry and what belongs to it.

    Args:
        value: in the form that the view's encoding makes of an item; None for no entry.
        expires: when it expires, or did, in seconds since 1970; None for never.
        scores: the score of its member, () without a member; None where it can have none, or where
            that does not matter.
    """

    value: bytes | None
    expires: int | None = None
    scores: tuple[float, ...] | None = None

    @property
    def is_never(self) -> bool:
        """Return whether there is no entry, not even an expired one that is still in a set."""
        return self.value is None and self.scores is not None


_NOTHING = EntryState(None, scores=())


class EntryLocation(NamedTuple):
    """The location of an item's entry.

    Args:
        view: of the entry.
        key: of the entry.
        item: the item, or the attributes that its key and its member need.
    """

    view: View
    key: str
    item: Item


def expected_state(entry: Entry) -> EntryState:
    """Return the state that an entry should have."""
    view = entry.view
    if not isinstance(entry, Put):
        return _NOTHING
    try:
        value, expires = view.encode(entry.item), view.expires(entry.item)
        score = float(view.members.score(entry.item)) if view.members else 0.0
    except RecordError:
        return _NOTHING
    if value is None:
        return _NOTHING
    if expires is not None and expires <= time():
        # Until DynamoDB deletes the item, its member is kept.
        return EntryState(None, expires)
    return EntryState(value, expires, scores=(score,))


def matches(actual: EntryState, expected: EntryState) -> bool:
    """Return whether an entry is as expected; the cache's clock decides when it expires."""
    if expected.expires is not None and expected.expires <= time():
        if actual.value is None:
            return True
        if expected.value is None:
            return actual.expires == expected.expires
    if actual[:2] != expected[:2]:
        return False
    return None in (actual.scores, expected.scores) or actual.scores == expected.scores


def read_entries(cache: Cache, places: Iterable[EntryLocation]) -> Iterator[EntryState]:
    """Yield the state of entries in the order of their locations, read some at a time.

    Raises:
        CacheError: the cache cannot be read.
    """
    places, at_once = iter(places), _AT_FIRST
    while some := list(islice(places, at_once)):
        commands = [list(_commands(place)) for place in some]
        answers = deque(cache.execute(command for group in commands for command in group))
        size = 0
        for place, group in zip(some, commands, strict=True):
            state = _state(place, [_checked(cache, answers.popleft()) for _ in group])
            size += len(state.value or b"")
            yield state
        at_once = _AT_ONCE if size <= _SMALL_BYTES * len(some) else _AT_FIRST


def _state(place: EntryLocation, answers: list[Any]) -> EntryState:
    expires = answers.pop(0) if place.view.ttl else None
    held = answers.pop(0)
    value = _OF_ANOTHER_KIND if isinstance(held, Failure) else _value(held, place.view)
    scores = _scores(answers.pop(0)) if place.view.members else None
    return EntryState(value, expires if expires and expires > 0 else None, scores)


def _scores(answer: Any) -> tuple[float, ...]:
    return () if answer is None or isinstance(answer, Failure) else (float(answer),)


def _commands(place: EntryLocation) -> Iterator[Command]:
    view, key = place.view, utf8(place.key)
    if view.ttl:
        # First: what expires between the two then has no value, rather than one that lasts.
        yield Command(key, (b"EXPIRETIME", key))
    yield read_command(key, view)
    if view.members:
        index = utf8(view.members.index_key(place.item))
        yield Command(index, (b"ZSCORE", index, view.members.member(place.item)))


def _checked(cache: Cache, answer: Any) -> Any:
    if isinstance(answer, Failure) and answer.code != "WRONGTYPE":
        if answer.is_of_key:
            return None  # the cache holds no such key
        raise cache.error(answer.reason)
    return answer


def _value(answer: Any, view: View) -> bytes | None:
    if answer is None or answer == []:  # an empty text is a value
        return None
    return stored_value(answer, view)


def read_command(key: bytes, view: View) -> Command:
    """Return the command that reads an entry of a view."""
    word = b"HGETALL" if view.encoding.layout is ValueType.HASH else b"GET"
    return Command(key, (word, key))


def stored_value(answer: Any, view: View) -> bytes:
    """Return an answer in the form in which the view encodes an item."""
    if view.encoding.layout is ValueType.HASH:
        return pack_fields(dict(zip(answer[::2], answer[1::2], strict=True)))
    return bytes(answer)
