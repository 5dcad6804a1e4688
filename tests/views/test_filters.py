"""Lambda's event filter lets every record pass that a view needs."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.change import decode
from dynamirror.config import parse_views
from dynamirror.entry import of_change
from dynamirror.filters import patterns
from dynamirror.view import Schema, ViewSpec
from ground.strategies import PROMISE
from views.test_histories import Step, histories

SCHEMA = Schema("shop", ("PK", "SK"), ("S", "S"))
BOTH, NEW = "NEW_AND_OLD_IMAGES", "NEW_IMAGE"
NAMES = ("PK", "SK", "type", "name", "status", "total", "address.city")
CANARY = {"Keys": {"PK": {"S": ["dynamirror:canary"]}}}
TEXTS = ("u1", "u:2", "profile", "order#1", "user", "order", "open", "paid", "Rome", "R", "")


def fits(pattern: Any, record: Any) -> bool:
    """AWS's rules: an object's fields must all fit, of a list one element; null is no object."""
    if isinstance(pattern, Mapping):
        return isinstance(record, Mapping) and all(
            name in record and fits(inner, record[name]) for name, inner in pattern.items()
        )
    return any(_one(element, record) for element in pattern)


def _one(element: Any, value: Any) -> bool:
    if isinstance(element, Mapping):
        return isinstance(value, str) and value.startswith(element["prefix"])
    return bool(element == value)


tests: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(TEXTS),
    st.integers(0, 300),
    st.lists(st.sampled_from(TEXTS) | st.integers(0, 3), min_size=1).map(lambda one: {"in": one}),
    st.sampled_from(TEXTS).filter(bool).map(lambda one: {"prefix": one}),
    st.booleans().map(lambda one: {"exists": one}),
    st.integers(0, 300).map(lambda one: {">=": one}),
)
conditions: st.SearchStrategy[Any] = st.recursive(
    st.dictionaries(st.sampled_from(NAMES), tests, min_size=1, max_size=2),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts})
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts})
    ),
    max_leaves=5,
)


@PROMISE
@given(whens=st.lists(conditions, min_size=1, max_size=3), history=histories())
@pytest.mark.parametrize("view_type", [BOTH, NEW])
def test_a_record_that_makes_an_entry_in_any_view_passes(
    view_type: str, whens: list[Any], history: list[Step]
) -> None:
    specs = [
        ViewSpec(f"v{number}", key=f"v{number}:{{PK}}:{{SK}}", when=when)
        for number, when in enumerate(whens)
    ]
    asked = patterns(specs, SCHEMA, view_type)
    assert len(asked) <= 5
    key = {"PK": {"S": "dynamirror:canary"}, "SK": {"S": "dynamirror:canary"}}
    assert not asked or any(fits(pattern, {"dynamodb": {"Keys": key}}) for pattern in asked)
    for step in history:
        record = step.record(moving=view_type == BOTH)
        entries = [list(of_change(spec.bind(SCHEMA), decode(record))) for spec in specs]
        if any(entries) and asked:
            assert any(fits(pattern, record) for pattern in asked)


def asked(*whens: str, view_type: str = BOTH) -> list[Any]:
    """The patterns of views, without what all have."""
    text = "".join(
        f'[[view]]\nname = "v{number}"\nkey = "v{number}:{{PK}}:{{SK}}"\n{when}\n'
        for number, when in enumerate(whens)
    )
    found = [one["dynamodb"] for one in patterns(parse_views(text), SCHEMA, view_type)]
    assert not found or CANARY in found
    return [one for one in found if one != CANARY]


def test_a_condition_on_the_key_is_asked_of_the_keys() -> None:
    when = 'when = { SK = { prefix = "order" } }'
    for view_type in (BOTH, NEW):
        assert asked(when, view_type=view_type) == [{"Keys": {"SK": {"S": [{"prefix": "order"}]}}}]


def test_what_can_change_is_asked_of_both_images() -> None:
    user = {"type": {"S": ["user"]}}
    assert asked('when = { type = "user", age = { ">" = 3 } }') == [
        {"NewImage": user},
        {"OldImage": user},
    ]


def test_texts_of_one_attribute_share_a_pattern() -> None:
    when = 'when = { any = [{ type = "user" }, { type = { in = ["a", "b"] } }] }'
    assert asked(when)[0] == {"NewImage": {"type": {"S": ["user", "a", "b"]}}}


def test_the_canary_shares_a_pattern_that_asks_of_the_partition_key_alone() -> None:
    specs = parse_views('[[view]]\nkey = "v:{PK}:{SK}"\nwhen = { PK = "u1" }')
    (only,) = patterns(specs, SCHEMA, BOTH)
    assert only == {"dynamodb": {"Keys": {"PK": {"S": ["u1", "dynamirror:canary"]}}}}


def test_patterns_too_many_are_weakened_to_those_on_keys() -> None:
    whens = [f'when = {{ SK = "{sort}", type = "{sort}" }}' for sort in "abc"]
    assert asked(*whens) == [{"Keys": {"SK": {"S": [sort]}}} for sort in "abc"]


@pytest.mark.parametrize(
    "whens",
    [
        ("",),
        ('when = { type = "user" }', ""),
        ("when = { total = 3 }",),
        ('when = { "address.city" = "Rome" }',),
        ('when = { type = { in = ["user", 3] } }',),
        ("when = { type = { exists = true } }",),
        ('when = { any = [{ type = "user" }, { total = 3 }] }',),
        tuple(f'when = {{ SK = "{sort}" }}' for sort in "abcdef"),
        (f'when = {{ SK = "{"x" * 5000}" }}',),
    ],
)
def test_where_patterns_cannot_say_it_all_records_pass(whens: tuple[str, ...]) -> None:
    assert asked(*whens) == []


def test_without_old_images_nothing_that_can_change_is_asked() -> None:
    assert asked('when = { type = "user" }', view_type=NEW) == []
