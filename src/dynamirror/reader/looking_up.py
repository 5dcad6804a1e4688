"""Looks entries up by primary key; what is found or absent counts only in a complete mirror."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec

from dynamirror.cache.completeness_marker import CompletenessMarker
from dynamirror.cache.entry_state import read_command
from dynamirror.cache.scripts import Command
from dynamirror.errors import RecordError
from dynamirror.reader.completeness_check import ATTEMPTS
from dynamirror.reader.freshness import fence_command, is_visible, version_of
from dynamirror.reader.guarded_cache import DOWN
from dynamirror.reader.mirrors import MirroredTable
from dynamirror.reader.source import FOREIGN
from dynamirror.reader.steps import Reason, Steps
from dynamirror.records.attribute_value import Item, utf8
from dynamirror.records.key_codec import key_text
from dynamirror.views.canary import is_canary
from dynamirror.views.keyspace import SERVERLESS_KEY_BYTES
from dynamirror.views.view import View

_decode = msgspec.json.Decoder(dict[str, dict[str, Any]]).decode


class Wanted(NamedTuple):
    """An item to look up.

    Args:
        table: its table.
        key: its primary key.
    """

    table: MirroredTable
    key: Item


class _Place(NamedTuple):
    """The location of an item's entry, and how new it must be."""

    table: MirroredTable
    key: Item
    view: View
    commands: tuple[Command, ...]
    min_time: float | None


# An item, None for a proven absence, or why the table has to be asked.
Outcome: TypeAlias = Item | Reason | None


def look_up(wanted: Sequence[Wanted]) -> Steps[list[Outcome]]:
    """Look items up, all in one exchange; returns the outcomes in their order."""
    outcomes: list[Outcome] = []
    places: dict[int, _Place] = {}
    for index, (table, key) in enumerate(wanted):
        place = _place(table, key)
        outcomes.append(place if isinstance(place, Reason) else Reason.INCOMPLETE)
        if not isinstance(place, Reason):
            places[index] = place
    for _ in range(ATTEMPTS):
        if not places:
            break
        for index, outcome in (yield from _attempt(places)).items():
            outcomes[index] = outcome
        # A marker that has changed, or that was read for the first time, may stay as it is now.
        places = {
            index: place
            for index, place in places.items()
            if outcomes[index] is Reason.INCOMPLETE and place.table.check.seen
        }
    return outcomes


def _place(table: MirroredTable, key: Item) -> _Place | Reason:
    view = table.by_key
    if view is None or is_canary(key, table.schema):
        return Reason.VIEW
    try:
        text = view.possible_key(key)
    except RecordError:
        return Reason.NOT_UNDERSTOOD
    if text is None or len(utf8(text)) + view.template.fence_bytes > SERVERLESS_KEY_BYTES:
        return Reason.VIEW  # the cache may take no such key
    if any(key[name] != {"S": held} for name, held in view.pinned.items()):
        return Reason.VIEW
    min_time = table.min_time(key) if table.min_time else None
    reading = read_command(utf8(text), view)
    # The fence first: what is read after it is no older.
    commands = (reading,) if min_time is None else (fence_command(text), reading)
    return _Place(table, key, view, commands, min_time)


def _attempt(places: dict[int, _Place]) -> Steps[dict[int, Outcome]]:
    tables = list({id(place.table): place.table for place in places.values()}.values())
    before = {id(table): table.check.seen for table in tables}
    commands = [command for place in places.values() for command in place.commands]
    replies = yield [*commands, *(table.check.reading for table in tables)]
    marks = dict(zip(map(id, tables), replies[len(commands) :], strict=True))
    vouched: dict[int, Reason | None] = {}
    for table in tables:
        mark = marks[id(table)]
        now = table.check.saw(mark)
        if now is None or now != before[id(table)]:
            vouched[id(table)] = Reason.DOWN if mark is DOWN else Reason.INCOMPLETE
    found: dict[int, Outcome] = {}
    answers = iter(replies)
    for index, place in places.items():
        *fences, entry = [next(answers) for _ in place.commands]
        found[index] = vouched.get(id(place.table)) or _outcome(place, entry, fences)
    return (yield from _absent(places, found, before))


def _outcome(place: _Place, entry: Any, fences: list[Any]) -> Outcome:
    if entry is DOWN or DOWN in fences:
        return Reason.DOWN
    if fences and not is_visible(version_of(fences[0]), place.min_time):
        return Reason.TOO_NEW
    try:
        item = decoded(entry)
        if item is None:
            return Reason.MISSING
        is_ours = place.view.make is not None or _has_key(item, place.key)
    except FOREIGN:
        return Reason.VIEW
    return item if is_ours else Reason.VIEW


def _has_key(item: Item, key: Item) -> bool:
    """Return whether an item has a primary key, however its numbers are spelt."""
    return all(
        item[name] == value
        or (item[name].keys(), key_text(item[name])) == (value.keys(), key_text(value))
        for name, value in key.items()
    )


def decoded(entry: Any) -> Item | None:
    """Return the item in an entry of the encoding `dynamodb-json`; None for no entry.

    An entry that is none of ours raises one of `FOREIGN`.
    """
    return None if entry is None else _decode(entry)


def _absent(
    places: dict[int, _Place],
    found: dict[int, Outcome],
    before: dict[int, CompletenessMarker | None],
) -> Steps[dict[int, Outcome]]:
    """Turn what is missing into what is absent, where the mirror proves that."""
    missing = [
        index
        for index, place in places.items()
        # A full cache evicts what has an expiry: there, what is missing may be in the table.
        if found[index] is Reason.MISSING
        and place.table.absent
        and place.view.ttl is None
        and place.view.when is None
    ]
    checks = {id(places[index].table): places[index].table.check for index in missing}
    if not checks:
        return found
    # Other nodes may have answered after the marker's.
    replies = yield [check.reading for check in checks.values()]
    same = {
        table: check.saw(reply) == before[table]
        for (table, check), reply in zip(checks.items(), replies, strict=True)
    }
    return found | {index: None for index in missing if same[id(places[index].table)]}
