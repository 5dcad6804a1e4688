"""Lambda's event filter lets every record pass that a view needs."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.strategies import PROMISE
from tests.support.view_histories import Step, histories

from dynamirror.records.stream_record import decode
from dynamirror.views import event_filter as filters
from dynamirror.views.entry import entries_of_change
from dynamirror.views.event_filter import length, patterns
from dynamirror.views.index import IndexSpec
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.view import Schema, ViewSpec

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
    if view_type == BOTH:  # an index and a ranking, whose entries move
        specs.append(ViewSpec("by-status", index=IndexSpec("status", "total"), when=whens[0]))
        specs.append(ViewSpec("top", index=IndexSpec("type"), score="total", when=whens[-1]))
    asked = patterns(specs, SCHEMA, view_type)
    assert len(asked) <= 5
    key = {"PK": {"S": "dynamirror:canary"}, "SK": {"S": "dynamirror:canary"}}
    assert not asked or any(fits(pattern, {"dynamodb": {"Keys": key}}) for pattern in asked)
    for step in history:
        record = step.record(moving=view_type == BOTH)
        entries = [list(entries_of_change(spec.bind(SCHEMA), decode(record))) for spec in specs]
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


@pytest.mark.parametrize("text", ['"', "\\", "\n", "\u00e9", "\u20ac", "\U0001f600", "x"])
def test_a_pattern_is_as_long_as_its_json(text: str) -> None:
    for count in range(500, 4100, 7):
        asked = patterns([ViewSpec(key="v:{PK}:{SK}", when={"SK": text * count})], SCHEMA, NEW)
        # What CDK makes of it, in UTF-8.
        sizes = [len(json.dumps(one, separators=(",", ":"), ensure_ascii=False)) for one in asked]
        assert all(size <= 4096 for size in sizes)
    assert patterns([ViewSpec(key="v:{PK}:{SK}", when={"SK": text * 500})], SCHEMA, NEW)


def test_a_text_that_is_long_only_in_json_is_not_asked() -> None:
    assert patterns([ViewSpec(key="v:{PK}:{SK}", when={"SK": '"' * 3900})], SCHEMA, NEW) == ()
    assert patterns([ViewSpec(key="v:{PK}:{SK}", when={"SK": "x" * 3900})], SCHEMA, NEW) != ()


def wide(count: int, names: str) -> dict[str, Any]:
    """That of each of so many groups one condition holds, each on an attribute of its own."""
    return {"all": [{"any": [{f"{name}{group}": "x"} for name in names]} for group in range(count)]}


@pytest.mark.parametrize("count", [2, 5, 10, 1000])
def test_a_wide_condition_is_asked_in_part(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    merged = filters._merged

    def counted(alternatives: Any) -> Any:
        given = list(alternatives)
        made.append(len(given))
        return merged(given)

    monkeypatch.setattr(filters, "_merged", counted)
    when = wide(count, "abcde")
    found = patterns([ViewSpec(key="v:{PK}:{SK}", when={"SK": "s", **when})], SCHEMA, BOTH)
    assert max(made) <= 25
    # Five groups do not fit twice, once for each image: what the key tells is asked alone.
    assert [one["dynamodb"] for one in found] == [{"Keys": {"SK": {"S": ["s"]}}}, CANARY]
    found = patterns([ViewSpec(key="v:{PK}:{SK}", when=wide(count, "ab"))], SCHEMA, BOTH)
    assert len(found) == 5
    assert all(length(one) <= 4096 for one in found)


def test_of_a_condition_that_is_too_wide_that_part_is_asked_which_multiplies_nothing() -> None:
    groups = [{"any": [{name: "1"}, {name.upper(): "2"}]} for name in "abc"]
    spec = ViewSpec(key="v:{PK}:{SK}", when={"all": [*groups, {"SK": "s"}]})
    found = [one["dynamodb"] for one in patterns([spec], SCHEMA, BOTH)]
    assert len(found) == 5
    assert all("SK" in fields for one in found if one != CANARY for fields in one.values())
