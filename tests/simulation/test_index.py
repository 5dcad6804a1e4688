"""Index views: entry and member of an item move together, in any order, in model and cache.

A member is named by its entry's key, and one script writes both behind one fence. So the model
holds an entry with its member at each key, and the members of a set are those of its entries.
"""

import itertools
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from tests.support.builders import view
from tests.support.histories import EPOCHS, FIRST_SECOND, FIRST_SEQUENCES
from tests.support.schedules import NOTHING, Deliveries, Explored, State, Write, explore

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import DELETE, PUT, Command
from dynamirror.cache.writer import _command
from dynamirror.records.stream_record import Change
from dynamirror.records.version import ChangeVersion, SnapshotVersion, supersedes
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.entry import Entry, Put, entries_of_change, entry_of_row
from dynamirror.views.index import IndexSpec
from dynamirror.views.view import View, ViewSpec

BY_CITY = view(
    ViewSpec("by-city", index=IndexSpec("city", "since"), encoding=DYNAMODB_JSON),
)
RANKED = view(ViewSpec("ranked", index=IndexSpec("city"), score="since"))
VIEWS = [pytest.param(BY_CITY, id="index"), pytest.param(RANKED, id="score")]
TTL = 93_600
Image = dict[str, Any] | None


def image(item_id: str, place: str | None) -> Image:
    """An item in a city since a time, written `Rome 1`; outside the index with `-`."""
    if place is None:
        return None
    city, _, since = place.partition(" ")
    values = {"id": {"S": item_id}, "city": {"S": city}, "since": {"N": since}}
    return values if since else {"id": {"S": item_id}, "city": {"NULL": True}}


# What two items do, each change after the one before: a swap; a meeting on one sort value, and a
# parting; a move within a partition and back; out of the index and in again; a change of type.
STORIES: dict[str, list[tuple[str, str | None]]] = {
    "swap": [("a", "Rome 1"), ("b", "Oslo 1"), ("a", "Oslo 1"), ("b", "Rome 1")],
    "meeting": [("a", "Rome 1"), ("b", "Rome 2"), ("b", "Rome 1"), ("a", "Rome 2")],
    "meeting and leaving": [("a", "Rome 1"), ("b", "Rome 1"), ("a", None), ("b", "-")],
    "there and back": [("a", "Rome 1"), ("a", "Rome 2"), ("a", "Rome 1")],
    "out and in": [("a", "Rome 1"), ("a", "-"), ("a", "Rome 1"), ("a", None)],
    "dead and born again": [("a", "Rome 1"), ("a", None), ("a", "Oslo 1"), ("b", "Oslo 1")],
}


class Told(NamedTuple):
    """An entry to write, and how the model knows it."""

    entry: Entry
    write: Write


def told(view: View, story: list[tuple[str, str | None]], seconds: tuple[int, ...]) -> list[Told]:
    """What the changes of a story write, and rows that are read after any of them."""
    keys: dict[str, int] = {}
    table: dict[str, Image] = {}
    found: list[Told] = []

    def add(name: str, entry: Entry, index: int, surely: int) -> None:
        value = f"{name}" if isinstance(entry, Put) else None
        place = keys.setdefault(entry.key, len(keys))
        found.append(
            Told(entry, Write(f"{name} {entry.key}", entry.version, value, index, surely, place))
        )

    rows: list[tuple[int, dict[str, Image]]] = []
    for index, (item_id, place) in enumerate(story, 1):
        old, new = table.get(item_id), image(item_id, place)
        version = ChangeVersion(
            EPOCHS[0], FIRST_SEQUENCES[0] + index, FIRST_SECOND + seconds[index - 1]
        )
        change = Change("users", {"id": {"S": item_id}}, version, new, old)
        for entry in entries_of_change(view, change):
            add(f"c{index}", entry, index, index)
        table = {**table, item_id: new}
        rows.append((index, table))
    for index, held in rows[:-1]:
        # As of the second of the next change, which the row lacks and may not hide.
        as_of = SnapshotVersion(FIRST_SECOND + seconds[index])
        for item_id, item in held.items():
            row = entry_of_row(view, {"id": {"S": item_id}}, item, as_of)
            if row is not None and item is not None:
                surely = max(
                    (n for n, (one, _) in enumerate(story[:index], 1) if one == item_id), default=0
                )
                add(f"r{index}", row, surely, 0)
    return found


