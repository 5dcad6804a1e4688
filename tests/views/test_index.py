"""Index views: each entry has one member, in DynamoDB's order of the sort attribute."""

from base64 import b64decode, b64encode
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.key_templates import hostile
from tests.support.strategies import PROMISE, binaries, is_one_sentence, numbers

from dynamirror.errors import ConfigError
from dynamirror.records.stream_record import Change
from dynamirror.records.version import ChangeVersion
from dynamirror.views.entry import entries_of_change
from dynamirror.views.explain import in_words, sample
from dynamirror.views.index import Index
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.ranges import Range
from dynamirror.views.view import Schema, View, Views

SCHEMA = Schema("orders", ("PK", "SK"), ("S", "N"))
KEYED = 'name = "by-customer"\nindex = { partition = "customer", sort = "created" }'
INVERTED = 'name = "inverted"\nindex = { partition = "SK", sort = "PK" }'
LOCAL = 'name = "local"\nindex = { partition = "PK", sort = "created" }'
UNSORTED = 'name = "by-customer"\nindex = { partition = "customer" }'
BOARD = 'name = "abc"\nindex = { partition = "g" }\nscore = "n"'
OWN_KEY = KEYED + '\nkey = "c/{{{customer}}}/{SK}-{PK}:{created}"'
VIEWS = [KEYED, INVERTED, LOCAL, UNSORTED, OWN_KEY]


def bound(text: str, schema: Schema = SCHEMA) -> View:
    (spec,) = parse_views(f"[[view]]\n{text}")
    return spec.bind(schema)


def index_of(view: View) -> Index:
    assert view.index is not None
    return view.index


def b64(value: bytes) -> dict[str, str]:
    return {"B": b64encode(value).decode()}


def has_content(value: dict[str, str]) -> bool:
    return all(value.values())


# Of three types, with the texts of one type among those of the others.
keys: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.fixed_dictionaries({"S": hostile | st.sampled_from(["1", "Nw", "%n1", "\0", "\1", "a\0b"])}),
    st.fixed_dictionaries({"N": numbers | st.sampled_from(["1", "-1", "0", "1E+2"])}),
    (binaries | st.sampled_from([b"\0", b"\1", b"\0\1\1", b"7"])).map(b64),
)
images = st.fixed_dictionaries(
    {
        "PK": st.fixed_dictionaries({"S": hostile.filter(bool)}),
        "SK": st.fixed_dictionaries({"N": numbers}),
        "customer": keys.filter(has_content),
        "created": keys.filter(has_content),
    }
)


def value(key: dict[str, str]) -> tuple[str, Any]:
    """What DynamoDB orders by, within a type."""
    ((tag, content),) = key.items()
    return tag, Decimal(content) if tag == "N" else (
        content.encode() if tag == "S" else b64decode(content)
    )


def identity(view: View, item: Any) -> Any:
    names = dict.fromkeys((*view.template.names, *view.schema.keys))
    return [value(item[name]) for name in names]


@pytest.mark.parametrize("text", VIEWS)
@PROMISE
@given(one=images, two=images)
def test_each_entry_has_one_member_and_each_member_one_entry(text: str, one: Any, two: Any) -> None:
    view = bound(text)
    index = index_of(view)
    places = [(index.index_key(item), index.member(item)) for item in (one, two)]
    rendered = [view.render(item) for item in (one, two)]
    same = identity(view, one) == identity(view, two)
    assert (rendered[0] == rendered[1]) is same
    assert (places[0] == places[1]) is same
    assert rendered[0] != places[1][0]
    for item, (key, member), entry_key in zip((one, two), places, rendered, strict=True):
        partition = index.partition_of(key)
        assert partition is not None
        assert value(dict(partition)) == value(item[index.partition_name])
        found = index.entry_of(partition, member)
        assert found is not None
        assert found[0] == entry_key
        assert identity(view, found[1]) == identity(view, item)
        assert index.member(found[1]) == member
        assert entry_key is not None
        by_key = view.identifier()(entry_key)
        assert by_key is not None
        assert identity(view, by_key) == identity(view, item)
        assert view.identifier()(key) is None


@PROMISE
@given(one=images, two=images)
def test_members_stand_in_dynamodb_s_order_and_ties_in_that_of_the_primary_key(
    one: Any, two: Any
) -> None:
    index = index_of(bound(KEYED))
    first, second = index.member(one), index.member(two)
    (tag, low), (other, high) = value(one["created"]), value(two["created"])
    if tag != other:
        return
    if low != high:
        assert (first < second) is (low < high)
    else:
        keys_of = [(value(item["PK"]), value(item["SK"])) for item in (one, two)]
        assert (first < second) is (keys_of[0] < keys_of[1])


