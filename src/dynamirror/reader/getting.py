"""Reading items by their primary keys."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor
from time import monotonic, sleep
from typing import Any, NamedTuple

from dynamirror.reader.guarded import DOWN
from dynamirror.reader.source import Place, Source, fence_command, version_of
from dynamirror.reader.values import Values
from dynamirror.rows import RowReader, identity
from dynamirror.version import ChangeVersion, RowVersion, Version

_SHORTEST_PAUSE = 0.002
_LONGEST_PAUSE = 0.1


class Answer(NamedTuple):
    """What was found at a key.

    Args:
        item: the item; None if there is none.
        source: cache or table.
        age: seconds since what it shows was written or read; None if not known or not asked for.
    """

    item: Values | None
    source: str
    age: float | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """How fresh an answer shall be.

    Args:
        consistent: read the table at once.
        min_time: seconds since 1970 of a write that must be visible; None for none.
        wait: seconds to wait for that.
        age: whether to tell how old the answer is.
    """

    consistent: bool = False
    min_time: float | None = None
    wait: float = 0.0
    age: bool = False


def get(source: Source, places: Sequence[Place], wish: Wish) -> list[Answer]:
    """Read items; the answers are in the places' order.

    Raises:
        SourceError: the table had to be read and cannot be.
    """
    found: dict[int, Answer] = {}
    if not wish.consistent:
        found = _from_cache(source, places, wish)
    left = [index for index in range(len(places)) if index not in found]
    found |= zip(left, _from_table(source, [places[index] for index in left]), strict=True)
    return [found[index] for index in range(len(places))]


def missed(source: Source, place: Place, reply: Any) -> Answer:
    """What to answer where the cache had nothing, or was down.

    Raises:
        SourceError: the table had to be read and cannot be.
    """
    if reply is DOWN:
        source.counter.add(fallbacks=1)
    elif _are_absent(source, 1):
        return Answer(None, "cache")
    (answer,) = _from_table(source, [place])
    return answer


def _from_cache(source: Source, places: Sequence[Place], wish: Wish) -> dict[int, Answer]:
    """Those that the cache can answer."""
    found: dict[int, Answer] = {}
    missing: list[int] = []
    down: list[int] = []
    late = list(range(len(places)))
    end, pause = monotonic() + wish.wait, _SHORTEST_PAUSE
    while late:
        looked, still = _look(source, [places[index] for index in late], wish), []
        for index, (reply, version) in zip(late, looked, strict=True):
            if reply is DOWN:
                down.append(index)
            elif not is_visible(version, wish.min_time):
                still.append(index)
            elif (item := source.entry(reply)) is None:
                missing.append(index)
            else:
                found[index] = Answer(item, "cache", source.age(version))
        late = still
        if not late or (left := end - monotonic()) <= 0:
            break
        sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)
    source.counter.add(hits=len(found), fallbacks=len(down) + len(late))
    if missing and _are_absent(source, len(missing)):
        found |= {index: Answer(None, "cache") for index in missing}
    return found


def _look(
    source: Source, places: Sequence[Place], wish: Wish
) -> Iterable[tuple[Any, Version | None]]:
    """What the cache has of each, and the version that wrote it, if that matters."""
    if wish.min_time is None and not wish.age:
        return ((reply, None) for reply in source.cache.execute([one.reading for one in places]))
    # The fence first: what is read after it is no older.
    pairs = ((fence_command(place.key), place.reading) for place in places)
    replies = source.cache.execute([command for pair in pairs for command in pair])
    both = zip(replies[1::2], replies[::2], strict=True)
    return ((DOWN if fence is DOWN else reply, version_of(fence)) for reply, fence in both)


def is_visible(version: Version | None, min_time: float | None) -> bool:
    """Whether a write of a moment is in what a version wrote."""
    if min_time is None:
        return True
    match version:
        case ChangeVersion(created=created):
            return created >= floor(min_time)
        case RowVersion(horizon=horizon):
            return horizon > min_time
    return False


def _are_absent(source: Source, count: int) -> bool:
    """Whether entries that are missing can be taken for absent; counts them."""
    # A full cache evicts what has an expiry: there, what is missing may be in the table.
    absent = source.absent and source.view.ttl is None and source.vouched()
    source.counter.add(misses=count, fallbacks=count if source.absent and not absent else 0)
    return absent


def _from_table(source: Source, places: Sequence[Place]) -> list[Answer]:
    if not places:
        return []
    rows = RowReader(source.client, source.view.schema.table)
    if len(places) == 1:
        found = {identity(places[0].item): rows.read(places[0].item).item}
    else:
        read = rows.read_many(place.item for place in places)
        found = {identity(row.key): row.item for row in read}
    return [Answer(source.as_entry(found[identity(place.item)]), "table", 0.0) for place in places]
