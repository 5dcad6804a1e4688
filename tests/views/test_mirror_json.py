"""The views are the same whether they are read from TOML or from the JSON made of it."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.strategies import PROMISE, is_one_sentence, texts

from dynamirror.errors import ConfigError
from dynamirror.views.mirror_toml import parse_tables, parse_views, to_json
from dynamirror.views.view import Schema, ViewSpec, fingerprint

SCHEMA = Schema("shop", ("pk", "sk"))
KEYS = ("v:{pk}:{sk}", "zoë:{{{pk}}}:{sk}", "w:{pk}:{sk}:{a.b}", "x:{sk}", "y:{{{pk}}}")


class Number(str):
    """A number as TOML spells it."""

    __slots__ = ()


def spelt(sign: str, digits: int, places: int | None, exponent: int | None) -> Number:
    """Return a number with its digits after the point and its exponent, as they are given."""
    fraction = "" if places is None else f".{'0' * places}5"
    return Number(f"{sign}{digits}{fraction}" + ("" if exponent is None else f"e{exponent:+03d}"))


def toml(value: object) -> str:
    """Return a value as TOML writes it inline."""
    match value:
        case Number():
            return value
        case dict():
            inner = (f"{toml(str(name))} = {toml(part)}" for name, part in value.items())
            return f"{{ {', '.join(inner)} }}"
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case _:
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def document(views: list[dict[str, Any]], tables: list[dict[str, Any]]) -> str:
    """Return a whole `mirror.toml`."""
    parts = [("view", view) for view in views] + [("table", table) for table in tables]
    return "\n".join(
        f"[[{kind}]]\n" + "".join(f"{toml(name)} = {toml(part)}\n" for name, part in fields.items())
        for kind, fields in parts
    )


names = texts.filter(bool)
signs = st.sampled_from(["", "+", "-"])
numbers = st.one_of(
    st.integers(-(10**38) + 1, 10**38 - 1).map(Number),
    st.builds(
        spelt,
        signs,
        st.integers(0, 10**37),
        st.none() | st.integers(0, 5),
        st.none() | st.integers(-80, 80),
    ),
    st.sampled_from(["1e0", "-0.0", "-0", "0e5", "1.50", "15e0", "2e+00", "1_000.5"]).map(Number),
)
scalars = texts | numbers | st.booleans()
operators = st.fixed_dictionaries(
    {},
    optional={
        "equals": scalars,
        "in": st.lists(scalars, min_size=1, max_size=3),
        "prefix": names,
        "exists": st.booleans(),
        **dict.fromkeys(("<", "<=", ">", ">="), numbers),
    },
).filter(bool)
attributes = names.filter(lambda name: name not in ("any", "all"))
conditions = st.recursive(
    st.dictionaries(attributes, scalars | operators, min_size=1, max_size=3),
    lambda inner: st.builds(
        lambda plain, combined: plain | combined,
        st.dictionaries(attributes, scalars, max_size=1),
        st.dictionaries(
            st.sampled_from(["any", "all"]),
            st.lists(inner, min_size=1, max_size=2),
            min_size=1,
        ),
    ),
    max_leaves=4,
)


@st.composite
def views(draw: st.DrawFn, index: int) -> dict[str, Any]:
    view: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "name": names.map(lambda name: f"{index} {name}"),
                "table": st.sampled_from(["shop", "zoë"]),
                "key": st.sampled_from(KEYS),
                "exclusive": st.booleans(),
                "when": conditions,
                "ttl": names,
                "collection": st.booleans(),
                "index": st.fixed_dictionaries({"partition": names}, optional={"sort": names}),
                "score": names,
                "rename": st.dictionaries(names, names.map(lambda name: f"new {name}"), max_size=2),
                "constants": st.dictionaries(names, scalars, max_size=3),
            },
        )
    )
    if "index" in view:
        view |= {"collection": False, "name": draw(st.just(f"view-{index}") | st.just(f"{index}"))}
        if "score" in view:
            view["index"].pop("sort", None)
    elif "score" in view:
        view["collection"] = True
    new = list(view.get("rename", {}).values())
    if len({*new}) < len(new) or {*new} & {*view.get("constants", {})}:
        del view["rename"]
    view |= draw(
        st.sampled_from(["json", "dynamodb-json", "hash"]).map(lambda name: {"encoding": name})
        | names.map(lambda name: {"encoding": "attribute", "attribute": name})
        | st.just({})
    )
    chosen = st.lists(names, min_size=1, max_size=3)
    return view | draw(
        chosen.map(lambda some: {"include": some})
        | chosen.map(lambda some: {"exclude": some})
        | st.just({})
    )


tables: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.fixed_dictionaries(
        {
            "name": names,
            "keys": st.dictionaries(names, st.sampled_from("SNB"), min_size=1, max_size=2),
        }
    ),
    max_size=2,
    unique_by=lambda table: str(table["name"]),
)
documents = st.builds(
    document,
    st.integers(1, 3).flatmap(lambda count: st.tuples(*map(views, range(count))).map(list)),
    tables,
)


def shown(spec: ViewSpec) -> str:
    """Return all of a view as text, which tells 1 from 1.0 and keeps the order of conditions."""
    encoding = (spec.encoding.name, spec.encoding.layout, sorted(spec.encoding.attributes or ()))
    projection = spec.projection
    sets = (sorted(projection.include or ()), sorted(projection.exclude))
    return repr(
        (
            *(spec.name, spec.table, spec.key, encoding, spec.exclusive, spec.when),
            *(projection.include is None, sets, projection.rename, projection.constants),
            *(spec.ttl, spec.collection, spec.index, spec.score),
        )
    )


def bound(spec: ViewSpec) -> str:
    """Return the fingerprint of a view of the table, or why it does not fit."""
    try:
        return fingerprint([spec.bind(SCHEMA)])
    except ConfigError as error:
        return str(error)


@settings(PROMISE, max_examples=100)
@given(documents)
def test_views_and_fingerprints_from_json_are_those_from_toml(text: str) -> None:
    written = to_json(text).decode()
    specs, again = parse_views(text), parse_views(written, "mirror.json")
    assert list(map(shown, again)) == list(map(shown, specs))
    assert list(map(bound, again)) == list(map(bound, specs))
    assert parse_tables(written, "mirror.json") == parse_tables(text)
    assert to_json(written, "mirror.json").decode() == written


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("12345678901234567890123456789012345678", int),
        ("-9223372036854775809", int),
        ("18446744073709551616", int),
        ("1.2345678901234567890123456789012345678", Decimal),
        ("1.50", Decimal),
        ("1e0", Decimal),
        ("15e0", Decimal),
        ("-0.0", Decimal),
        ("9.9e125", Decimal),
        ("1e-130", Decimal),
    ],
)
def test_json_keeps_each_digit_and_whether_a_number_is_whole(number: str, kind: type) -> None:
    text = f"[[view]]\nwhen = {{ a = {number} }}\nconstants = {{ b = {number} }}"
    (spec,) = parse_views(text)
    (again,) = parse_views(to_json(text).decode(), "mirror.json")
    assert again.when is not None
    assert spec.when is not None
    assert repr(again.when["a"]) == repr(spec.when["a"]) == repr(kind(number))
    assert again.projection == spec.projection


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["not valid JSON"]),
        ("[[view]]", ["not valid JSON"]),
        ('{"view":[{}]', ["not valid JSON"]),
        ('{"view":[{"constants":{"a":1e99999999999999999999}}]}', ["a number is too large"]),
        ("{}", ["view: is missing"]),
        ('{"view":[{"nmae":"a"}]}', ["view[0].nmae", "did you mean 'name'"]),
        ('{"view":[{"constants":{"a":null}}]}', ["constants.a: must be text"]),
        ('{"view":[{"name":"a"},{"name":"a"}]}', ["'a' is used twice"]),
    ],
)
def test_what_is_wrong_in_json_is_explained_as_in_toml(text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_views(text, "mirror.json")
    message = str(refused.value)
    assert message.startswith("mirror.json: ")
    assert all(part in message for part in parts)
    assert is_one_sentence(refused.value)


@pytest.mark.parametrize("text", ["[[view]]\nkye = 'a'", "[[view", "", "[[view]]\nname = nan"])
def test_a_malformed_file_does_not_become_json(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^mirror\.toml: "):
        to_json(text)


def test_json_is_what_any_reader_of_json_reads() -> None:
    text = '[[view]]\nname = "zoë"\nwhen = { a = 1.50, b = { in = [1e0, 7, true] } }\n'
    when = {"a": 1.5, "b": {"in": [1.0, 7, True]}}
    assert json.loads(to_json(text)) == {"view": [{"name": "zoë", "when": when}]}
    assert msgspec.json.decode(to_json(text)) == json.loads(to_json(text))
