"""Key templates: what may be written, and that no two items ever share a key."""

from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.key_templates import EVERY, TEMPLATES, identity, item, primary_keys, render
from tests.support.strategies import PROMISE, is_one_sentence
from valkey.crc import key_slot

from dynamirror.errors import ConfigError, RecordError
from dynamirror.views.key_template import KeyTemplate
from dynamirror.views.keyspace import RESERVED, fence_key


@PROMISE
@given(primary_keys)
def test_two_items_never_share_a_key(items: list[dict[str, Any]]) -> None:
    for template in EVERY:
        assert len({render(template, each) for each in items}) == len(items)


@pytest.mark.parametrize("text", TEMPLATES)
def test_no_two_short_items_share_a_key(text: str) -> None:
    """Every pair of texts of up to two characters, from those that templates and escapes use."""
    render = KeyTemplate.parse(text, table="dynamirror").renderer()
    characters = sorted(set("%:{25d" + text.replace("{pk}", "").replace("{sk}", "")[:3]))
    short = [
        "".join(letters) for length in range(3) for letters in product(characters, repeat=length)
    ]
    keys = {render(item(pk, sk)) for pk in short for sk in short}
    assert len(keys) == len(short) ** 2


@PROMISE
@given(st.sampled_from(EVERY), primary_keys, st.sampled_from(["pk", "sk"]))
def test_a_value_that_is_a_whole_other_key_does_not_collide(
    inner: KeyTemplate, items: list[dict[str, Any]], name: str
) -> None:
    nested = [each | {name: {"S": render(inner, each)}} for each in items]
    nested += [each | {name: {"S": fence_key(render(inner, each))}} for each in items]
    different = {identity(each): each for each in nested}.values()
    for template in EVERY:
        assert len({render(template, each) for each in different}) == len(different)


@PROMISE
@given(primary_keys)
def test_keys_of_templates_with_different_prefixes_never_meet(items: list[dict[str, Any]]) -> None:
    keys = [(each.prefix, {render(each, item) for item in items}) for each in EVERY]
    for (one, ones), (two, twos) in combinations(keys, 2):
        overlap = one.startswith(two) or two.startswith(one)  # refused when views are bound
        assert overlap or not ones & twos


@PROMISE
@given(primary_keys)
def test_every_key_begins_with_its_prefix(items: list[dict[str, Any]]) -> None:
    for template in EVERY:
        assert all(render(template, each).startswith(template.prefix) for each in items)


def identifies(template: KeyTemplate, key: str) -> bool:
    """Return whether the template finds an item for a key, all of whose attributes are text."""
    return template.reader(dict.fromkeys(template.names, "S"))(key) is not None


@PROMISE
@given(primary_keys)
@example([item("", "")])
def test_a_template_matches_every_key_it_renders(items: list[dict[str, Any]]) -> None:
    for template in (*EVERY, KeyTemplate.parse("{sk}64", table="t")):
        assert all(identifies(template, render(template, each)) for each in items)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("{table}:{pk}", "users:"),
        ("{table}:{pk}:{sk}", "users:a"),
        ("{table}:{pk}:{sk}", "users:a:b:c"),
        ("{table}:{pk}", "orders:a"),
        ("{table}:{pk}:{sk}", "users:{a}:b"),
        ("{table}:{pk}:{sk}", "users:%zz:b"),
        ("{pk}.x", "aXx"),
        ("{pk}:{sk}", "dynamirror:a"),
        ("{pk}", "dynamirror:fence:a"),
    ],
)
def test_a_template_does_not_match_what_it_cannot_render(text: str, key: str) -> None:
    template = KeyTemplate.parse(text, table="users")
    assert not identifies(template, key)


def test_our_own_keys_match_no_template_even_for_a_table_of_our_name() -> None:
    template = KeyTemplate.parse("{table}:{pk}", table="dynamirror")
    assert not identifies(template, "dynamirror:marker")
    assert identifies(template, render(template, {"pk": {"S": "marker"}}))


@PROMISE
@given(primary_keys)
def test_a_fence_is_in_the_hash_slot_of_its_entry(items: list[dict[str, Any]]) -> None:
    keys = [render(template, each) for template in EVERY for each in items]
    assert all(key_slot(fence_key(key).encode()) == key_slot(key.encode()) for key in keys)


@PROMISE
@given(primary_keys)
def test_no_fence_is_another_keys_fence_or_a_key(items: list[dict[str, Any]]) -> None:
    keys = {render(template, each) for template in EVERY for each in items}
    fences = {fence_key(key) for key in keys}
    assert len(fences) == len(keys)
    assert not fences & keys


@pytest.mark.parametrize(
    ("key", "fence"),
    [
        ("users:1", "dynamirror:fence:{users:1}"),
        ("users:{1}:a", "dynamirror:fence:users:{1}:a"),
        ("{1}:a", "dynamirror:fence:{1}:a"),
    ],
)
def test_a_fence_reads_as_documented(key: str, fence: str) -> None:
    assert fence_key(key) == fence


@PROMISE
@given(primary_keys)
def test_no_key_is_in_our_own_name_space(items: list[dict[str, Any]]) -> None:
    for template in EVERY:
        assert not any(render(template, each).startswith(RESERVED) for each in items)


def test_a_table_called_dynamirror_has_keys() -> None:
    template = KeyTemplate.parse("{table}:{id}", table="dynamirror")
    assert render(template, {"id": {"S": "1"}}) == "%64ynamirror:1"
    assert template.prefix == "%64ynamirror:"


