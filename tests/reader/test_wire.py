"""Which view answers a read on the wire, and what is passed on, besides what the table shows."""

import time
from typing import Any

import pytest
from tests.support.generated_expressions import Value
from tests.support.mirrored import MakeMirrored, Mirrored

from dynamirror.errors import ConfigError
from dynamirror.reader import wire
from dynamirror.reader.guarded_cache import GuardedCache
from dynamirror.reader.mirrors import MirroredTable, Mirrors
from dynamirror.reader.sizes import typed_size
from dynamirror.reader.steps import PassedOn, Reason, run
from dynamirror.views.canary import NAME
from dynamirror.views.encoding import DYNAMODB_JSON, JSON
from dynamirror.views.projection import Projection
from dynamirror.views.view import Schema, ViewSpec, bind_views

SCHEMA = Schema("t", ("pk", "sk"), ("S", "S"))
PLAIN = ViewSpec(name="plain", encoding=DYNAMODB_JSON, collection=True)
ITEM: Value = {"pk": {"S": "p"}, "sk": {"S": "s"}, "n": {"N": "1"}}
KEY: Value = {"pk": {"S": "p"}, "sk": {"S": "s"}}


def table(*specs: ViewSpec, **options: Any) -> MirroredTable:
    """A table that is mirrored in views."""
    return MirroredTable(SCHEMA, bind_views(specs, SCHEMA), **options)


def named(name: str, **options: Any) -> ViewSpec:
    """A view with keys of its own."""
    return ViewSpec(
        name=name, **{"key": name + ":{{{pk}}}:{sk}", "encoding": DYNAMODB_JSON, **options}
    )


def names(made: MirroredTable) -> tuple[str | None, str | None]:
    """The views that answer reads by key, and in order."""
    return tuple(view and view.name for view in (made.by_key, made.by_order))  # type: ignore[return-value]


def test_the_view_of_whole_items_answers() -> None:
    less = named("less", projection=Projection(include=frozenset({"n"})), collection=True)
    plain_text, moving = named("text", encoding=JSON), named("moving", key="m:{pk}:{sk}:{n}")
    some = named("some", when={"n": 1}, collection=True)
    whole, ordered = named("whole"), named("ordered", collection=True)
    assert names(table(less, plain_text, moving)) == (None, None)
    assert names(table(some)) == ("some", None), "an item that is there is the table's"
    assert names(table(less, some, whole)) == ("whole", None)
    assert names(table(whole, some, ordered)) == ("ordered", "ordered")
    assert names(table(whole, less, view="less")) == ("less", "less")
    assert names(table(some, whole, view="some")) == ("some", "some")


def test_a_view_that_cannot_answer_is_refused() -> None:
    with pytest.raises(ConfigError, match="keeps no types"):
        table(named("text", encoding=JSON), view="text")
    with pytest.raises(ConfigError, match="must be one of"):
        table(PLAIN, view="other")
    with pytest.raises(ConfigError, match="on_miss"):
        table(PLAIN, on_miss="never")


@pytest.fixture
def world(make: MakeMirrored) -> Mirrored:
    """A complete mirror of one item."""
    world = make(PLAIN, keys={"pk": "S", "sk": "S"})
    world.mirror_items([ITEM])
    world.is_complete()
    return world


def ask(world: Mirrored, operation: Any, body: Value, **options: Any) -> Any:
    """The answer to a request, or why it is passed on."""
    made = MirroredTable(world.schema, world.views, on_miss="absent", **options)
    cache = GuardedCache(world.cache, failures=3, pause=5)
    answer = run(operation(Mirrors([made]), {"TableName": world.name, **body}), cache)
    return answer.reason if isinstance(answer, PassedOn) else answer


def condition(partition: str) -> Value:
    """A query of a partition."""
    return {
        "KeyConditionExpression": "pk = :p",
        "ExpressionAttributeValues": {":p": {"S": partition}},
    }


