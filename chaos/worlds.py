"""Random worlds of tables and views, delivered badly, redriven and compared: `make worlds`.

A world has a few items that change at random, and views of every kind. Some items cannot be keyed
or written, some records are damaged on their way. All records are delivered in any order, some
twice, in any batches, with rows of the table in between. Then what is in quarantine is redriven.
The cache and the quarantine must be what the oracle (oracle.py) makes of the table.
"""

import argparse
import copy
import json
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos import oracle
from chaos.attributes import Item, UnwritableError
from chaos.oracle import Look
from chaos.sorted_sets import draw_order
from dynamirror.cache.client import Cache
from dynamirror.cache.quarantine import read_quarantine
from dynamirror.cache.scripts import Command
from dynamirror.cache.writer import apply
from dynamirror.dynamodb.items import SnapshotRow
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import RecordError
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.redrive import Outcome, redrive
from dynamirror.recovery.verify import compare
from dynamirror.replication.replicator import Replicator
from dynamirror.views import encoding
from dynamirror.views.entry import entry_of_row
from dynamirror.views.keyspace import RESERVED
from dynamirror.views.projection import Projection
from dynamirror.views.view import Schema, View, Views, ViewSpec

TABLE = "worlds"
FENCE_TTL = 93_600
_LABELS = ("2026-01-02T03:04:05.678", "2026-01-03T03:04:05.678")
_FIRST = 4_981_237_498_123_749_812_374_981_237_498_123_749_810
_TEXTS = ("x", "y", "x:y", "a{b}%", "é", "")
_UNKEYABLE: tuple[Any, ...] = (
    {"L": [{"S": "x"}]},
    {"M": {"c": {"L": []}}},
    {"BOOL": True},
    {"NULL": True},
    {"SS": ["y", "x"]},
    {"S": "\ud800"},
)
_UNWRITABLE = {"X": "?"}
_MUTABLE = ("a", "b", "m.c")
_PAST, _FUTURE = 1_000_000_000, 4_102_444_800


@dataclass(frozen=True)
class Step:
    """One change.

    Args:
        record: as Lambda has it.
        created: when it was made, in seconds since 1970.
        table: the table afterwards.
    """

    record: dict[str, Any]
    created: int
    table: Mapping[str, Item]


