"""Reading items by their primary keys."""

from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple

from dynamirror.cache.completeness_marker import CompletenessMarker
from dynamirror.dynamodb.keys import identity
from dynamirror.reader import table
from dynamirror.reader.freshness import fence_command, is_visible, version_of
from dynamirror.reader.guarded_cache import DOWN
from dynamirror.reader.source import EntryLocation, Source
from dynamirror.reader.steps import Pause, Steps
from dynamirror.records.version import Version

_SHORTEST_PAUSE = 0.002
_LONGEST_PAUSE = 0.1


class Answer(NamedTuple):
    """The answer for one key.

    Args:
        item: the item, with values of Python or in DynamoDB JSON; None if there is none.
        source: cache or table.
        age: seconds since what it shows was written or read; None if not known or not asked for.
        own: metadata of DynamoDB's answer; None if there is not just one.
    """

    item: Any
    source: str
    age: float | None = None
    own: Mapping[str, Any] | None = None


class ReadOptions(NamedTuple):
    """How fresh an answer must be.

    Args:
        consistent: read the table at once.
        min_time: seconds since 1970 of a write that must be visible; None for none.
        wait: seconds to wait for that.
        age: whether to return the answer's age.
        typed: whether items are wanted in DynamoDB JSON.
    """

    consistent: bool = False
    min_time: float | None = None
    wait: float = 0.0
    age: bool = False
    typed: bool = False


def get(source: Source, places: Sequence[EntryLocation], wish: ReadOptions) -> Steps[list[Answer]]:
    """Read items; the answers are in the places' order."""
    found: dict[int, Answer] = {}
    if not wish.consistent:
        found = yield from _from_cache(source, places, wish)
    left = [index for index in range(len(places)) if index not in found]
    read = yield from _from_table(source, [places[index] for index in left], wish)
    found |= zip(left, read, strict=True)
    return [found[index] for index in range(len(places))]


def missed(
    source: Source, place: EntryLocation, reply: Any, seen: CompletenessMarker | None
) -> Steps[Answer]:
    """Return the answer where the cache had nothing, or was down.

    Args:
        source: what is read from.
        place: where the item is.
        reply: the cache's.
        seen: the marker as it was seen before the cache was asked.
    """
    if reply is DOWN:
        source.counter.add(fallbacks=1)
    elif found := (yield from _second_look(source, [place], ReadOptions(), seen)):
        return found[0]
    (answer,) = yield from _from_table(source, [place], ReadOptions())
    return answer


def _from_cache(
    source: Source, places: Sequence[EntryLocation], wish: ReadOptions
) -> Steps[dict[int, Answer]]:
    """Return the answers that the cache has."""
    found: dict[int, Answer] = {}
    shown = source.item if wish.typed else source.entry
    missing: list[int] = []
    down: list[int] = []
    late = list(range(len(places)))
    end, pause = monotonic() + wish.wait, _SHORTEST_PAUSE
    seen = source.check.seen
    while late:
        looked = yield from _look([places[index] for index in late], wish)
        still: list[int] = []
        for index, (reply, version) in zip(late, looked, strict=True):
            if reply is DOWN:
                down.append(index)
            elif not is_visible(version, wish.min_time):
                still.append(index)
            elif (item := shown(reply)) is None:
                missing.append(index)
            else:
                found[index] = Answer(item, "cache", source.age(version))
        late = still
        if not late or (left := end - monotonic()) <= 0:
            break
        yield Pause(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)
    source.counter.add(hits=len(found), fallbacks=len(down) + len(late))
    if missing:
        again = yield from _second_look(source, [places[index] for index in missing], wish, seen)
        found |= {missing[index]: answer for index, answer in again.items()}
    return found


def _second_look(
    source: Source,
    places: Sequence[EntryLocation],
    wish: ReadOptions,
    seen: CompletenessMarker | None,
) -> Steps[dict[int, Answer]]:
    """Answers to those of missing entries that the cache can be believed in; counts all.

    They are absent if the marker is complete, and was the same before they were looked for. If it
    was not, they are looked for again.
    """
    found: dict[int, Answer] = {}
    shown = source.item if wish.typed else source.entry
    missing = list(range(len(places)))
    marker = (yield from source.check.look()) if source.believes else None
    if marker is not None and marker != seen:
        seen, missing = marker, []
        again = yield from _look(places, wish)
        for index, (reply, version) in enumerate(again):
            if reply is DOWN or not is_visible(version, wish.min_time):
                continue
            if (item := shown(reply)) is None:
                missing.append(index)
            else:
                found[index] = Answer(item, "cache", source.age(version))
        marker = (yield from source.check.look()) if missing else marker
    hits = len(found)
    if marker is not None and marker == seen:
        found |= {index: Answer(None, "cache") for index in missing}
    left = len(places) - len(found) if source.absent else 0
    source.counter.add(hits=hits, misses=len(places) - hits, fallbacks=left)
    return found


def _look(
    places: Sequence[EntryLocation], wish: ReadOptions
) -> Steps[Iterable[tuple[Any, Version | None]]]:
    """Return what the cache holds of each, and the version that wrote it, if that matters."""
    if wish.min_time is None and not wish.age:
        replies = yield [place.reading for place in places]
        return ((reply, None) for reply in replies)
    # The fence first: what is read after it is no older.
    pairs = ((fence_command(place.key), place.reading) for place in places)
    replies = yield [command for pair in pairs for command in pair]
    both = zip(replies[1::2], replies[::2], strict=True)
    return ((DOWN if fence is DOWN else reply, version_of(fence)) for reply, fence in both)


def _from_table(
    source: Source, places: Sequence[EntryLocation], wish: ReadOptions
) -> Steps[list[Answer]]:
    name = source.view.schema.table
    if len(places) == 1:
        answer = yield table.read_request(name, places[0].item)
        item = source.as_entry(answer.get("Item"), typed=wish.typed)
        return [Answer(item, "table", 0.0, answer["ResponseMetadata"])]
    found = yield from table.read_many(name, [place.item for place in places])
    items = (found.get(identity(place.item)) for place in places)
    return [Answer(source.as_entry(item, typed=wish.typed), "table", 0.0) for item in items]
