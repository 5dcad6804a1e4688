"""A view whose key can change: an item that moves leaves no entry behind, in any order."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.builders import item, view
from tests.support.histories import EPOCHS, FIRST_SECOND, FIRST_SEQUENCES, Row, readings
from tests.support.schedules import NOTHING, Deliveries, Explored, State, Write, explore

from dynamirror.records.stream_record import Change
from dynamirror.records.version import ChangeVersion, SnapshotVersion
from dynamirror.views.entry import Delete, Put, entries_of_change, entry_of_row
from dynamirror.views.view import ViewSpec

BY_CITY = view(ViewSpec(key="city:{city}:{id}"))
# Where an item can be: absent, in one city or another, or without one and so without an entry.
ABSENT, ROME, OSLO, NOWHERE = None, item(city="Rome"), item(city="Oslo"), item()
PLACES = (ABSENT, ROME, OSLO, NOWHERE)
KEYS = ("city:Rome:1", "city:Oslo:1")
Places = tuple[dict[str, Any] | None, ...]


def lives(length: int) -> Iterator[Places]:
    """Every way an item can go, that each change may find it where the one before left it."""
    for places in itertools.product(PLACES, repeat=length):
        # Deleting what is not there makes no record.
        if all(one or two for one, two in itertools.pairwise((ABSENT, *places))):
            yield places


def seconds_of(length: int) -> Iterator[tuple[int, ...]]:
    """Every spacing of changes."""
    for gaps in itertools.product((0, 1), repeat=length - 1):
        yield tuple(itertools.accumulate((10, *gaps)))


def written(entry: Put | Delete, name: str, index: int, surely: int) -> Write:
    """An entry as the model has it; its value tells which change it is from."""
    return Write(
        f"{name}({'put' if isinstance(entry, Put) else 'delete'} {entry.key})",
        entry.version,
        f"v{index}" if isinstance(entry, Put) else None,
        index,
        surely,
        KEYS.index(entry.key),
    )


def writes_of(places: Places, seconds: tuple[int, ...], renewed: int | None) -> list[Write]:
    """What the changes mean for the view, by its own rules."""
    writes = []
    for index, (old, new) in enumerate(itertools.pairwise((ABSENT, *places)), 1):
        stream = int(renewed is not None and index > renewed)
        version = ChangeVersion(
            EPOCHS[stream], FIRST_SEQUENCES[stream] + index, FIRST_SECOND + seconds[index - 1]
        )
        change = Change("users", {"id": {"S": "1"}}, version, new, old)
        writes += [
            written(entry, f"c{index}", index, index)
            for entry in entries_of_change(BY_CITY, change)
        ]
    return writes


def readings_of(places: Places, seconds: tuple[int, ...], rows: tuple[Row, ...]) -> list[Write]:
    """What the rows mean for the view, by its own rules."""
    writes = []
    for row in rows:
        found = places[row.holds - 1] if row.holds else ABSENT
        version = SnapshotVersion(FIRST_SECOND + row.as_of)
        entry = entry_of_row(BY_CITY, {"id": {"S": "1"}}, found, version)
        if entry is not None:
            surely = sum(second < row.as_of for second in seconds)
            writes.append(written(entry, f"r(T={row.as_of})", row.holds, surely))
    return writes


def shown(deliveries: Deliveries, state: State) -> dict[str, str]:
    """What readers see."""
    values = {
        key: deliveries.writes[held].value
        for key, held in zip(KEYS, state.held, strict=True)
        if held != NOTHING
    }
    return {key: value for key, value in values.items() if value is not None}


def table(places: Places) -> dict[str, str]:
    """What they should see in the end."""
    last = {id(ROME): 0, id(OSLO): 1}.get(id(places[-1]))
    return {} if last is None else {KEYS[last]: f"v{len(places)}"}


def leaves_nothing_behind(places: Places, changes: list[Write], rows: list[Write]) -> Explored:
    """Try every order of all entries of all changes, each up to twice, and of the rows."""
    deliveries = Deliveries([*changes, *rows], [2] * len(changes) + [1] * len(rows), keys=len(KEYS))
    # Of each key, the newest change that touches it; those before it may be coalesced away.
    newest = {write.key: index for index, write in enumerate(changes)}.values()
    expected = table(places)

    def done(state: State) -> bool:
        return set(newest) <= set(deliveries.came(state.left))

    def broken(state: State) -> str | None:
        if done(state) and shown(deliveries, state) != expected:
            return f"{shown(deliveries, state)} is left of {places}"
        return deliveries.looks_back(state)

    return explore(deliveries.start, deliveries.moves, broken, done)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_moving_item_leaves_nothing_behind(length: int, tried: list[Explored]) -> None:
    for places in lives(length):
        for renewed in (None, *range(1, length)):
            changes = writes_of(places, next(seconds_of(length)), renewed)
            tried.append(leaves_nothing_behind(places, changes, []))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_moving_item_that_is_read_meanwhile_leaves_nothing_behind(
    length: int, tried: list[Explored]
) -> None:
    for places, seconds in itertools.product(lives(length), seconds_of(length)):
        changes = writes_of(places, seconds, None)
        for row in readings(seconds):
            rows = readings_of(places, seconds, (row,))
            if rows:
                tried.append(leaves_nothing_behind(places, changes, rows))