@pytest.mark.parametrize("text", ["{pk}:{sk}", "d{pk}:{sk}", "dynamirror{pk}:{sk}"])
def test_a_value_cannot_reach_into_our_own_name_space(text: str) -> None:
    template = KeyTemplate.parse(text, table="users")
    rest = RESERVED.removeprefix(text.partition("{")[0]).removesuffix(":")
    assert render(template, item(rest, "fence")).startswith(("%64ynamirror:", "dynamirror%:"))


@pytest.mark.parametrize(
    ("text", "value", "key"),
    [
        ("{table}:{pk}", {"S": "a"}, "users:a"),
        ("{table}:{pk}", {"S": "a:b"}, "users:a:b"),
        ("{table}:{pk}", {"S": "a{b}%"}, "users:a%7Bb%7D%25"),
        ("{table}:{pk}", {"S": ""}, "users:%"),
        ("{table}:{pk}", {"S": "zoë"}, "users:zoë"),
        ("{table}:{pk}", {"N": "1.50"}, "users:1.5"),
        ("{table}:{pk}", {"N": "-0"}, "users:0"),
        ("{table}:{pk}", {"B": b"\xfb\xff"}, "users:-_8"),
        ("{table}:{pk}", {"B": "+/8="}, "users:-_8"),
        ("{pk}:{pk}", {"S": "a:b"}, "a%3Ab:a%3Ab"),
        ("{pk}\N{MIDDLE DOT}{pk}", {"S": "\N{MIDDLE DOT}"}, "%C2%B7\N{MIDDLE DOT}%C2%B7"),
        ("{{{pk}}}:x", {"S": "}"}, "{%7D}:x"),
    ],
)
def test_a_key_reads_as_documented(text: str, value: dict[str, Any], key: str) -> None:
    assert render(KeyTemplate.parse(text, table="users"), {"pk": value}) == key


def test_spellings_of_one_number_are_one_key() -> None:
    template = KeyTemplate.parse("{pk}", table="users")
    assert {render(template, {"pk": {"N": digits}}) for digits in ("1", "1.0", "+1", "1E0")} == {
        "1"
    }


def test_an_item_that_lacks_an_attribute_has_no_key() -> None:
    assert KeyTemplate.parse("{pk}:{sk}", table="users").renderer()({"pk": {"S": "a"}}) is None


@pytest.mark.parametrize(
    "value",
    [
        {"BOOL": True},
        {"M": {"s3cret": {"S": "s3cret"}}},
        {"SS": ["s3cret"]},
        {"NULL": True},
        {"S": "s3cret\ud800"},
        {"S": 5},
        {"N": "s3cret"},
        {"B": "s3cret!"},
        {"X": "s3cret"},
        "s3cret",
        {},
    ],
    ids=ascii,
)
def test_what_cannot_stand_in_a_key_is_refused_without_telling_it(value: Any) -> None:
    with pytest.raises(RecordError) as refused:
        KeyTemplate.parse("{pk}", table="users").renderer()({"pk": value})
    assert "s3cret" not in str(refused.value)
    assert is_one_sentence(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "users",
        "{table}",
        "{{id}}",
        "{id",
        "id}",
        "{}",
        "{id}:{",
        "}{id}",
        "{a}{b}",
        "{a}x{b}",
        "{a}5{b}",
        "{a}é{b}",
        "{a}%{b}",
        "{a}{table}{b}",
        "{{{a}}}",
        "{{{a}:{b}}}",
        "{{{a}",
        "{a}}}",
        "}}{a}{{",
        "{{}}{a}",
        "{{{a}}}:{{{b}}}",
        "{{{{{a}}}}}x",
        "dynamirror:{id}",
        "dynamirror:fence:{id}",
    ],
)
def test_a_malformed_template_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        KeyTemplate.parse(text, table="users")
    assert repr(text) in str(refused.value)
    assert is_one_sentence(refused.value)


@PROMISE
@given(st.lists(st.sampled_from(["{", "}", "{a}", "{b}", "{table}", "%", ":", "x"])).map("".join))
def test_a_template_is_either_refused_or_keeps_the_promise(text: str) -> None:
    """No accepted template lets two items meet or moves a fence to another slot."""
    try:
        template = KeyTemplate.parse(text, table="users")
    except ConfigError:
        return
    names = dict.fromkeys(template.names)
    alphabet = ["", "x", ":", "%", "{", "}", "}{", "x:x"]
    tuples = [dict(zip(names, each, strict=True)) for each in product(alphabet, repeat=len(names))]
    keys = {render(template, {name: {"S": text} for name, text in each.items()}) for each in tuples}
    assert len(keys) == len(tuples)
    assert all(key_slot(fence_key(key).encode()) == key_slot(key.encode()) for key in keys)
    assert len({fence_key(key) for key in keys} | keys) == 2 * len(keys)


@pytest.mark.parametrize(
    ("key", "types", "longest"),
    [
        ("t:{pk}", "S", 2 + 3 * 2048),
        ("t:{pk}:{sk}", "SS", 3 + 3 * (2048 + 1024)),
        ("t:{pk}:{sk}", "NB", 3 + 46 + 1366),
        ("t:{pk}-{sk}", "NB", 3 + 3 * (46 + 1366)),
        ("ü:{pk}", "B", 3 + 2731),
        ("t:{pk}:{city}", "S", None),
    ],
)
def test_the_longest_key_is_that_of_attributes_all_of_which_are_escaped(
    key: str, types: str, longest: int | None
) -> None:
    template = KeyTemplate.parse(key, table="t")
    keys = ("pk", "sk")[: len(types)]
    assert template.longest_key(keys, dict(zip(keys, types, strict=True))) == longest
    if longest and set(types) == {"S"}:
        worst = {"pk": {"S": "%" * 2048}, "sk": {"S": ":" * 1024}}
        assert len(template.renderer(keys)(worst) or "") == longest
