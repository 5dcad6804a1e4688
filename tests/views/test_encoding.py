"""How an item becomes the bytes of an entry."""

import json
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.strategies import PROMISE, items, retold_item, settled

from dynamirror.errors import RecordError
from dynamirror.records.attribute_value import Item, plain, plain_map, raw, to_json, typed_map
from dynamirror.views.encoding import (
    DYNAMODB_JSON,
    HASH,
    JSON,
    Encoding,
    ValueType,
    attribute,
    pack_fields,
)

EVERY_TYPE: dict[str, dict[str, Any]] = {
    "text": {"S": "zoë"},
    "number": {"N": "1.50"},
    "binary": {"B": b"\x00\xff"},
    "yes": {"BOOL": True},
    "nothing": {"NULL": True},
    "map": {"M": {"b": {"N": "2"}, "a": {"S": ""}}},
    "list": {"L": [{"S": "x"}, {"L": []}]},
    "texts": {"SS": ["b", "a"]},
    "numbers": {"NS": ["10", "9.5"]},
    "binaries": {"BS": [b"b", b"a"]},
}


def encoded(encoding: Encoding, item: dict[str, Any]) -> bytes:
    value = encoding.encode(item)
    assert value is not None
    return value


def parts_of(packed: bytes) -> list[bytes]:
    """Take a packed hash apart, as scripts/put_hash.lua does."""
    parts, at = [], 4
    while at < len(packed):
        end = at + 4 + int.from_bytes(packed[at : at + 4], "big")
        parts.append(packed[at + 4 : end])
        at = end
    assert int.from_bytes(packed[:4], "big") == len(parts)
    return parts


def test_json_is_the_item_as_one_would_write_it() -> None:
    assert json.loads(encoded(JSON, EVERY_TYPE), parse_float=Decimal) == {
        "text": "zoë",
        "number": Decimal("1.50"),
        "binary": "AP8=",
        "yes": True,
        "nothing": None,
        "map": {"a": "", "b": 2},
        "list": ["x", []],
        "texts": ["a", "b"],
        "numbers": [Decimal("9.5"), 10],
        "binaries": ["YQ==", "Yg=="],
    }


@PROMISE
@given(items)
def test_json_holds_every_attribute(item: dict[str, Any]) -> None:
    found = json.loads(encoded(JSON, item), parse_float=Decimal)
    assert found == {
        name: json.loads(to_json(plain(value)), parse_float=Decimal) for name, value in item.items()
    }


@PROMISE
@given(items)
def test_dynamodb_json_loses_nothing(item: dict[str, Any]) -> None:
    back = json.loads(encoded(DYNAMODB_JSON, item))
    assert settled({"M": back}) == settled({"M": item})


@pytest.mark.parametrize("encoding", [JSON, DYNAMODB_JSON, HASH], ids=lambda each: each.name)
@PROMISE
@given(item=items, seed=st.integers())
def test_one_item_told_two_ways_gives_the_same_bytes(
    encoding: Encoding, item: dict[str, Any], seed: int
) -> None:
    assert encoding.encode(retold_item(item, Random(seed))) == encoding.encode(item)


@PROMISE
@given(items)
def test_a_hash_is_an_array_of_fields_and_bare_values_sorted_by_field(item: dict[str, Any]) -> None:
    flat = parts_of(encoded(HASH, item))
    fields, found = flat[::2], flat[1::2]
    assert fields == sorted(name.encode() for name in item)
    assert dict(zip(fields, found, strict=True)) == {
        name.encode(): raw(value) for name, value in item.items()
    }


def test_the_fields_of_a_hash_read_as_documented() -> None:
    flat = parts_of(encoded(HASH, EVERY_TYPE))
    assert dict(zip(flat[::2], flat[1::2], strict=True)) == {
        b"text": "zoë".encode(),
        b"number": b"1.50",
        b"binary": b"\x00\xff",
        b"yes": b"true",
        b"nothing": b"null",
        b"map": b'{"a":"","b":2}',
        b"list": b'["x",[]]',
        b"texts": b'["a","b"]',
        b"numbers": b"[9.5,10]",
        b"binaries": b'["YQ==","Yg=="]',
    }


def test_packed_fields_do_not_depend_on_their_order() -> None:
    assert pack_fields({b"a": b"1", b"b": b"2"}) == pack_fields({b"b": b"2", b"a": b"1"})


def test_only_a_hash_is_not_stored_as_a_string() -> None:
    assert HASH.layout is ValueType.HASH
    assert {each.layout for each in (JSON, DYNAMODB_JSON, attribute("a"))} == {ValueType.STRING}


def test_the_attribute_encoding_is_its_raw_value() -> None:
    assert {name: attribute(name).encode(EVERY_TYPE) for name in EVERY_TYPE} == {
        name: raw(value) for name, value in EVERY_TYPE.items()
    }


def test_an_item_without_the_attribute_has_no_value() -> None:
    assert attribute("absent").encode(EVERY_TYPE) is None


def test_an_empty_attribute_is_not_an_absent_one() -> None:
    assert attribute("a").encode({"a": {"S": ""}}) == b""


@pytest.mark.parametrize(
    "encoding", [JSON, DYNAMODB_JSON, HASH, attribute("a")], ids=lambda each: each.name
)
@pytest.mark.parametrize(
    "value",
    [{"X": "s3cret"}, {"S": "s3cret", "N": "1"}, {"N": "s3cret"}, {"S": "s3cret\ud800"}, "s3cret"],
    ids=ascii,
)
def test_no_encoding_writes_a_malformed_item_or_tells_what_is_in_it(
    encoding: Encoding, value: Any
) -> None:
    with pytest.raises(RecordError) as refused:
        encoding.encode({"a": value})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("encoding", [JSON, DYNAMODB_JSON, HASH], ids=lambda each: each.name)
def test_a_lone_surrogate_in_a_name_is_refused(encoding: Encoding) -> None:
    with pytest.raises(RecordError):
        encoding.encode({"\ud800": {"S": "x"}})


def unsorted(count: int) -> list[str]:
    """Names in an order on which msgspec's own sort is quadratic."""
    names = [f"a{number:06}é{chr(0x1F600 + number % 50)}" for number in range(count)]
    return [*names[1:], names[0]]


@pytest.mark.parametrize("count", [2, 199, 200, 201, 5_000])
@pytest.mark.parametrize("encoding", [JSON, DYNAMODB_JSON], ids=["json", "dynamodb-json"])
def test_however_wide_a_map_is_its_names_are_sorted_and_the_bytes_are_the_same(
    encoding: Encoding, count: int
) -> None:
    wide = {name: {"S": "text"} for name in unsorted(count)}
    for image in (wide, {"m": {"M": wide}}, {"l": {"L": [{"M": {"deep": {"M": wide}}}]}}):
        written = encoding.encode(image)
        assert written is not None
        value = msgspec.json.decode(written)
        assert written == msgspec.json.encode(value, order="sorted")
        assert value == (plain_map if encoding is JSON else typed_map)(image)


@pytest.mark.parametrize("make", [plain_map, typed_map])
def test_the_names_of_a_wide_map_are_in_order_before_msgspec_sorts_them(
    make: Callable[[Item], dict[str, Any]],
) -> None:
    names = unsorted(1_000)
    wide = {name: {"S": "text"} for name in names}
    nested = make({"m": {"M": wide}})["m"]
    assert list(make(wide)) == sorted(names)
    assert list(nested.get("M", nested)) == sorted(names)
