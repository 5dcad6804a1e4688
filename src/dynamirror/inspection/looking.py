"""Reads entries as a client does, each behind its fence."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.entry_state import stored_value
from dynamirror.cache.scripts import Command
from dynamirror.errors import CacheError
from dynamirror.inspection.expectation import Expectation, Seen, digest
from dynamirror.views.encoding import ValueType
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import View

T = TypeVar("T")

# Entries read in one pipeline. What they hold may be large.
AT_ONCE: Final = 500
_Member = tuple[bytes | None, bytes | None]
_OF_ANOTHER_KIND: Final = digest(b"a value of another kind")
_GET: Final = b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n"
_HGETALL: Final = b"*2\r\n$7\r\nHGETALL\r\n$%d\r\n%b\r\n"
_EXPIRETIME: Final = b"*2\r\n$10\r\nEXPIRETIME\r\n$%d\r\n%b\r\n"
_ZSCORE: Final = b"*3\r\n$6\r\nZSCORE\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"


class Place(msgspec.Struct):
    """The location of an entry.

    Args:
        view: of the entry.
        key: of the entry.
        index: key of its sorted set; None for none.
        member: in that; None for none.
    """

    view: View
    key: bytes
    index: bytes | None = None
    member: bytes | None = None


def place_of(view: View, expectation: Expectation) -> Place:
    """Return the location of the entry of an expectation."""
    return Place(view, expectation.key, expectation.index, expectation.member)


def look(cache: Cache, places: Iterable[Place], *, at_once: int = AT_ONCE) -> list[Seen | None]:
    """Return what each entry shows: None where the cache cannot be read.

    Args:
        cache: the cache.
        places: locations of the entries.
        at_once: how many entries are read in one pipeline.
    """
    seen: list[Seen | None] = []
    places = iter(places)
    while some := list(islice(places, at_once)):
        # Read once, since another thread may find out the member of an entry.
        members = [(each.index, each.member) for each in some]
        try:
            answers = cache.execute(_commands(some, members))
        except CacheError:
            seen += [None] * len(some)
        else:
            seen += _all_seen(some, members, answers)
    return seen


def _commands(places: Sequence[Place], members: Sequence[_Member]) -> Iterator[Command]:
    for place, (index, member) in zip(places, members, strict=True):
        view, key = place.view, place.key
        size, fence = len(key), fence_key(key.decode()).encode()
        yield Command(key, _GET % (len(fence), fence))
        if view.ttl is not None:
            # First: what expires between the two then has no value, rather than one that lasts.
            yield Command(key, _EXPIRETIME % (size, key))
        is_hash = view.encoding.layout is ValueType.HASH
        yield Command(key, (_HGETALL if is_hash else _GET) % (size, key))
        if index is not None and member is not None:
            yield Command(index, _ZSCORE % (len(index), index, len(member), member))


def _all_seen(
    places: Sequence[Place], members: Sequence[_Member], answers: Sequence[Any]
) -> Iterator[Seen | None]:
    has_failures = Failure in set(map(type, answers))
    at = 0
    for place, (index, member) in zip(places, members, strict=True):
        view, begin = place.view, at
        fence, at = answers[at], at + 1
        expires = score = None
        if view.ttl is not None:
            expires, at = answers[at], at + 1
        value, at = answers[at], at + 1
        if index is not None and member is not None:
            score, at = answers[at], at + 1
        if has_failures:
            failures = [each for each in answers[begin:at] if isinstance(each, Failure)]
            if any(each.code != "WRONGTYPE" and not each.is_of_key for each in failures):
                yield None
                continue
            fence, expires, score = (
                None if isinstance(each, Failure) else each for each in (fence, expires, score)
            )
        if value is None or value == []:  # an empty text is a value
            shown = None
        elif type(value) is bytes:
            shown = digest(value)
        elif isinstance(value, Failure):
            shown = None if value.is_of_key else _OF_ANOTHER_KIND
        else:
            shown = digest(stored_value(value, view))
        yield Seen(
            digest=shown,
            expires=expires if expires is not None and expires > 0 else None,
            score=None if score is None else float(score),
            fence=fence,
        )


def in_pipelines(work: Sequence[T], ask: Callable[[Sequence[T]], bool]) -> None:
    """Ask in pipelines of `AT_ONCE`, until one is not answered; ask what is left in one.

    A node that hangs costs a timeout in each pipeline.

    Args:
        work: what is asked.
        ask: asks some in one pipeline, and returns whether all were answered.
    """
    begin, size = 0, AT_ONCE
    while some := work[begin : begin + size]:
        begin += len(some)
        if not ask(some):
            size = len(work)
