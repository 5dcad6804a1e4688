"""`when`: which items a view is for."""

from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import SCHEMA, item
from tests.support.strategies import PROMISE, is_one_sentence, items, json_values, numbers, texts

from dynamirror.errors import ConfigError
from dynamirror.views.condition import Condition, parse
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.view import ViewSpec


def when(text: str) -> Condition:
    """A condition as TOML has it."""
    (spec,) = parse_views(f"[[view]]\nwhen = {text}")
    assert spec.when is not None
    return parse(spec.when, keys=("id",))


ADA = item(
    "7",
    type="user",
    age={"N": "36"},
    active={"BOOL": True},
    address={"M": {"city": {"S": "Rome"}, "geo": {"M": {"lat": {"N": "41.9"}}}}},
)


@pytest.mark.parametrize(
    "text",
    [
        '{ type = "user" }',
        '{ type = "user", age = 36 }',
        "{ age = 36.0 }",
        "{ active = true }",
        '{ type = { in = ["admin", "user"] } }',
        '{ age = { in = ["36", 36] } }',
        '{ type = { prefix = "us" } }',
        "{ age = { exists = true }, nickname = { exists = false } }",
        '{ age = { ">" = 35.9, "<=" = 36 } }',
        '{ "address.city" = "Rome" }',
        '{ "address.geo.lat" = { ">=" = 41.9, "<" = 42 } }',
        '{ "address.geo" = { exists = true } }',
        '{ any = [{ type = "admin" }, { age = { ">" = 30 } }] }',
        '{ all = [{ type = "user" }, { any = [{ id = "7" }, { id = "8" }] }] }',
    ],
)
def test_what_holds(text: str) -> None:
    assert when(text).holds(ADA)


@pytest.mark.parametrize(
    "text",
    [
        '{ type = "User" }',
        '{ type = "user", age = 35 }',
        '{ age = "36" }',
        '{ active = "true" }',
        "{ active = 1 }",
        "{ age = true }",
        '{ type = { in = ["admin"] } }',
        '{ age = { prefix = "3" } }',
        "{ nickname = { exists = true } }",
        '{ age = { ">" = 36 } }',
        '{ type = { ">" = 0 } }',
        '{ "address.city.street" = { exists = true } }',
        '{ "address.city" = { exists = false } }',
        '{ any = [{ type = "admin" }, { age = { ">" = 40 } }] }',
        '{ any = [{ type = "user" }], age = 1 }',
    ],
)
def test_what_does_not_hold(text: str) -> None:
    assert not when(text).holds(ADA)


@PROMISE
@given(value=numbers, bound=numbers)
def test_numbers_are_compared_with_all_their_38_digits(value: str, bound: str) -> None:
    one, two = Decimal(value), Decimal(bound)
    compared = {"<": one < two, "<=": one <= two, ">": one > two, ">=": one >= two}
    image = {"n": {"N": value}}
    for operator, holds in compared.items():
        assert parse({"n": {operator: two}}).holds(image) is holds
    assert parse({"n": two}).holds(image) is (one == two)


@PROMISE
@given(items=st.lists(items, max_size=3), first=texts, second=texts)
def test_any_and_all_mean_what_they_say(items: list[Any], first: str, second: str) -> None:
    parts = [{first or "a": {"exists": True}}, {second or "b": {"exists": False}}]
    for one in items:
        holds = [parse(part).holds(one) for part in parts]
        assert parse({"any": parts}).holds(one) is any(holds)
        assert parse({"all": parts}).holds(one) is all(holds)


@PROMISE
@given(value=json_values)
def test_an_image_of_any_shape_is_judged_without_an_error(value: Any) -> None:
    for test in ("x", {"prefix": "x"}, {">": 1}, {"in": [1, "x"]}, {"exists": True}):
        for name in ("a", "a.b"):
            assert parse({name: test}).holds({"a": value}) in (True, False)


@PROMISE
@given(given_=json_values | st.dictionaries(texts, json_values))
def test_what_is_no_condition_is_refused_and_nothing_else_happens(given_: Any) -> None:
    with suppress(ConfigError):
        parse(given_).holds({})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "when: must be a table of attributes"),
        ("{ age = {} }", "when.age: names no operator"),
        ("{ age = { above = 3 } }", "when.age: 'above' is not one of equals, in, prefix"),
        ('{ age = { ">" = "3" } }', "when.age: > does not go with '3'"),
        ('{ age = { ">" = nan } }', "when.age: > does not go with"),
        ("{ age = inf }", "when.age: equals does not go with"),
        ('{ type = { prefix = "" } }', "when.type: prefix does not go with ''"),
        ("{ type = { in = [] } }", r"when.type: in does not go with \[\]"),
        ("{ type = { exists = 1 } }", "when.type: exists does not go with 1"),
        ("{ day = 2026-01-01 }", "when.day: equals does not go with"),
        ("{ any = [] }", "when.any: is empty; give at least one condition"),
        ("{ all = [{ age = { x = 1 } }] }", r"when.all\[0\].age: 'x' is not one of"),
    ],
)
def test_a_wrong_condition_is_refused_with_where_it_is(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        when(text)
    assert str(caught.value).startswith("mirror.toml: ")
    assert is_one_sentence(caught.value)


def test_a_condition_on_the_key_tells_which_keys_cannot_have_an_entry() -> None:
    view = ViewSpec(when={"any": [{"id": {"prefix": "u"}}, {"id": "7", "x": "y"}]}).bind(SCHEMA)
    assert view.possible_key({"id": {"S": "u1"}}) == "users:u1"
    assert view.possible_key({"id": {"S": "7"}}) == "users:7"
    assert view.possible_key({"id": {"S": "8"}}) is None
