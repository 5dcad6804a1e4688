"""How new an entry is, by its fence."""

from collections.abc import Sequence
from contextlib import suppress
from math import floor
from typing import Any

from dynamirror.cache.scripts import Command
from dynamirror.records.attribute_value import utf8
from dynamirror.records.version import ChangeVersion, SnapshotVersion, Version, parse
from dynamirror.views.keyspace import fence_key


def fence_command(key: str) -> Command:
    """Return the command that reads the fence of an entry."""
    fence = utf8(fence_key(key))
    return Command(fence, (b"GET", fence))


def version_of(fence: Any) -> Version | None:
    """Return the version in a fence's text; None if there is none."""
    with suppress(AttributeError, ValueError):
        return parse(fence.decode())
    return None


def is_visible(version: Version | None, min_time: float | None) -> bool:
    """Return whether a write of a moment is in what a version wrote."""
    if min_time is None:
        return True
    match version:
        case ChangeVersion(created=created):
            return created >= floor(min_time)
        case SnapshotVersion(as_of=as_of):
            return as_of > min_time
    return False


def oldest(ages: Sequence[float | None]) -> float | None:
    """Return the age of an answer of several parts; None if any age is unknown."""
    known = [age for age in ages if age is not None]
    return max(known) if known and len(known) == len(ages) else None
