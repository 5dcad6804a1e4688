"""The short way of the commonest records writes what the long way writes, whatever the records."""

import pickle
import random
from typing import Any

import pytest
from tests.support.builders import CREATED, SCHEMA, item, record

from dynamirror.cache.writer import PackedPut, _Outbox
from dynamirror.errors import DynamirrorError
from dynamirror.replication import record_decoder
from dynamirror.replication.record_batch import RecordBatch
from dynamirror.replication.record_decoder import entries_of_batch
from dynamirror.views.batch_result import Report
from dynamirror.views.encoding import DYNAMODB_JSON, HASH, attribute
from dynamirror.views.view import Views, ViewSpec

FENCE_TTL = 93_600
ROUNDS, BATCHES, RECORDS = 10, 100, 100
VALUES: tuple[Any, ...] = (
    *({"S": text} for text in ("", "a", "ü€", 'a\\"b', "\x00", "{x}", "\ud800")),
    *({"N": text} for text in ("0", "-5", "1.50", "1E5", "+3", "007", "9" * 38, "nan", "", ".5")),
    *({"BOOL": True}, {"NULL": True}, {"B": "AAEC"}, {"B": "*"}, {"SS": ["b", "a"]}, {"NS": ["2"]}),
    *({"M": {"a": {"S": "x"}, "b": {"N": "x"}}}, {"L": [{"S": "x"}, {"M": {}}]}, {"M": None}),
    *({"S": 1}, {"S": "a", "N": "1"}, {"Q": "x"}, {"N": 5}, {"BOOL": "true"}, {"SS": [1]}, {}, []),
)
ANYTHING: tuple[Any, ...] = (
    *(None, 0, -1, 1.5, True, 10**12, float("nan"), "", "x", b"a", "INSERT", "REMOVE", "MODIFY"),
    *("9" * 41, " 7", "7_0", "٣", [], [1], {}, {1: 2}, ("S",), "KEYS_ONLY", "NEW_IMAGE"),
    *({"id": {"S": "1"}}, {"id": {"N": "1"}}, {"other": {"S": "1"}}, {"id": None}, *VALUES),
    {"S": "dynamirror:canary"},
    {"id": {"S": "dynamirror:canary"}},
)
SPECS = (
    *((ViewSpec(),), (ViewSpec(key="u:{id}"),), (ViewSpec(key="u:{id}", encoding=DYNAMODB_JSON),)),
    *((ViewSpec(key="{id}", encoding=attribute("name")),), (ViewSpec(encoding=HASH),)),
    (ViewSpec(key="dyna{id}"),),
    (ViewSpec(key="a:{id}"), ViewSpec(name="b", key="by:{name}:{id}")),
    (ViewSpec(key="t:{{{id}}}", ttl="name"),),
)


def copied(value: Any) -> Any:
    """Copy a value and all in it, several times as fast as `copy.deepcopy`."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


def outcome(records: list[Any], specs: tuple[ViewSpec, ...]) -> tuple[Any, int]:
    """What a batch becomes: commands as they go over the wire, and all that is not a command.

    Also how many of its puts were packed.
    """
    views = Views.for_schema(specs, SCHEMA)
    views.bind(SCHEMA)
    parked: list[Any] = []
    report = Report()
    packed = 0
    try:
        entries, coalesced = entries_of_batch(
            RecordBatch(records), views, parked, fence_ttl=FENCE_TTL
        )
        outbox = _Outbox(entries, report, b"%d" % FENCE_TTL, lambda: True)
        commands = [(command.key, command.words) for command in outbox.commands()]
    except DynamirrorError as error:
        return repr(error), packed
    packed = sum(type(entry) is PackedPut for entry in outbox.sent)
    versions = [(entry.view.name, entry.key, entry.version) for entry in outbox.sent]
    rejected = [(place, one.reason) for place, one in outbox.rejected.items()]
    aside = [(one.field, one.sequence, one.reason) for one in parked]
    return (commands, versions, rejected, aside, coalesced), packed


def changed(rng: random.Random, whole: Any) -> Any:
    """A record with one thing in it, at any depth, left out, added or replaced."""
    places: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        for name in value if isinstance(value, dict) else range(len(value)):
            places.append((value, name))
            if isinstance(value[name], dict | list):
                visit(value[name])

    visit(whole)
    holder, name = rng.choice(places)
    how = rng.randrange(4)
    if how == 0 and isinstance(holder, dict):
        del holder[name]
    elif how == 1 and isinstance(holder, dict):
        holder[rng.choice(["extra", "S", "N", "id", "OldImage"])] = copied(rng.choice(ANYTHING))
    else:
        holder[name] = copied(rng.choice(VALUES if how == 2 else ANYTHING))
    return whole


def random_record(rng: random.Random, sequence: int, changes: int) -> Any:
    """A record that is as many changes away from a good one."""

    def image(name: str) -> dict[str, Any]:
        others = {rng.choice("pqrs"): copied(rng.choice(VALUES)) for _ in range(rng.randrange(3))}
        return item(name, **{"name": rng.choice(["Alice", "Bob"]), "n": {"N": "5"}} | others)

    name = str(rng.randrange(60))
    old = image(name) if rng.random() < 0.5 else None
    new = image(name) if old is None or rng.random() < 0.8 else None
    whole: Any = record(sequence, new, old, ApproximateCreationDateTime=CREATED)
    for _ in range(changes):
        whole = changed(rng, whole)
    return rng.choice(ANYTHING) if rng.random() < 0.001 else whole


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_packed_puts_are_those_of_the_long_way(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    packed_puts = 0
    for number in range(BATCHES):
        specs = rng.choice(SPECS)
        changes = rng.choice([0, 1, 1, 1, 2, 3])
        first = number * RECORDS + 1
        batch = [random_record(rng, first + place, changes) for place in range(RECORDS)]
        short, packed = outcome(copied(batch), specs)
        packed_puts += packed
        with monkeypatch.context() as patch:
            patch.setattr(record_decoder, "can_pack", lambda _view: False)
            long, none = outcome(batch, specs)
        assert none == 0
        assert short == long, f"seed {seed}, batch {number}"
    assert packed_puts > BATCHES * RECORDS / 10
