"""Whatever is in an event, the shard goes on: neighbours are applied, nothing is told or lost."""

import copy
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.builders import STREAM_ARN, Time, item, record
from tests.support.scans import keys_in

from dynamirror.cache.client import Cache
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import ConfigError, RecordError
from dynamirror.replication.replicator import Replicator
from dynamirror.views.keyspace import overflow_key, quarantine_key
from dynamirror.views.view import Schema, Views, ViewSpec

# Stands for what users keep in their tables.
MARKER = "s3cr3t-marker"
GOOD = "good-"
# Twice as deep as DynamoDB lets values be.
DEEP = 64


def real(sequence: int) -> list[dict[str, Any]]:
    """Records of every kind and with every type, with the marker in every value."""
    every_type = {
        "s": {"S": MARKER},
        "b": {"B": "czNjcjN0LW1hcmtlcg=="},
        "ss": {"SS": [MARKER]},
        "ns": {"NS": ["1", "-2.5E+10"]},
        "bs": {"BS": ["AA=="]},
        "m": {"M": {"l": {"L": [{"S": MARKER}, {"NULL": True}, {"BOOL": False}]}}},
        "n": {"N": "12345678901234567890123456789012345678"},
    }
    rich, plain = item(MARKER, **every_type), item(MARKER, s=MARKER)
    new_only = record(sequence, rich, StreamViewType="NEW_IMAGE")
    expired = record(sequence, None, plain)
    expired["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    return [record(sequence, rich), record(sequence, plain, rich), new_only, expired]


def nested(tag: str) -> dict[str, Any]:
    """A value deeper than any in DynamoDB."""
    value: dict[str, Any] = {"S": "x"}
    for _ in range(DEEP):
        value = {tag: [value] if tag == "L" else {"a": value}}
    return value


texts = st.text(st.characters(exclude_categories=()), max_size=5)  # lone surrogates, too
junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        texts,
        st.sampled_from(["S", "M", "INSERT", "REMOVE", STREAM_ARN, "9" * 40, "9" * 5_000, "-1"]),
        st.sampled_from([10**400, -(10**30), 1e308, float("nan"), float("inf"), 2**63]),
        st.sampled_from(["L", "M"]).map(nested),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(texts, st.sampled_from(["S", "N", "B", "M", "L", "SS", "NS", "id"])),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in a tree but its root."""
    if isinstance(node, dict | list):
        for name in node if isinstance(node, dict) else range(len(node)):
            yield (*path, name)
            yield from places(node[name], (*path, name))


@st.composite
def corrupted(draw: st.DrawFn) -> Any:
    """A record in which some things were dropped or replaced, or that is junk altogether."""
    whole = copy.deepcopy(draw(st.sampled_from(real(draw(st.integers(1, 60))))))
    for _ in range(draw(st.integers(0, 4))):
        paths = list(places(whole))
        if not paths:
            break
        *way, name = draw(st.sampled_from(paths))
        node = whole
        for step in way:
            node = node[step]
        if draw(st.booleans()):
            node[name] = draw(junk)
        else:
            del node[name]
    return draw(st.one_of(st.just(whole), st.just(whole), st.just(whole), junk))


def goods() -> list[dict[str, Any]]:
    """Records that have nothing wrong with them."""
    return [record(100 + number, item(f"{GOOD}{number}", s="x")) for number in range(3)]


@st.composite
def batches(draw: st.DrawFn) -> list[Any]:
    """Good records among corrupted ones, some twice, in any order."""
    bad = draw(st.lists(corrupted(), min_size=1, max_size=5))
    good = goods()
    again = draw(st.lists(st.sampled_from([*bad, *good]), max_size=3))
    return draw(st.permutations([*bad, *good, *again]))


@pytest.fixture(scope="module")
def store(valkey: EmbeddedValkey) -> Iterator[Cache]:
    """The cluster, kept through all examples."""
    cache = Cache(valkey.settings())
    yield cache
    cache.close()


@pytest.fixture(scope="module", params=["default", "changing key"])
def replicator(request: pytest.FixtureRequest, store: Cache) -> Replicator:
    """A replicator, kept through all examples."""
    spec = ViewSpec() if request.param == "default" else ViewSpec(key="users:{id}:{s}")
    views = Views((spec,), lambda table, _keys: Schema(table, ("id",), ("S",)))
    return Replicator(store, views, fence_ttl=90_000)


class Ear(logging.Handler):
    """Hears all that is logged, with all that goes along."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Hear one thing."""
        self.heard.append(str(vars(record)))


@pytest.fixture(scope="module")
def ear() -> Iterator[Ear]:
    """Hears what the package logs."""
    logger, ear = logging.getLogger("dynamirror"), Ear()
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(ear)
    yield ear
    logger.removeHandler(ear)
    logger.setLevel(level)


def spelt(batch: list[Any]) -> set[str]:
    """All sequence numbers in a batch, as they are spelt."""
    found = set()
    for one in batch:
        try:
            number = one["dynamodb"]["SequenceNumber"]
        except (KeyError, TypeError):
            continue
        if isinstance(number, str):
            found.add(number)
    return found


TWICE_WRONG: Any = record(1) | {"eventSourceARN": "\ud800"}
del TWICE_WRONG["eventName"]


@given(batch=batches(), ticks=st.integers(2, 12))
@example(batch=[TWICE_WRONG, *goods()], ticks=2)
def test_no_event_whatever_is_in_it_blocks_its_good_records(
    store: Cache, replicator: Replicator, ear: Ear, batch: list[Any], ticks: int
) -> None:
    store.broadcast(b"FLUSHALL")
    ear.heard.clear()
    try:
        assert set(deliver(replicator, batch, ticks)) <= spelt(batch)
        assert deliver(replicator, batch, None) == []
    except ConfigError as refused:  # the stream itself is said to be of the wrong type
        assert "view type" in str(refused)  # noqa: PT017
        return
    kept = {key.removesuffix(b":x") for key in keys_in(store, f"users:{GOOD}*")}
    assert kept == {f"users:{GOOD}{number}".encode() for number in range(3)}
    assert not any(MARKER in line for line in ear.heard)
    for key in (quarantine_key("users"), quarantine_key("?")):
        notes = store.call(key, b"HGETALL", key)[1::2]
        assert all(json.loads(note)["reason"] for note in notes)
    assert store.call(overflow_key("users"), b"GET", overflow_key("users")) is None


def deliver(to: Replicator, batch: list[Any], ticks: int | None) -> list[str]:
    """Deliver once; time is up after so many looks at the clock. Gives what must come again."""
    left = iter(range(ticks)) if ticks else None
    to._clock = lambda: 0.0 if left is None or next(left, None) is not None else 1_000.0
    try:
        answer = to({"Records": batch}, Time())
    except RecordError as error:
        raise AssertionError(f"a record is no fault of the whole event: {error}") from error
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


@given(event=junk)
def test_what_is_no_event_of_a_stream_is_refused(replicator: Replicator, event: Any) -> None:
    with pytest.raises(RecordError, match="no list of Records"):
        replicator(event, Time())