def test_a_table_is_found_by_its_arn(world: Mirrored) -> None:
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{world.name}"
    body = {"TableName": arn, "Key": KEY}
    assert ask(world, wire.get_item, body, arn=arn) == {"Item": ITEM}
    assert ask(world, wire.get_item, body) is Reason.UNKNOWN_TABLE


def test_what_no_view_has_is_passed_on(world: Mirrored) -> None:
    canary = {"pk": {"S": NAME}, "sk": {"S": NAME}}
    assert ask(world, wire.get_item, {"Key": canary}) is Reason.VIEW
    assert ask(world, wire.query, condition(NAME)) is Reason.VIEW
    long = {"pk": {"S": "%" * 1100}, "sk": {"S": "%" * 300}}
    assert ask(world, wire.get_item, {"Key": long}) is Reason.VIEW
    # The cache may take no key of an item there, so that its index has none.
    assert ask(world, wire.query, condition("%" * 400)) is Reason.VIEW
    assert ask(world, wire.query, condition("p" * 400))["Count"] == 0


def test_what_another_application_put_there_is_no_item(world: Mirrored) -> None:
    key = world.view.key_of(ITEM)
    assert key is not None
    texts = ("7", "[1]", '{"pk":1}', '{"pk":{"S":"p"}', "\xff", '{"pk":{"S":"q"},"sk":{"S":"s"}}')
    for text in texts:
        world.cache.call(key, b"SET", key, text)
        assert ask(world, wire.get_item, {"Key": KEY}) is Reason.VIEW
        if text != texts[-1]:
            assert ask(world, wire.query, condition("p")) is Reason.VIEW


def test_a_write_that_must_be_visible_is_looked_for_in_the_fence(world: Mirrored) -> None:
    now = time.time()
    asked: list[Value] = []

    def since(moment: float | None) -> Any:
        def min_time(key: Value) -> float | None:
            asked.append(key)
            return moment

        return min_time

    body = {"Key": KEY}
    assert ask(world, wire.get_item, body, min_time=since(now - 60)) == {"Item": ITEM}
    assert ask(world, wire.get_item, body, min_time=since(now + 60)) is Reason.TOO_NEW
    assert ask(world, wire.get_item, body, min_time=since(None)) == {"Item": ITEM}
    assert ask(world, wire.query, condition("p"), min_time=since(now - 60)) is Reason.TOO_NEW
    assert ask(world, wire.query, condition("p"), min_time=since(None))["Count"] == 1
    assert asked == [KEY, KEY, KEY, {"pk": {"S": "p"}}, {"pk": {"S": "p"}}]


@pytest.mark.parametrize(("size", "units"), [(100, 0.5), (4096, 0.5), (4097, 1.0), (8193, 1.5)])
def test_the_consumed_capacity_is_what_dynamodb_would_charge(
    world: Mirrored, size: int, units: float
) -> None:
    """Half a unit for each 4 KB begun, and for nothing as for one byte."""
    item = {**ITEM, "x": {"S": ""}}
    item["x"] = {"S": "x" * (size - typed_size(item))}
    world.mirror_items([item])
    world.cache.broadcast(b"FLUSHALL")
    world.mirror_items([item])
    world.is_complete()
    for operation, body in ((wire.get_item, {"Key": KEY}), (wire.query, condition("p"))):
        got = ask(world, operation, body | {"ReturnConsumedCapacity": "TOTAL"})
        assert got["ConsumedCapacity"] == {"TableName": world.name, "CapacityUnits": units}
        got = ask(world, operation, body | {"ReturnConsumedCapacity": "INDEXES"})
        assert got["ConsumedCapacity"]["Table"] == {"CapacityUnits": units}
    none = {"Key": {**KEY, "sk": {"S": "none"}}, "ReturnConsumedCapacity": "TOTAL"}
    assert ask(world, wire.get_item, none)["ConsumedCapacity"]["CapacityUnits"] == 0.5