@dataclass
class World:
    """A table, its views and its history, all drawn from a seed.

    Args:
        rng: where from.
        keys: the table's key attributes.
        carries_old: whether the stream carries old images.
    """

    rng: random.Random
    keys: tuple[str, ...] = ()
    carries_old: bool = True
    looks: list[Look] = field(default_factory=list)
    specs: list[ViewSpec] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = self.rng
        self.keys = ("pk", "sk") if rng.random() < 0.6 else ("pk",)
        self.carries_old = rng.random() < 0.8
        only_static = rng.random() < 0.2
        for number in range(rng.randint(1 if only_static else 3, 7)):
            self._draw_view(number, static=only_static)
        self._draw_history()

    @property
    def table(self) -> Mapping[str, Item]:
        """What the table holds at the end."""
        return self.steps[-1].table

    def _draw_view(self, number: int, *, static: bool) -> None:
        rng, prefix = self.rng, f"v{number}:"
        kinds = ["plain", "plain", "when"]
        if self.carries_old:
            kinds += ["moving"] * 3 + ["index"] * 4 + ["board"] * 2
        kinds += ["whole board"]
        if "sk" in self.keys:
            kinds += ["collection", "pinned", "board of partitions"]
        kind = "plain" if static else rng.choice(kinds)
        given: dict[str, Any] = {"name": f"view{number}"}
        when = None
        if not static and (kind == "when" or rng.random() < 0.25):
            when = self._draw_condition()
        names = list(self.keys)
        if kind == "pinned":
            names, when = ["pk"], {"sk": "s1", **(when or {})}
        if kind == "moving":
            names += rng.sample(_MUTABLE, rng.choice((1, 1, 2)))
            rng.shuffle(names)
        sets, words = draw_order(rng, kind, prefix, self.keys)
        if sets is not None:
            key, escaped = sets.template, sets.escaped
            given |= words
        else:
            given["key"] = prefix + ":".join(f"{{{name}}}" for name in names)
            key = ((prefix, names[0]), *((":", name) for name in names[1:]))
            escaped = "%{}:" if len(names) > 1 else "%{}"
        form = rng.choice(("json", "dynamodb-json", "hash", "attribute"))
        both: dict[str, Any] = {"when": when, "ttl": rng.choice((None, None, "until"))}
        projection = self._draw_shape() if rng.random() < 0.5 else {}
        shown = dict(projection)
        if kind == "index":  # such a view keeps what it is read by
            projection = {"include": shown["include"]} if "include" in shown else {}
            index = given["index"]
            shown = {name: one.union(index.names, self.keys) for name, one in projection.items()}
        written = {
            "json": encoding.JSON,
            "dynamodb-json": encoding.DYNAMODB_JSON,
            "hash": encoding.HASH,
            "attribute": encoding.attribute("a"),
        }[form]
        self.specs.append(
            ViewSpec(
                **given,
                **both,
                encoding=written,
                projection=Projection(**projection),
            )
        )
        attribute = "a" if form == "attribute" else None
        self.looks.append(
            Look(
                name=given["name"],
                **both,
                **shown,
                key=key,
                escaped=escaped,
                encoding=form,
                attribute=attribute,
                sets=sets,
            )
        )

    def _draw_condition(self, depth: int = 0) -> dict[str, Any]:
        rng = self.rng
        conditions: list[Callable[[], dict[str, Any]]] = [
            lambda: {"a": rng.choice(_TEXTS)},
            lambda: {"a": {"in": ["x", "y"]}},
            lambda: {"b": {"exists": rng.random() < 0.5}},
            lambda: {"n": {">=": 2, "<": 5}},
            lambda: {"m.c": {"prefix": "x"}},
            lambda: {"a": {"exists": True}, "n": {"<": 4}},
        ]
        if depth < 2:
            word = rng.choice(("any", "all"))
            conditions.append(
                lambda: {word: [self._draw_condition(depth + 1) for _ in range(rng.randint(1, 2))]}
            )
        return rng.choice(conditions)()

    def _draw_shape(self) -> dict[str, Any]:
        rng = self.rng
        projection: dict[str, Any] = {}
        names = ("a", "b", "m", "n", "z", *self.keys)
        chosen = frozenset(rng.sample(names, rng.randint(1, 3)))
        projection[rng.choice(("include", "exclude"))] = chosen
        if rng.random() < 0.4:
            projection["rename"] = {"a": rng.choice(("renamed", "b"))}
        if rng.random() < 0.3:
            projection["constants"] = {"kind": {"S": "item"}, "version": {"N": "2"}}
        return projection

    def _draw_item(self, key: Item) -> dict[str, Any]:
        rng, item = self.rng, dict(key)
        strange = rng.random() < 0.35
        for name in ("a", "b"):
            if rng.random() < 0.8:
                item[name] = self._draw_value(strange=strange)
        if rng.random() < 0.6:
            item["m"] = {"M": {"c": self._draw_value(strange=strange)}}
        if rng.random() < 0.6:
            item["n"] = rng.choice([{"N": str(number)} for number in range(7)] + [{"S": "3"}])
        if rng.random() < 0.5:
            item["until"] = {"N": str(rng.choice((_PAST, _FUTURE, _FUTURE + 1)))}
        if strange and rng.random() < 0.2:
            item["z"] = _UNWRITABLE
        return item

    def _draw_value(self, *, strange: bool) -> Any:
        rng = self.rng
        if strange and rng.random() < 0.6:
            return copy.deepcopy(rng.choice(_UNKEYABLE))
        kind = rng.random()
        if kind < 0.8:
            return {"S": rng.choice(_TEXTS)}
        return {"N": str(rng.randint(-3, 12))} if kind < 0.9 else {"B": oracle.binary(b"\xfb\xff")}

    def _draw_history(self) -> None:
        rng = self.rng
        partitions, sorts = ("p1", "p:2", "{3}")[: rng.randint(1, 3)], ("s1", "s:2", "%{é}")
        table: dict[str, Item] = {}
        created, stream, number = int(time.time()) - 4000, 0, 0
        wanted = rng.randint(4, 40)
        while len(self.steps) < wanted:
            key: dict[str, Any] = {"pk": {"S": rng.choice(partitions)}}
            if "sk" in self.keys:
                key["sk"] = {"S": rng.choice(sorts)}
            name = oracle.name_of(key, self.keys)
            old = table.get(name)
            new = None if rng.random() < 0.25 else self._draw_item(key)
            if new is not None and old is not None and rng.random() < 0.5:
                kept = rng.choice(list(new))
                new = {**old, kept: new[kept]}
            if new == old:
                continue  # no change makes no record
            if stream == 0 and rng.random() < 0.02:
                stream, number, created = 1, -_FIRST, created + 1
            created += rng.choice((0, 0, 1, 5))
            number += rng.randint(1, 3)
            table = {one: item for one, item in table.items() if one != name}
            if new is not None:
                table[name] = new
            data = {
                "ApproximateCreationDateTime": created,
                "Keys": key,
                "SequenceNumber": str(_FIRST + number),
            }
            record = self._record(data, new, old, _LABELS[stream])
            self.steps.append(Step(record, created, table))

    def _record(self, data: dict[str, Any], new: Any, old: Any, label: str) -> dict[str, Any]:
        data["StreamViewType"] = "NEW_AND_OLD_IMAGES" if self.carries_old else "NEW_IMAGE"
        if new is not None:
            data["NewImage"] = new
        if old is not None and self.carries_old:
            data["OldImage"] = old
        return {
            "eventName": "REMOVE" if new is None else "MODIFY" if old is not None else "INSERT",
            "eventSourceARN": f"arn:aws:dynamodb:eu-1:1:table/{TABLE}/stream/{label}",
            "dynamodb": data,
        }

    def deliveries(self) -> Iterator[list[Any] | tuple[Mapping[str, Item], SnapshotVersion]]:
        """Batches of records, and now and then the table as it was read, with the horizon."""
        rng = self.rng
        damage = rng.choice((0.0, 0.0, 0.05, 0.2))
        records: list[Any] = []
        for step in self.steps:
            lost = rng.random() < damage
            records.append(self._damaged(step.record) if lost else step.record)
            if rng.random() < damage:
                records.append(self._damaged(step.record))
        records += rng.choices(records, k=rng.randint(0, len(records)))
        if rng.random() < 0.8:
            rng.shuffle(records)
        while records:
            size = rng.randint(1, 1 + len(records))
            yield records[:size]
            del records[:size]
            if rng.random() < 0.2:
                after = rng.randrange(len(self.steps))
                # What was made in the horizon's second or later, a row may lack.
                after_next = self.steps[min(after + 1, len(self.steps) - 1)].created
                yield self.steps[after].table, SnapshotVersion(after_next - rng.randint(0, 2))

    def _damaged(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return a damaged record that some view notices; otherwise the record as it is."""
        spoilt = damaged(record, self.rng)
        image = spoilt["dynamodb"].get("NewImage")
        if image == record["dynamodb"].get("NewImage"):
            return spoilt
        for look in self.looks:
            try:
                look.entry(image)
            except UnwritableError:
                return spoilt
        return record


def damaged(record: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A record of which something was lost or spoilt, but not which item it is of."""
    record = copy.deepcopy(record)
    data = record["dynamodb"]
    spoil: list[Callable[[], object]] = [
        lambda: record.pop("eventName"),
        lambda: data.pop("ApproximateCreationDateTime"),
        lambda: data.update(SequenceNumber="-" + data["SequenceNumber"]),
        lambda: data.pop("SequenceNumber"),
    ]
    if "NewImage" in data:
        spoilt = rng.choice(("a", "z"))
        spoil += [lambda: data["NewImage"].update({spoilt: _UNWRITABLE})] * 2
    rng.choice(spoil)()
    return record


class Reader:
    """Reads the items of a world as the table would give them, long after all was written."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._horizon = SnapshotVersion(int(time.time()) + 100)

    def read(self, key: Item) -> SnapshotRow:
        """Read one item."""
        name = oracle.name_of(key, self._world.keys)
        return SnapshotRow(key, self._world.table.get(name), self._horizon)

    def read_many(self, keys: Any, *, consistent: bool = True) -> Iterator[SnapshotRow]:
        """Read items, consistently in any case."""
        del consistent
        return map(self.read, keys)


def differences(world: World, cache: Cache) -> list[str]:
    """Deliver a world and redrive it; gives what is not as it should be."""
    cache.broadcast(b"FLUSHALL")
    types = tuple("S" for _ in world.keys)
    schema = Schema(TABLE, world.keys, types)
    views = Views.for_schema(world.specs, schema)
    bound = views.bind(schema)
    replicator = Replicator(cache, views, fence_ttl=FENCE_TTL)
    everything: list[Any] = []
    for batch in world.deliveries():
        if isinstance(batch, tuple):
            apply(cache, list(_rows(bound, *batch)), fence_ttl=FENCE_TTL)
            continue
        everything += batch
        if (answer := replicator({"Records": batch}, _Patience()))["batchItemFailures"]:
            return [f"not all was taken: {answer}"]
    wanted = oracle.expected(world.table.values(), world.looks, world.keys, int(time.time()))
    wrong = _redriven(world, cache, bound, wanted) + _as_shown(world, cache, wanted)
    if (found := compare(world.table.values(), cache, bound)).differences:
        wrong.append(f"verify finds {found.sample}")
    world.rng.shuffle(everything)
    replicator({"Records": everything}, _Patience())
    return wrong + [f"delivered once more: {one}" for one in _as_shown(world, cache, wanted)]


def _rows(
    views: Sequence[View], table: Mapping[str, Item], version: SnapshotVersion
) -> Iterator[Any]:
    for item in table.values():
        for view in views:
            try:
                entry = entry_of_row(view, item, item, version)
            except RecordError:
                continue  # a rebuild would park it
            if entry is not None:
                yield entry


def _redriven(
    world: World, cache: Cache, views: Sequence[View], wanted: oracle.Expected
) -> list[str]:
    reader: Any = Reader(world)
    wrong = []
    done = list(redrive(cache, views, reader, read_quarantine(cache, TABLE), fence_ttl=FENCE_TTL))
    left = {oracle.name_of(json.loads(one.item.name), world.keys): one for one in done}
    for name, one in left.items():
        bad = wanted.unwritable.get(name, set())
        outcome = Outcome.POISON if bad else Outcome.HEALED
        if one.outcome is not outcome or any(f"view {view}: " not in one.reason for view in bad):
            wrong.append(f"{name}: redrive: {one.outcome} {one.reason}, but {sorted(bad)} cannot")
    wrong += [f"{name}: not in quarantine" for name in wanted.unwritable.keys() - left.keys()]
    kept = {
        oracle.name_of(json.loads(one.name), world.keys) for one in read_quarantine(cache, TABLE)
    }
    if kept != wanted.unwritable.keys():
        wrong.append(f"in quarantine: {kept}, but it should be {set(wanted.unwritable)}")
    return wrong


def _as_shown(world: World, cache: Cache, wanted: oracle.Expected) -> list[str]:
    """What in the cache is not as it should be."""
    keys = [key for key in set(cache.scan("*")) if not key.startswith(RESERVED.encode())]
    kinds = cache.execute([Command(key, (b"TYPE", key)) for key in keys])
    reads = {b"hash": (b"HGETALL",), b"zset": (b"ZRANGE", b"0", b"-1", b"WITHSCORES")}
    asked = [reads.get(kind, (b"GET",)) for kind in kinds]
    held = cache.execute(
        [Command(key, (word, key, *rest)) for key, (word, *rest) in zip(keys, asked, strict=True)]
    )
    expiries = cache.execute([Command(key, (b"EXPIRETIME", key)) for key in keys])
    entries, found, wrong = set(), {}, []
    for key, kind, value, expires in zip(keys, kinds, held, expiries, strict=True):
        name = key.decode()
        if kind == b"zset":
            found[name] = [
                sets.read(member, float(score))
                for sets in (look.sets for look in world.looks)
                if sets is not None and name.startswith(sets.prefix)
                for member, score in zip(value[::2], value[1::2], strict=True)
            ]
            continue
        entries.add(name)
        if name not in wanted.entries:
            wrong.append(f"{name}: should not be there")
            continue
        should, until = wanted.entries[name]
        if not oracle.matches(value, should) or expires != (until or -1):
            wrong.append(f"{name}: {value!r} until {expires}, but it should be {should} {until}")
    wrong += [f"{name}: is missing" for name in wanted.entries.keys() - entries]
    if found != wanted.sets:
        wrong.append(f"sorted sets are {found}, but should be {wanted.sets}")
    return wrong


class _Patience:
    """Lambda's context, with time enough."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended."""
        return 600_000


def main() -> int:
    """Try worlds one by one; 1 if any of them ended wrong."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--worlds", type=int, default=1000, help="how many to try")
    parser.add_argument("--seed", type=int, default=1, help="of the first; the next has the next")
    given = parser.parse_args()
    logging.getLogger("dynamirror").setLevel(logging.CRITICAL)  # poison is what this is about
    changes = strange = wrong = 0
    with EmbeddedValkey(cluster=False) as server:
        cache = Cache(server.settings())
        for seed in range(given.seed, given.seed + given.worlds):
            world = World(random.Random(seed))
            changes += len(world.steps)
            strange += len(
                oracle.expected(world.table.values(), world.looks, world.keys, 0).unwritable
            )
            found = differences(world, cache)
            wrong += len(found)
            for line in found[:5]:
                print(f"seed {seed}: {line}".encode("utf-8", "backslashreplace").decode())
        cache.close()
    print(
        f"{given.worlds} worlds, {changes:,} changes, {strange:,} items that a view cannot have: "
        f"{wrong} differences"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
