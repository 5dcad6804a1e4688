"""The promise: whatever the delivery does, in the end the cache holds what the table holds."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import Time, record
from tests.support.scans import keys_in

from dynamirror.cache.client import Cache
from dynamirror.cache.writer import apply
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.records.version import SnapshotVersion
from dynamirror.replication.replicator import Replicator
from dynamirror.views.encoding import HASH, JSON
from dynamirror.views.entry import Entry, entry_of_row
from dynamirror.views.keyspace import RESERVED
from dynamirror.views.view import Schema, Views, ViewSpec

FENCE_TTL = 93_600
SCHEMA = Schema("users", ("id",), ("S",))
EPOCHS = ("2026-01-02T03:04:05.678", "2026-01-02T03:04:05.679")
# Forty digits, of which a double holds the first sixteen.
FIRST_SEQUENCE = 4_981_237_498_123_749_812_374_981_237_498_123_749_810

Image = dict[str, dict[str, str]]
Table = dict[str, Image]


@dataclass(frozen=True)
class Step:
    """One change of the history: the record it became, and the table as it was afterwards."""

    record: dict[str, Any]
    created: int
    table: Table


@dataclass(frozen=True)
class Case:
    """A history, and the batches in which it is delivered."""

    history: tuple[Step, ...]
    batches: tuple[tuple[Step, ...], ...]

    @property
    def table(self) -> Table:
        """The table after the whole history."""
        return self.history[-1].table if self.history else {}


images = st.fixed_dictionaries(
    {"city": st.sampled_from(["Rome", "Oslo", "A:B", ""]).map(lambda text: {"S": text})},
    optional={"name": st.sampled_from(["x", "y", "é {}"]).map(lambda text: {"S": text})},
)
sometimes_without_city = st.one_of(images, st.just({"name": {"S": "nowhere"}}))
deletion = st.none()


@st.composite
def histories(draw: st.DrawFn) -> tuple[Step, ...]:
    """Upserts and deletes of a few items, as the table's stream tells them."""
    changes = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["1", "2", "a:b", "{4}"]),
                st.one_of(sometimes_without_city, sometimes_without_city, deletion),
                st.integers(0, 1),  # seconds since the change before
            ),
            min_size=1,
            max_size=40,
        )
    )
    # The stream was switched off and on again here: a new epoch, and numbers from the start.
    renewed = draw(st.one_of(st.none(), st.integers(0, len(changes))))
    table: Table = {}
    steps: list[Step] = []
    created, sequence, epoch = 1_790_000_000, FIRST_SEQUENCE, EPOCHS[0]
    for index, (item_id, attributes, seconds) in enumerate(changes):
        if index == renewed:
            sequence, epoch = 1, EPOCHS[1]
        old = table.get(item_id)
        new = None if attributes is None else {"id": {"S": item_id}, **attributes}
        if new is None and old is None:
            continue  # deleting what is not there is no change
        created += seconds
        sequence += 1
        table = {key: image for key, image in table.items() if key != item_id}
        if new is not None:
            table[item_id] = new
        change = record(sequence, new, old, ApproximateCreationDateTime=created)
        change["eventSourceARN"] = f"arn:aws:dynamodb:eu-1:1:table/users/stream/{epoch}"
        steps.append(Step(change, created, table))
    return tuple(steps)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Deliver every change at least once, in any order, in any batches."""
    history = draw(histories())
    if not history:
        return Case((), ((),))
    duplicates = draw(st.lists(st.sampled_from(range(len(history))), max_size=len(history)))
    order = draw(st.permutations([*range(len(history)), *duplicates]))
    cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=6)))
    batches = itertools.starmap(slice, itertools.pairwise([0, *cuts, len(order)]))
    return Case(history, tuple(tuple(history[i] for i in order[batch]) for batch in batches))


@pytest.fixture(scope="module")
def store(valkey: EmbeddedValkey) -> Iterator[Cache]:
    """The cluster, kept through all examples of a property."""
    cache = Cache(valkey.settings())
    yield cache
    cache.close()


def replicator(cache: Cache, spec: ViewSpec) -> Replicator:
    """The one that production runs, on an empty cache."""
    cache.broadcast(b"FLUSHALL")
    views = Views((spec,), lambda table, keys: Schema(table, tuple(keys)))
    return Replicator(cache, views, fence_ttl=FENCE_TTL)


def deliver(to: Replicator, batches: Sequence[Sequence[Step]]) -> None:
    """Deliver as Lambda does."""
    for batch in batches:
        answer = to({"Records": [step.record for step in batch]}, Time())
        assert answer == {"batchItemFailures": []}


def entries(cache: Cache) -> dict[str, Any]:
    """All that readers can see."""
    keys = {key.decode() for key in keys_in(cache, "*")}
    return {key: _read(cache, key) for key in keys if not key.startswith(RESERVED)}


def _read(cache: Cache, key: str) -> Any:
    if cache.call(key, b"TYPE", key) == b"string":
        return json.loads(cache.call(key, b"GET", key))
    flat = [word.decode() for word in cache.call(key, b"HGETALL", key)]
    return dict(zip(flat[::2], flat[1::2], strict=True))


def plain(image: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """An item as readers see it."""
    return {name: value["S"] for name, value in image.items()}


def by_id(table: Table) -> dict[str, Any]:
    """What the default view shows of the table, worked out another way."""
    escaped = {"1": "1", "2": "2", "a:b": "a:b", "{4}": "%7B4%7D"}
    return {f"users:{escaped[key]}": plain(image) for key, image in table.items()}


def by_city(table: Table) -> dict[str, Any]:
    """What the view by city shows of the table."""
    escape = {"a:b": "a%3Ab", "A:B": "A%3AB", "{4}": "%7B4%7D", "": "%"}
    shown = {}
    for image in table.values():
        if "city" in image:
            parts = [image["city"]["S"], image["id"]["S"]]
            shown["city:" + ":".join(escape.get(part, part) for part in parts)] = plain(image)
    return shown


VIEWS = {
    "json": (ViewSpec(), by_id),
    "hash": (ViewSpec(encoding=HASH), by_id),
    "changing key": (ViewSpec(key="city:{city}:{id}", encoding=JSON), by_city),
}


@pytest.mark.parametrize("name", VIEWS)
@given(case=cases())
def test_any_delivery_converges(store: Cache, name: str, case: Case) -> None:
    spec, shown = VIEWS[name]
    deliver(replicator(store, spec), case.batches)
    assert entries(store) == shown(case.table)


@pytest.mark.parametrize("name", VIEWS)
@given(case=cases(), time_left=st.lists(st.integers(0, 12), max_size=12))
def test_a_batch_cut_short_and_repeated_from_where_it_says_converges(
    store: Cache, name: str, case: Case, time_left: list[int]
) -> None:
    spec, shown = VIEWS[name]
    mirror = replicator(store, spec)
    lefts = iter(time_left)
    for delivered in case.batches:
        in_order = sorted(delivered, key=case.history.index)  # as a shard is
        by_stream = itertools.groupby(in_order, lambda step: step.record["eventSourceARN"])
        for batch in [list(steps) for _, steps in by_stream]:
            deliver_in_time(mirror, batch, lefts)
    assert entries(store) == shown(case.table)


def deliver_in_time(mirror: Replicator, batch: Sequence[Step], lefts: Iterator[int]) -> None:
    """Deliver one batch as Lambda does, again and again from where the answer says."""
    while batch:
        ticks: Iterator[int] = itertools.repeat(0)
        if (left := next(lefts, None)) is not None:
            # Time runs out before the entry of that number.
            ticks = itertools.chain(itertools.repeat(0, left + 1), itertools.repeat(1_000))
        mirror._clock = lambda ticks=ticks: next(ticks)  # type: ignore[misc]
        answer = mirror({"Records": [step.record for step in batch]}, Time())
        failures = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
        if not failures:
            break
        numbers = [step.record["dynamodb"]["SequenceNumber"] for step in batch]
        batch = batch[numbers.index(failures[0]) :]


@st.composite
def snapshots(draw: st.DrawFn, history: Sequence[Step]) -> tuple[int, str, SnapshotVersion]:
    """An item read after some steps, with a horizon such that it holds all changes before it."""
    after = draw(st.integers(0, len(history)))
    following = history[after].created if after < len(history) else history[-1].created + 2
    behind = draw(st.integers(0, 3))
    return after, draw(st.sampled_from(["1", "2", "a:b"])), SnapshotVersion(following - behind)


@pytest.mark.parametrize("name", ["json", "hash"])
@given(data=st.data(), case=cases().filter(lambda case: case.history))
def test_rows_read_at_any_time_do_not_hinder_convergence(
    store: Cache, name: str, data: st.DataObject, case: Case
) -> None:
    spec, shown = VIEWS[name]
    mirror = replicator(store, spec)
    view = spec.bind(SCHEMA)
    for batch in case.batches:
        rows: list[Entry] = []
        for after, key, version in data.draw(st.lists(snapshots(case.history), max_size=3)):
            table = case.history[after - 1].table if after else {}
            row = entry_of_row(view, {"id": {"S": key}}, table.get(key), version)
            assert row is not None
            rows.append(row)
        assert not apply(store, rows, fence_ttl=FENCE_TTL).failed
        deliver(mirror, [batch])
    assert entries(store) == shown(case.table)
