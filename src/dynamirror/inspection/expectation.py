"""Expectations: what the cache should show of one change, in one view."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

import msgspec

from dynamirror.errors import RecordError
from dynamirror.records.attribute_value import Item, utf8
from dynamirror.records.stream_record import Change
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.entry import Entry, Put, entries_of_change, entry_of_row
from dynamirror.views.view import View

DIGEST_BYTES: Final = 12


class State(msgspec.Struct, gc=False):
    """The state of an entry, without its data.

    Args:
        digest: of the value; None for no entry.
        expires: when the entry expires, in seconds since 1970; None for never, and in a view
            without an expiry.
        score: of its member in a sorted set; None for no member.
    """

    digest: bytes | None = None
    expires: int | None = None
    score: float | None = None


class Seen(State, gc=False):
    """What a client saw of an entry; the fence was read before the rest.

    Args:
        fence: text of the version that the fence holds; None for no fence.
    """

    fence: bytes | None = None


class Expectation(State, kw_only=True, gc=False):
    """The state that one entry should have, or a newer one.

    Args:
        view: name of the view.
        key: of the entry.
        version: text of the version.
        index: key of the sorted set; None in a view without one.
        member: the member in it; None in a view without one.
    """

    view: str
    key: bytes
    version: str
    index: bytes | None = None
    member: bytes | None = None

    @property
    def is_of_change(self) -> bool:
        """Return whether it is of a change, and not of a row of the table."""
        return self.version.startswith("c")


def digest(value: bytes) -> bytes:
    """Return the digest of an entry's value, the same in every process."""
    return blake2b(value, digest_size=DIGEST_BYTES).digest()


def expectations_of_change(view: View, change: Change) -> Iterator[Expectation]:
    """Yield the expectations of a change in one view: its entry, and the one that it left.

    Raises:
        RecordError: the new item cannot have a key in this view.
        ConfigError: the view needs old images, which the stream does not carry.
    """
    for entry in entries_of_change(view, change):
        yield expectation_of(entry)


def expectation_of_row(
    view: View, key: Item, item: Item | None, version: SnapshotVersion
) -> Expectation | None:
    """Return the expectation of an item that was read from the table; None if it has no entry.

    Args:
        view: the view.
        key: the primary key that was read.
        item: what was found there; None for nothing.
        version: the as-of time of the read.

    Raises:
        RecordError: the item cannot have a key in this view.
    """
    entry = entry_of_row(view, key, item, version)
    return None if entry is None else expectation_of(entry)


def expectation_of(entry: Entry) -> Expectation:
    """Return the expectation of the write of one entry."""
    state, (index, member) = state_of(entry), member_of(entry)
    return Expectation(
        digest=state.digest,
        expires=state.expires,
        score=None if member is None else state.score,
        view=entry.view.name,
        key=entry.key.encode(),
        version=str(entry.version),
        index=index,
        member=member,
    )


def member_of(entry: Entry) -> tuple[bytes, bytes] | tuple[None, None]:
    """Return the sorted set of an entry, and its member; None where it has none."""
    members = entry.view.members
    if members is None:
        return None, None
    try:
        return utf8(members.index_key(entry.item)), members.member(entry.item)
    except (KeyError, RecordError):
        return None, None


def state_of(entry: Entry) -> State:
    """Return the state that an entry should have."""
    if not isinstance(entry, Put):
        return State()
    view, item = entry.view, entry.item
    try:
        value = view.encode(item)
        if value is None:
            return State()
        expires = view.expires(item) if view.ttl is not None else None
        score = None if view.members is None else float(view.members.score(item))
    except (RecordError, RecursionError):
        return State()  # the item is quarantined, and has no entry
    return State(digest(value), expires, score)


def state_in_table(view: View, key: bytes, item: Item | None) -> State:
    """Return the state that an entry should have, from the item as the table has it.

    Args:
        view: the view.
        key: of the entry, which may be one that the item has left.
        item: the item; None if there is none.
    """
    if item is None:
        return State()
    try:
        rendered = view.render(item)
    except RecordError:
        return State()
    if rendered is None or rendered.encode() != key:
        return State()
    return state_of(Put(view, rendered, SnapshotVersion(0), item))