@PROMISE
@given(
    item=images,
    operands=st.tuples(keys, keys),
    operator=st.sampled_from(["=", "<", "<=", ">", ">="]),
)
def test_a_condition_selects_a_range_of_members(item: Any, operands: Any, operator: str) -> None:
    index = index_of(bound(KEYED))
    tag, own = value(item["created"])
    for operand in (*operands, item["created"]):
        wanted, other = value(operand)
        expected = (
            wanted == tag
            and {
                "=": own == other,
                "<": own < other if wanted == tag else False,
                "<=": own <= other if wanted == tag else False,
                ">": own > other if wanted == tag else False,
                ">=": own >= other if wanted == tag else False,
            }[operator]
        )
        assert index.range_of(operator, (operand,)).holds(index.member(item)) is expected
    assert index.range_of("", ()).holds(index.member(item))


@PROMISE
@given(item=images, low=keys, high=keys)
def test_between_and_begins_with_are_ranges(item: Any, low: Any, high: Any) -> None:
    index = index_of(bound(KEYED))
    member = index.member(item)
    (tag, own), (tag_low, lowest), (tag_high, highest) = map(value, (item["created"], low, high))
    if tag_low == tag_high:
        expected = tag == tag_low and lowest <= own <= highest
        assert index.range_of("BETWEEN", (low, high)).holds(member) is expected
    if tag_low != "N":
        expected = tag == tag_low and own.startswith(lowest)
        assert index.range_of("begins_with", (low,)).holds(member) is expected


@PROMISE
@given(items=st.lists(images, max_size=5), forward=st.booleans())
def test_a_page_goes_on_behind_its_last_member(items: list[Any], forward: bool) -> None:  # noqa: FBT001
    index = index_of(bound(KEYED))
    members = sorted({index.member(item) for item in items}, reverse=not forward)
    for place, member in enumerate(members):
        rest = Range().after(member, forward=forward)
        assert [each for each in members if rest.holds(each)] == members[place + 1 :]


@pytest.mark.parametrize(
    "attributes",
    [
        {"customer": {"S": "c"}},
        {"created": {"N": "1"}},
        {"customer": {"S": "c"}, "created": {"BOOL": True}},
        {"customer": {"SS": ["c"]}, "created": {"N": "1"}},
        {"customer": {"NULL": True}, "created": {"N": "1"}},
        {"customer": {"S": ""}, "created": {"N": "1"}},
        {"customer": {"S": "c"}, "created": {"B": ""}},
        {"customer": {"S": "é" * 1024 + "c"}, "created": {"N": "1"}},
        {"customer": {"S": "c"}, "created": {"S": "c" * 1025}},
        {"customer": {"S": "c"}, "created": b64(bytes(1025))},
        {"customer": {"S": "c"}, "created": {"B": bytes(1025)}},
    ],
)
def test_an_item_without_an_attribute_of_the_index_is_not_in_it(attributes: Any) -> None:
    view = bound(KEYED)
    assert view.render({"PK": {"S": "p"}, "SK": {"N": "1"}, **attributes}) is None


@pytest.mark.parametrize(
    "attributes",
    [
        {"customer": {"S": "é" * 1024}, "created": {"S": "c" * 1024}},
        {"customer": b64(bytes(2048)), "created": b64(bytes(1024))},
        {"customer": {"B": bytes(2048)}, "created": {"B": bytes(1)}},
    ],
)
def test_the_longest_keys_of_dynamodb_are_in_an_index(attributes: Any) -> None:
    assert bound(KEYED).render({"PK": {"S": "p"}, "SK": {"N": "1"}, **attributes}) is not None


def test_a_partition_key_too_long_to_sort_by_is_not_in_an_inverted_index() -> None:
    view = bound(INVERTED)
    for length, count in ((1024, 1), (1025, 0)):
        key: Any = {"PK": {"S": "p" * length}, "SK": {"N": "1"}}
        change = Change("orders", key, ChangeVersion(1, 1, 1), key, None)
        assert len(list(entries_of_change(view, change))) == count


def test_the_default_key_names_index_and_primary_key() -> None:
    item: Any = {
        "PK": {"S": "o1"}, "SK": {"N": "2"}, "customer": {"S": "ann"}, "created": {"N": "17"},
    }  # fmt: skip
    assert bound(KEYED).render(item) == "orders:by-customer:{ann}:%n17:o1:2"
    assert bound(INVERTED).render(item) == "orders:inverted:{2}:o1"
    assert bound(LOCAL).render(item) == "orders:local:{o1}:%n17:2"
    assert index_of(bound(KEYED)).index_key(item) == "orders:by-customer:{ann}:%%"


