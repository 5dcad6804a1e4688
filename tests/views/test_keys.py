"""Keys of views: no two items share one, and a view that would let them is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.strategies import PROMISE, is_one_sentence, texts

from dynamirror.errors import ConfigError
from dynamirror.records.stream_record import Change
from dynamirror.records.version import ChangeVersion, SnapshotVersion
from dynamirror.views.condition import pinned
from dynamirror.views.entry import Delete, entries_of_change, entry_of_row
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.view import Schema, View, bind_views

SCHEMA = Schema("t", ("PK", "SK"), ("S", "S"))


def bound(text: str, schema: Schema = SCHEMA) -> View:
    (spec,) = parse_views(f"[[view]]\n{text}")
    return spec.bind(schema)


PINNED = bound('key = "user:{PK}"\nwhen = { SK = "profile", type = "user" }')
NESTED = bound('key = "city:{address.city}:{PK}:{SK}"')
ORDERS = bound('key = "order:{{{PK}}}:{SK}"\ncollection = true')


def image(partition: str, sort: str, city: str = "Rome") -> dict[str, Any]:
    return {
        "PK": {"S": partition},
        "SK": {"S": sort},
        "type": {"S": "user"},
        "address": {"M": {"city": {"S": city}}},
    }


images = st.builds(image, texts, texts | st.just("profile"), texts)


@PROMISE
@given(one=images, two=images)
@pytest.mark.parametrize("view", [PINNED, NESTED, ORDERS], ids=["pinned", "nested", "collection"])
def test_two_items_never_share_a_key(view: View, one: Any, two: Any) -> None:
    keys = [view.render(one), view.render(two)]
    same = view.schema.key_of(one) == view.schema.key_of(two)
    if None not in keys and not same:
        assert keys[0] != keys[1]
    for key, its in zip(keys, (one, two), strict=True):
        if key is not None:
            assert view.identifier()(key) == view.schema.key_of(its)


@PROMISE
@given(one=images, two=images)
def test_no_entry_is_at_the_key_of_an_index_and_no_two_partitions_share_one(
    one: Any, two: Any
) -> None:
    collection = ORDERS.collection
    assert collection is not None
    index = collection.index_key(one)
    assert index != ORDERS.render(two)
    assert (index == collection.index_key(two)) is (one["PK"] == two["PK"])
    assert collection.partition_of(index) == one["PK"]
    assert ORDERS.identifier()(index) is None


def test_an_index_of_a_table_with_our_own_name_steps_aside_like_its_entries() -> None:
    view = bound("collection = true", Schema("dynamirror", ("PK", "SK"), ("S", "S")))
    collection = view.collection
    assert collection is not None
    index = collection.index_key(image("u1", "x"))
    assert index.startswith(view.template.prefix)
    assert index == "%64ynamirror:{u1}:%%"
    assert collection.partition_of(index) == {"S": "u1"}


def test_what_is_told_of_an_item_never_touches_the_entry_of_its_neighbour() -> None:
    """Their keys differ in the attribute that is pinned, which the key does not name."""
    neighbour = {"PK": {"S": "u1"}, "SK": {"S": "order"}}
    version = ChangeVersion(1, 1, 1)
    for new in (None, {**neighbour, "type": {"S": "user"}}):
        change = Change("t", neighbour, version, new, None, carries_old=False)
        assert list(entries_of_change(PINNED, change)) == []
    assert entry_of_row(PINNED, neighbour, None, SnapshotVersion(1)) is None


def test_without_old_images_what_a_view_is_not_for_is_deleted() -> None:
    key = {"PK": {"S": "u1"}, "SK": {"S": "profile"}}
    change = Change("t", key, ChangeVersion(1, 1, 1), {**key}, None, carries_old=False)
    (entry,) = entries_of_change(PINNED, change)
    assert (type(entry), entry.key) == (Delete, "user:u1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('key = "u:{PK}"', "leaves out SK of the primary key of table t"),
        ('key = "u:{PK}"\nwhen = { SK = { prefix = "p" } }', "leaves out SK"),
        ('key = "u:{PK}"\nwhen = { SK = { in = ["p"] } }', "leaves out SK"),
        ('key = "u:{PK}"\nwhen = { any = [{ SK = "p" }, { SK = "q" }] }', "leaves out SK"),
        ('key = "u:{PK}"\nwhen = { "SK.x" = "p" }', "leaves out SK"),
        ('key = "u:{PK.x}:{SK}"', "leaves out PK"),
        ('key = "o:{PK}:{SK}"\ncollection = true', "partition key alone in a hash tag"),
        ('key = "{{o:{PK}}}:{SK}"\ncollection = true', "partition key alone in a hash tag"),
        ('key = "o:{SK}:{{{PK}}}"\ncollection = true', "names the partition key and the sort key"),
        ('key = "o:{{{PK}}}:%{SK}"\ncollection = true', "choose another separator"),
    ],
)
def test_a_view_whose_keys_could_belong_to_two_items_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        bound(text)
    assert is_one_sentence(caught.value)


def test_a_table_without_a_sort_key_has_no_collections() -> None:
    with pytest.raises(ConfigError, match="names the partition key and the sort key"):
        bound("collection = true", Schema("t", ("PK",), ("S",)))


def test_a_key_attribute_is_pinned_by_what_must_hold_only() -> None:
    assert pinned(PINNED.when) == {"SK": "profile", "type": "user"}
    assert PINNED.pinned == {"SK": "profile"}


def test_two_views_that_could_write_one_key_are_refused() -> None:
    text = '[[view]]\nkey = "u:{PK}:{SK}"\nwhen = { a = 1 }\n[[view]]\nkey = "u:{PK}:{SK}:x"'
    with pytest.raises(ConfigError, match="could both write one key, because"):
        bind_views(parse_views(text), SCHEMA)
