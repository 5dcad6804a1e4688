"""From a key back to its item: the primary key of the one that it belongs to, or nothing."""

from base64 import b64decode, b64encode
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.key_templates import EVERY, hostile, item, primary_keys, render
from tests.support.strategies import PROMISE, binaries, numbers, texts

from dynamirror.errors import RecordError
from dynamirror.records.key_codec import key_text, key_value
from dynamirror.views.encoding import HASH, JSON, attribute
from dynamirror.views.key_template import KeyTemplate
from dynamirror.views.view import Schema, View, ViewSpec, fingerprint

# Of those that name an attribute twice, see test_an_attribute_that_stands_twice_….
ONCE = [template for template in EVERY if len(template.names) == len(set(template.names))]
_ASIDE = "%64ynamirror:"


def same(one: Any, other: Any) -> bool:
    """Whether two values are one to DynamoDB."""
    ((tag, content),), ((other_tag, other_content),) = one.items(), other.items()
    if tag != other_tag:
        return False
    if tag == "N":
        return Decimal(content) == Decimal(other_content)
    if tag == "B":
        return raw(content) == raw(other_content)
    return bool(content == other_content)


def raw(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else b64decode(content, validate=True)


def types(one: dict[str, Any]) -> dict[str, str]:
    return {name: next(iter(value)) for name, value in one.items()}


def gives_back(template: KeyTemplate, one: dict[str, Any]) -> bool:
    read = template.reader(types(one))(render(template, one))
    return read is not None and all(same(read[name], value) for name, value in one.items())


@PROMISE
@given(primary_keys)
def test_a_key_tells_the_item_it_was_rendered_from(items: list[dict[str, Any]]) -> None:
    for template in EVERY:
        for each in items:
            # What steps aside from our own name space has a test of its own.
            if not render(template, each).startswith(_ASIDE):
                assert gives_back(template, each)


@pytest.mark.parametrize(
    ("text", "table"),
    [("{table}:{pk}:{sk}", "dynamirror"), ("%64ynamirror:{pk}:{sk}", "t"), ("d{pk}:{sk}", "t")],
)
@PROMISE
@given(st.sampled_from(["ynamirror", "dynamirror", "dynamirror:", "64ynamirror"]), hostile)
def test_a_key_that_stepped_aside_tells_its_item(text: str, table: str, pk: str, sk: str) -> None:
    assert gives_back(KeyTemplate.parse(text, table=table), item(pk, sk))


@pytest.mark.parametrize(
    ("text", "values"),
    [("{pk}", {"pk": {"S": "dynamirror:x"}}), ("{pk}:{sk}", item("dynamirror", "x"))],
)
def test_a_key_of_values_that_stepped_aside_tells_its_item(
    text: str, values: dict[str, Any]
) -> None:
    assert gives_back(KeyTemplate.parse(text, table="users"), values)


@PROMISE
@given(st.sampled_from(ONCE), hostile, st.sampled_from(["SS", "SN", "NS", "BB", "NN", "SB"]))
def test_what_is_read_from_a_key_renders_to_that_key(
    template: KeyTemplate, text: str, tags: str
) -> None:
    """So that no foreign key, however alike, is ever taken for an entry."""
    head = "".join(template.literals[:1])
    for key in (text, head + text, f"{head}{text}:{text}", f"{head}{text}#{text}"):
        read = template.reader({"pk": tags[0], "sk": tags[1]})(key)
        if read is not None:
            assert render(template, dict(read)) == key


@PROMISE
@given(primary_keys, st.data())
def test_a_key_with_one_character_changed_is_another_items_or_nobodys(
    items: list[dict[str, Any]], data: st.DataObject
) -> None:
    template = data.draw(st.sampled_from(ONCE))
    key = render(template, items[0])
    place = data.draw(st.integers(0, len(key)))
    other = key[:place] + data.draw(st.sampled_from(["", "%", "%41", "{", ":", "0"])) + key[place:]
    read = template.reader(types(items[0]))(other)
    if read is not None:
        assert render(template, dict(read)) == other
        if other != key:
            assert not all(same(read[name], value) for name, value in items[0].items())


@pytest.mark.parametrize(
    ("text", "tag", "key"),
    [
        ("users:{id}", "S", "users:"),
        ("users:{id}", "S", "user:1"),
        ("users:{id}", "S", "users:%41"),  # nobody escapes an A
        ("users:{id}", "S", "users:%7b"),
        ("users:{id}", "S", "users:%FF"),
        ("users:{id}", "S", "users:%C3%A9"),
        ("users:{id}", "S", "users:1%"),
        ("users:{id}", "S", "users:{1}"),
        ("users:{id}", "N", "users:x"),
        ("users:{id}", "N", "users:1.0"),
        ("users:{id}", "N", "users:+1"),
        ("users:{id}", "N", "users:01"),
        ("users:{id}", "N", "users:1e5"),
        ("users:{id}", "N", "users:-0"),
        ("users:{id}", "N", "users:NaN"),
        ("users:{id}", "N", "users:Infinity"),
        ("users:{id}", "N", "users:%"),
        ("users:{id}", "N", "users:1_0"),
        ("users:{id}", "N", "users:\N{ARABIC-INDIC DIGIT ONE}"),
        ("users:{id}", "B", "users:A"),
        ("users:{id}", "B", "users:AB"),  # bits that no byte has
        ("users:{id}", "B", "users:AA=="),
        ("users:{id}", "B", "users:+/8"),
        ("users:{id}", "B", "users:A A"),
        ("users:{id}", "B", "users:é"),
        ("{id}", "S", "dynamirror:x"),
        ("{id}", "S", "dynamirror:fence:{x}"),
    ],
)
def test_a_key_that_no_item_renders_to_belongs_to_none(text: str, tag: str, key: str) -> None:
    assert KeyTemplate.parse(text, table="users").reader({"id": tag})(key) is None


def test_an_attribute_that_stands_twice_is_read_once() -> None:
    template = KeyTemplate.parse("{pk}:{sk}:{pk}", table="users")
    assert template.reader({"pk": "S", "sk": "S"})("a:b:a") == item("a", "b")


def test_an_attribute_that_stands_twice_must_be_the_same_twice() -> None:
    template = KeyTemplate.parse("{pk}:{sk}:{pk}", table="users")
    assert template.reader({"pk": "S", "sk": "S"})("a:b:c") is None


@PROMISE
@given(
    st.fixed_dictionaries({"S": texts})
    | st.fixed_dictionaries({"N": numbers})
    | st.fixed_dictionaries({"B": binaries})
    | st.fixed_dictionaries({"B": binaries.map(lambda one: b64encode(one).decode())})
)
def test_a_value_comes_back_from_its_text(value: dict[str, Any]) -> None:
    ((tag, _content),) = value.items()
    assert same(key_value(key_text(value), tag), value)


@PROMISE
@given(hostile | st.text("+-/_=AB01.eE", max_size=6), st.sampled_from("SNB"))
def test_of_a_type_there_is_one_text_for_one_value_or_none(text: str, tag: str) -> None:
    try:
        value = key_value(text, tag)
    except RecordError as error:
        assert not text or text not in str(error) or len(text) < 3  # noqa: PT017
        return
    assert key_text(value) == text


def test_a_view_tells_the_item_of_its_keys() -> None:
    schema = Schema("orders", ("customer", "date"), ("S", "N"))
    view = ViewSpec(key="o:{state}:{date}:{customer}").bind(schema)
    assert view.identifier()("o:new:7:alice") == {"customer": {"S": "alice"}, "date": {"N": "7"}}
    assert list(view.identifier()("o:new:7:alice") or ()) == ["customer", "date"]
    assert view.identifier()("o:new:x:alice") is None
    assert view.identifier()("o:7:alice") is None


def test_without_the_types_of_the_key_nobody_can_tell() -> None:
    view = ViewSpec().bind(Schema("orders", ("customer",)))
    with pytest.raises(ValueError, match="shorter"):
        view.identifier()


def bound(table: str = "users", **options: Any) -> View:
    return ViewSpec(**options).bind(Schema(table, ("id",), ("S",)))


def test_views_that_write_the_same_have_one_fingerprint() -> None:
    one, other = bound(key="a:{id}"), bound(key="b:{id}", encoding=HASH)
    assert fingerprint([one, other]) == fingerprint([other, one])
    assert fingerprint([bound()]) == fingerprint([bound(name="x", key="users:{id}")])
    assert fingerprint([bound(encoding=JSON)]) == fingerprint([bound()])


DIFFERENT = {
    "one": [bound()],
    "none": [],
    "two": [bound(), bound(key="b:{id}")],
    "key": [bound(key="b:{id}")],
    "order": [bound(key="a:{id}:{x}")],
    "names": [bound(key="a:{x}:{id}")],
    "table": [bound("orders")],
    "layout": [bound(encoding=HASH)],
    "attribute": [bound(encoding=attribute("x"))],
    "another": [bound(encoding=attribute("y"))],
}


def test_views_that_write_something_else_have_another_fingerprint() -> None:
    assert len({fingerprint(views) for views in DIFFERENT.values()}) == len(DIFFERENT)