def final(view: View, story: list[tuple[str, str | None]]) -> set[str]:
    """The keys of the entries that the table implies in the end."""
    last = {item_id: image(item_id, place) for item_id, place in story}
    keys = {view.render(item) for item in last.values() if item is not None}
    return {key for key in keys if key is not None}


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("view", VIEWS)
def test_in_any_order_an_index_ends_with_the_members_of_the_table(
    view: View, name: str, tried: list[Explored]
) -> None:
    story = STORIES[name]
    for seconds in (tuple(range(10, 10 + len(story))), (10, 10, *range(11, 9 + len(story)))):
        known = told(view, story, seconds)
        changes = [one for one in known if one.write.name.startswith("c")]
        rows = [one for one in known if one.write.name.startswith("r")]
        for chosen in [(), *itertools.combinations(rows, 1)]:
            everything = [*changes, *chosen]
            writes = [one.write for one in everything]
            keys = list(dict.fromkeys(one.entry.key for one in known))
            deliveries = Deliveries(writes, [2] * len(changes) + [1] * len(chosen), keys=len(keys))
            newest = {write.key: place for place, write in enumerate(writes[: len(changes)])}

            def shown(state: State, deliveries: Deliveries = deliveries) -> set[str]:
                return {
                    keys[place]  # noqa: B023 - called within the iteration
                    for place, held in enumerate(state.held)
                    if held != NOTHING and deliveries.writes[held].value is not None
                }

            def done(
                state: State, deliveries: Deliveries = deliveries, newest: Any = newest
            ) -> bool:
                return set(newest.values()) <= set(deliveries.came(state.left))

            def broken(state: State) -> str | None:
                if done(state) and shown(state) != final(view, story):
                    return f"{shown(state)} is left of {story}"
                return None

            tried.append(explore(deliveries.start, deliveries.moves, broken, done))


def steps(chance: random.Random, view: View) -> Iterator[Told]:
    """Some order of a random story's writes, with duplicates."""
    story = [
        (chance.choice("ab"), chance.choice(["Rome 1", "Rome 2", "Oslo 1", "Oslo -2.5", "-", None]))
        for _ in range(chance.randint(2, 7))
    ]
    seconds = tuple(itertools.accumulate((10, *(chance.randint(0, 1) for _ in story))))
    known = [one for one in told(view, story, seconds) for _ in range(chance.randint(0, 3))]
    chance.shuffle(known)
    yield from known


@pytest.mark.parametrize("view", VIEWS)
def test_scripts_and_model_hold_the_same_members_after_every_step(
    cache: Cache, view: View, tried: list[Explored]
) -> None:
    """Schedules one after the other; between them the cache is empty."""
    chance, members = random.Random(17), view.members
    assert members is not None
    for script in (PUT, DELETE):
        cache.broadcast(b"SCRIPT", b"LOAD", script.source)
    count = 60
    states = 0
    for _ in range(count):
        cache.broadcast(b"FLUSHALL")
        held: dict[str, Told] = {}
        seen: set[str] = set()
        for one in steps(chance, view):
            (answer,) = cache.execute([_command(one.entry, b"%d" % TTL)])
            before = held.get(one.entry.key)
            wins = supersedes(one.entry.version, before and before.entry.version)
            assert answer == (b"applied" if wins else b"stale")
            if wins:
                held[one.entry.key] = one
            states += 1
            seen.add(members.index_key(one.entry.item))
            puts = [found.entry for found in held.values() if isinstance(found.entry, Put)]
            for index in seen:
                wanted = sorted(
                    (float(members.score(put.item)), members.member(put.item))
                    for put in puts
                    if members.index_key(put.item) == index
                )
                (flat,) = cache.execute(
                    [Command(index.encode(), (b"ZRANGE", index, 0, -1, b"WITHSCORES"))]
                )
                pairs = zip(flat[::2], flat[1::2], strict=True)
                assert [(float(score), member) for member, score in pairs] == wanted
            keys = {put.key for put in puts}
            there = cache.execute([Command(key.encode(), (b"EXISTS", key)) for key in sorted(held)])
            assert {key for key, found in zip(sorted(held), there, strict=True) if found} == keys
    tried.append(Explored(count, states))