def test_an_index_view_keeps_its_keys_and_types() -> None:
    view = bound(KEYED + '\ninclude = ["total"]')
    item: Any = {
        "PK": {"S": "o1"}, "SK": {"N": "2"}, "customer": {"S": "ann"}, "created": {"N": "17"},
        "total": {"N": "9"}, "status": {"S": "paid"},
    }  # fmt: skip
    del item["status"]
    assert view.encode({**item, "status": {"S": "paid"}}) == bound(KEYED).encode(item)
    assert view.encoding.name == "dynamodb-json"
    assert view.attributes == frozenset({"PK", "SK", "customer", "created", "total"})


def test_views_beside_it_may_begin_with_the_table_s_name() -> None:
    other = UNSORTED.replace("by-customer", "other")
    specs = parse_views("[[view]]\n" + f"\n[[view]]\n{KEYED}\n[[view]]\n{other}")
    assert len(Views.for_schema(specs, SCHEMA).bind(SCHEMA)) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (KEYED + "\ncollection = true", "exclude each other"),
        ('index = { partition = "customer" }', "add `name`"),
        ('name = "by-customer"\nindex = { sort = "created" }', "needs a partition"),
        ('name = "by customer"\nindex = { partition = "customer" }', "3 to 255 letters"),
        ('name = "xx"\nindex = { partition = "customer" }', "3 to 255 letters"),
        ('name = "abc"\nindex = { partition = "a.b" }', "has a dot"),
        ('name = "abc"\nindex = { partition = "a", sort = "a" }', "must differ"),
        ('name = "abc"\nindex = { partition = "a", extra = "a" }', "extra"),
        (KEYED + '\nkey = "o:{{{customer}}}:{PK}:{SK}"', "and no other"),
        (KEYED + '\nkey = "o:{{{customer}}}:{created}:{PK}:{SK}:{x}"', "and no other"),
        (KEYED + '\nkey = "o:{customer}:{created}:{PK}:{SK}"', "in a hash tag"),
        (KEYED + '\nkey = "o:{{{created}}}:{customer}:{PK}:{SK}"', "in a hash tag"),
        (KEYED + '\nexclude = ["created"]', "leave out created"),
        (KEYED + '\nrename = { total = "PK" }', "leave out PK"),
        (KEYED + '\nconstants = { customer = "x" }', "leave out customer"),
        ('score = "points"', "needs the sorted set"),
        (KEYED + '\nscore = "points"', "leave out `sort`"),
        ('name = "abc"\nindex = {}\nscore = "n"\nkey = "b:{PK}:{SK}"', "all keys in one slot"),
        (BOARD + '\nkey = "b:{{{g}}}:{PK}"', "and no other"),
    ],
)  # fmt: skip
def test_what_cannot_be_an_index_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        bound(text)
    assert said in str(error.value)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("k:{id}", "as in order:{{{id}}}"),
        ("k:{{a}}:{id}", "in a hash tag"),
        ("k:{{{id}}}:%%", "% behind the partition key"),  # the key of the sorted set itself
    ],
)
def test_an_entry_that_is_alone_in_its_index_shares_a_slot_with_it(key: str, said: str) -> None:
    schema = Schema("users", ("id",), ("S",))
    text = 'name = "own"\nindex = { partition = "id" }'
    with pytest.raises(ConfigError) as error:
        bound(f'{text}\nkey = "{key}"', schema)
    assert said in str(error.value)
    assert bound(text, schema).template.text == "{table}:own:{{{id}}}"


@pytest.mark.parametrize(
    ("text", "said", "member"),
    [
        (KEYED, "finds the entries of one customer in the order of created; an item without", 19),
        (UNSORTED + '\nencoding = "json"', 'so queries of it are passed on; encoding = "dyn', 10),
        (BOARD.replace('"g"', '"customer"'), "of one customer stand in a sorted set by n", 4),
        ('name = "abc"\nindex = {}\nscore = "n"', "one hash slot, so one node of a cluster", 4),
    ],
)
def test_a_view_is_explained_with_what_its_member_takes(text: str, said: str, member: int) -> None:
    (spec,) = parse_views(f"[[view]]\n{text}")
    view = spec.bind(SCHEMA)
    item: Any = {
        "PK": {"S": "o1"}, "SK": {"N": "2"}, "n": {"N": "5"},
        "customer": {"S": "ann"}, "created": {"N": "17"},
    }  # fmt: skip
    words = "\n".join(in_words(spec, view))
    assert said in words
    # An index has no longer values than a key; a view by a number may have any.
    assert ("a key can have up to" in words) == (isinstance(view.members, Index) or "{}" in text)
    entry = sample(view, [item])
    assert entry is not None
    assert entry.cost["index member"] == member
