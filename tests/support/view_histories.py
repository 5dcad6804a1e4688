"""Random histories of an item, and deliveries of them."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from tests.support.builders import CREATED
from tests.support.shop import FUTURE, PAST, SCHEMA, Image, Shown

FENCE_TTL = 93_600


ARN = "arn:aws:dynamodb:eu-1:1:table/shop/stream/2026-01-02T03:04:05.678"


FIRST = 4_981_237_498_123_749_812_374_981_237_498_123_749_810


Items = dict[tuple[str, str], Image]


@dataclass(frozen=True)
class Step:
    """One change: the images before and after, when it was made, and the table afterwards."""

    number: int
    old: Image | None
    new: Image | None
    created: int
    table: Items

    def record(self, *, moving: bool) -> dict[str, Any]:
        """As Lambda has it, of a stream with old images or without."""
        one = self.new or self.old
        assert one is not None
        data: dict[str, Any] = {
            "ApproximateCreationDateTime": self.created,
            "Keys": {name: one[name] for name in SCHEMA.keys},
            "SequenceNumber": str(FIRST + self.number),
            "StreamViewType": "NEW_AND_OLD_IMAGES" if moving else "NEW_IMAGE",
        }
        if self.new:
            data["NewImage"] = self.new
        if self.old and moving:
            data["OldImage"] = self.old
        event = "REMOVE" if not self.new else "MODIFY" if self.old else "INSERT"
        return {"eventName": event, "eventSourceARN": ARN, "dynamodb": data}


def of_type(tag: str, *values: str) -> st.SearchStrategy[dict[str, str]]:
    """Values of a type."""
    return st.sampled_from(values).map(lambda value: {tag: value})


keys = st.tuples(
    st.sampled_from(["u1", "u:2"]), st.sampled_from(["profile", "order#1", "order#2", "{x}"])
)


attributes = st.fixed_dictionaries(
    {},
    optional={
        "type": of_type("S", "user", "order"),
        "name": of_type("S", "Ada", "Bob", ""),
        "status": of_type("S", "open", "paid", "closed"),
        "total": of_type("N", "99.99", "1E+2", "250", "100000") | of_type("S", "250"),
        "until": of_type("N", str(PAST), str(FUTURE), str(FUTURE + 1)),
        "address": of_type("S", "Rome", "Oslo", "R:S").map(lambda name: {"M": {"city": name}}),
    },
)


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """Upserts and deletes of a few items."""
    drawn = draw(
        st.lists(
            st.tuples(keys, attributes | attributes | st.none(), st.integers(0, 1)),
            min_size=1,
            max_size=14,
        )
    )
    table: Items = {}
    steps: list[Step] = []
    created = CREATED
    given_: Any
    for (partition, sort), given_, seconds in drawn:
        key = partition, sort
        old = table.get(key)
        new: Image | None = None
        if given_ is not None:
            new = {"PK": {"S": partition}, "SK": {"S": sort}, **given_}
        if new == old:
            continue  # no change makes no record
        created += seconds
        table = {one: image for one, image in table.items() if one != key}
        if new is not None:
            table[key] = new
        steps.append(Step(len(steps), old, new, created, table))
    return steps


@dataclass(frozen=True)
class Read:
    """The whole table, read after so many steps; it holds all that was made before its horizon."""

    after: int
    as_of: int


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Step], list[list[Step] | Read]]:
    """Every change at least once, in any order and batches, and the table read in between."""
    history = draw(histories().filter(bool))
    again = draw(st.lists(st.sampled_from(history), max_size=len(history)))
    order = draw(st.permutations([*history, *again]))
    cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=4)))
    batches: list[list[Step] | Read] = []
    for start, end in itertools.pairwise([0, *cuts, len(order)]):
        batches.append(list(order[start:end]))
        if draw(st.booleans()):
            after = draw(st.integers(0, len(history)))
            last = history[-1].created + 2
            latest = history[after].created if after < len(history) else last
            batches.append(Read(after, latest - draw(st.integers(0, 2))))
    return history, batches


def comparable(entries: Shown) -> Iterator[tuple[str, Any, int | None]]:
    """Values that are JSON are told apart by what they say."""
    for key, (value, expires) in sorted(entries.items()):
        yield key, json.loads(value) if isinstance(value, bytes) else value, expires


def as_json(entries: Shown) -> Iterator[tuple[str, Any, int | None]]:
    """What should be there, with the plain values that the encodings write."""
    for key, (value, expires) in sorted(entries.items()):
        if key.startswith("order:"):
            total = value.get("total")
            plain = total and (total["S"] if "S" in total else float(total["N"]))
            yield key, {} if total is None else {"total": plain}, expires
        else:
            yield key, value, expires
