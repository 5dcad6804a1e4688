"""What of an item an entry has, and under which names."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import SCHEMA, Time, item, record
from tests.support.strategies import PROMISE, items, retold_item, texts

from dynamirror.cache.client import Cache
from dynamirror.errors import ConfigError
from dynamirror.records.attribute_value import plain_map, raw, to_json, typed
from dynamirror.replication.replicator import Replicator
from dynamirror.views.encoding import HASH, JSON, attribute, pack_fields
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.projection import Projection
from dynamirror.views.view import Schema, View, Views, ViewSpec

ENCODERS = {
    "json": lambda made: to_json(plain_map(made)),
    "dynamodb-json": lambda made: to_json({name: typed(one) for name, one in made.items()}),
    "hash": lambda made: pack_fields({name.encode(): raw(one) for name, one in made.items()}),
}
SHAPE = """
[[view]]
exclude = ["secret"]
rename = { name = "full_name", age = "name" }
constants = { kind = "user", version = 2, hot = true }
"""
ADA = item("7", name="Ada", age={"N": "36"}, secret="x", kind="admin")
SHOWN = {
    "id": {"S": "7"},
    "full_name": {"S": "Ada"},
    "name": {"N": "36"},
    "kind": {"S": "user"},
    "version": {"N": "2"},
    "hot": {"BOOL": True},
}


def bound(text: str) -> View:
    (spec,) = parse_views(text)
    return spec.bind(SCHEMA)


@pytest.mark.parametrize("encoding", ENCODERS)
def test_every_encoding_writes_the_projection_under_its_new_names(encoding: str) -> None:
    view = bound(f'{SHAPE}\nencoding = "{encoding}"')
    assert view.encode(ADA) == ENCODERS[encoding](SHOWN)


def test_one_attribute_is_named_as_it_is_called_in_the_entry() -> None:
    view = bound(f'{SHAPE}\nencoding = "attribute"\nattribute = "full_name"')
    assert view.encode(ADA) == b"Ada"
    assert view.encode(item("7")) is None
    assert view.attributes is not None
    assert view.attributes >= {"name", "id"}


@PROMISE
@given(
    image=items,
    include=st.none() | st.frozensets(texts, max_size=3),
    exclude=st.frozensets(texts, max_size=2),
    rename=st.dictionaries(texts, texts, max_size=3).filter(
        lambda names: len({*names.values()}) == len(names)
    ),
    random=st.randoms(use_true_random=False),
)
def test_equal_items_are_equal_bytes_whatever_has_new_names(
    image: Any,
    include: frozenset[str] | None,
    exclude: frozenset[str],
    rename: dict[str, str],
    random: Random,
) -> None:
    spec = ViewSpec(projection=Projection(include, exclude, rename, {"k": {"S": "v"}}))
    view = spec.bind(SCHEMA)
    assert view.encode(image) == view.encode(retold_item(image, random))


@PROMISE
@given(image=items, asked=st.frozensets(texts, min_size=1, max_size=3), data=st.data())
def test_a_scan_of_the_attributes_a_view_names_shows_what_the_stream_does(
    image: Any, asked: frozenset[str], data: st.DataObject
) -> None:
    names = st.sampled_from(sorted({*image, "x"}))
    rename = data.draw(
        st.dictionaries(names, names, max_size=2).filter(
            lambda one: len({*one.values()}) == len(one)
        )
    )
    encoding = data.draw(st.sampled_from([JSON, HASH]) | names.map(attribute))
    projection = Projection(include=asked | {"id"}, rename=rename)
    view = ViewSpec(encoding=encoding, projection=projection, ttl="until.at").bind(SCHEMA)
    assert view.attributes is not None
    scanned = {name: value for name, value in image.items() if name in view.attributes}
    assert view.encode(scanned) == view.encode(image)


def names_in(cache: Cache, encoding: str) -> set[str]:
    """The attributes that a reader sees."""
    import json  # noqa: PLC0415

    if encoding == "hash":
        return {name.decode() for name in cache.call("users:7", b"HGETALL", b"users:7")[::2]}
    return set(json.loads(cache.call("users:7", b"GET", b"users:7")))


@pytest.mark.parametrize("encoding", ENCODERS)
def test_a_removed_attribute_disappears_from_the_entry(store: Cache, encoding: str) -> None:
    store.broadcast(b"FLUSHALL")
    specs = parse_views(f'[[view]]\nencoding = "{encoding}"\nrename = {{ name = "called" }}')
    views = Views(specs, lambda table, keys: Schema(table, tuple(keys)))
    replicator = Replicator(store, views, fence_ttl=93_600)
    before, after = item("7", name="Ada", age={"N": "36"}), item("7", age={"N": "36"})
    replicator({"Records": [record(1, before)]}, Time())
    assert names_in(store, encoding) == {"id", "called", "age"}
    replicator({"Records": [record(2, after, before)]}, Time())
    assert names_in(store, encoding) == {"id", "age"}


def test_a_hash_of_which_nothing_is_left_has_no_entry(store: Cache) -> None:
    store.broadcast(b"FLUSHALL")
    specs = parse_views('[[view]]\nencoding = "hash"\ninclude = ["name"]')
    views = Views(specs, lambda table, keys: Schema(table, tuple(keys)))
    replicator = Replicator(store, views, fence_ttl=93_600)
    replicator({"Records": [record(1, item("7", name="Ada")), record(2, item("8"))]}, Time())
    assert store.call("users:7", b"HGETALL", b"users:7") == [b"name", b"Ada"]
    replicator({"Records": [record(3, item("7"), item("7", name="Ada"))]}, Time())
    assert store.call("users:7", b"EXISTS", b"users:7") == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('include = ["a"]\nexclude = ["b"]', "`include` and `exclude` exclude each other"),
        ("include = []", "include"),
        ('rename = { a = "c", b = "c" }', "give two attributes one name"),
        ('rename = { a = "c" }\nconstants = { c = 1 }', "give two attributes one name"),
        ("constants = { c = [1] }", "constants.c: must be text, a number, true or false"),
        ("constants = { c = nan }", "constants.c: a DynamoDB N must be a finite number"),
        ("ttl = true", "ttl"),
        ("collections = true", "did you mean 'collection'"),
    ],
)
def test_a_wrong_projection_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_views(f"[[view]]\n{text}")
