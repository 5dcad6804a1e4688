"""DynamoDB's typed values and the plain forms they take."""

import json
from base64 import b64encode
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.strategies import (
    PROMISE,
    binaries,
    is_one_sentence,
    numbers,
    retold,
    texts,
    values,
)

from dynamirror.errors import RecordError
from dynamirror.records.attribute_value import number_text, plain, raw, to_json, typed, utf8
from dynamirror.records.key_codec import key_text


def read(encoded: bytes) -> Any:
    return json.loads(encoded, parse_float=Decimal, parse_int=Decimal)


def as_json_has_it(value: dict[str, Any]) -> Any:  # noqa: PLR0911 - one for each type
    """What a reader of plain JSON should find, written down independently."""
    ((tag, content),) = value.items()
    match tag:
        case "N":
            return Decimal(content)
        case "B":
            return b64encode(content).decode()
        case "NULL":
            return None
        case "NS":
            return sorted(map(Decimal, content))
        case "BS":
            return sorted(b64encode(each).decode() for each in content)
        case "SS":
            return sorted(content)
        case "L":
            return [as_json_has_it(each) for each in content]
        case "M":
            return {name: as_json_has_it(each) for name, each in content.items()}
        case _:
            return content


@PROMISE
@given(values)
def test_plain_json_reads_as_the_value(value: dict[str, Any]) -> None:
    assert read(to_json(plain(value))) == as_json_has_it(value)


@PROMISE
@given(values, st.integers())
def test_one_value_told_two_ways_gives_the_same_bytes(value: dict[str, Any], seed: int) -> None:
    """Order of sets and objects, and binary as bytes or as base64, do not show."""
    other = retold(value, Random(seed))
    assert to_json(plain(other)) == to_json(plain(value))
    assert to_json(typed(other)) == to_json(typed(value))
    assert raw(other) == raw(value)


@pytest.mark.parametrize(
    "value",
    [
        {"S": ""},
        {"B": b""},
        {"L": []},
        {"M": {}},
        {"M": {"": {"S": ""}}},
        {"S": "\0"},
        {"S": "𝄞 e\u0301 \u200d"},
        {"BOOL": False},
        {"N": "0"},
    ],
)
def test_empty_and_odd_values_are_kept(value: dict[str, Any]) -> None:
    assert read(to_json(plain(value))) == as_json_has_it(value)


@pytest.mark.parametrize(
    "digits",
    [
        "12345678901234567890123456789012345678",
        "-12345678901234567890123456789012345678",
        "0.12345678901234567890123456789012345678",
        "9.9999999999999999999999999999999999999E+125",
        "-9.9999999999999999999999999999999999999E+125",
        "1E-130",
        "1e-130",
        "1.0",
        "0",
        "-0",
        "9007199254740993",
    ],
)
def test_numbers_are_kept_digit_for_digit(digits: str) -> None:
    value = {"N": digits}
    assert to_json(plain(value)) == digits.encode()
    assert to_json(plain({"NS": [digits]})) == f"[{digits}]".encode()
    assert typed(value) == value
    assert raw(value) == digits.encode()


@pytest.mark.parametrize(
    ("digits", "written"), [("+1", b"1"), (".5", b"0.5"), ("007", b"7"), ("5.", b"5")]
)
def test_numbers_that_json_does_not_spell_so_are_spelt_as_it_does(
    digits: str, written: bytes
) -> None:
    assert to_json(plain({"N": digits})) == written


@PROMISE
@given(numbers)
def test_the_text_of_a_number_is_that_number(digits: str) -> None:
    assert Decimal(number_text(digits)) == Decimal(digits)


@PROMISE
@given(numbers, numbers)
def test_two_numbers_have_two_texts(one: str, two: str) -> None:
    assert (number_text(one) == number_text(two)) == (Decimal(one) == Decimal(two))


@pytest.mark.parametrize(
    "spellings",
    [("1", "1.0", "+1", "1E0", "0.1e1"), ("0", "-0", "0.00", "0E+5"), ("1E+125", "10E124")],
)
def test_a_number_has_one_text_however_it_is_spelt(spellings: tuple[str, ...]) -> None:
    assert len({number_text(digits) for digits in spellings}) == 1


@pytest.mark.parametrize(
    "digits",
    [
        "NaN",
        "-NaN",
        "sNaN",
        "Infinity",
        "-Infinity",
        "inf",
        "",
        "abc",
        "1,5",
        "0x10",
        "1E+9999999",
        "1E-9999999",
        "1E99999999999999999999",
        pytest.param("1" * 65, id="65 digits"),
    ],
)
def test_what_is_no_number_of_dynamodb_is_refused(digits: str) -> None:
    """Rounding it would make two numbers one."""
    with pytest.raises(RecordError) as refused:
        number_text(digits)
    assert is_one_sentence(refused.value)


@pytest.mark.parametrize("tag", ["N", "NS"])
@pytest.mark.parametrize("digits", ["NaN", "Infinity", "1E+9999999", "1E99999999999999999999"])
@pytest.mark.parametrize("form", [plain, typed, raw])
def test_a_number_that_is_none_is_refused_in_every_form(form: Any, tag: str, digits: str) -> None:
    with pytest.raises(RecordError):
        form({tag: digits if tag == "N" else ["1", digits]})


SECRET = "s3cret"


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"S": SECRET, "N": "1"},
        SECRET,
        [SECRET],
        None,
        {"X": SECRET},
        {"s": SECRET},
        {"S": [SECRET]},
        {"S": None},
        {"S": SECRET.encode()},
        {"N": 5},
        {"N": SECRET},
        {"N": None},
        {"B": 5},
        {"B": SECRET},
        {"B": SECRET + "é"},
        {"B": "YQ"},
        {"B": [SECRET]},
        {"BOOL": SECRET},
        {"BOOL": 1},
        {"BOOL": None},
        {"M": [SECRET]},
        {"M": SECRET},
        {"M": {SECRET: SECRET}},
        {"M": {SECRET: {"S": 5}}},
        {"L": {SECRET: SECRET}},
        {"L": SECRET},
        {"L": [SECRET]},
        {"L": [{"X": SECRET}]},
        {"SS": SECRET},
        {"SS": [SECRET, 5]},
        {"NS": [SECRET]},
        {"NS": [5]},
        {"NS": {SECRET: "1"}},
        {"BS": [SECRET]},
        {"BS": [5]},
        {"L": [{"M": {SECRET: {"L": [{"S": SECRET, "X": 1}]}}}]},
    ],
    ids=repr,
)
@pytest.mark.parametrize("form", [plain, typed, raw])
def test_malformed_values_are_refused_without_telling_what_is_in_them(
    form: Any, value: Any
) -> None:
    with pytest.raises(RecordError) as refused:
        form(value)
    assert SECRET not in str(refused.value)
    assert is_one_sentence(refused.value)


def test_an_unknown_type_tag_is_named() -> None:
    with pytest.raises(RecordError, match="'XYZ'"):
        plain({"XYZ": SECRET})


@pytest.mark.parametrize("tag", ["N", "B"])
def test_a_content_of_the_wrong_type_is_told_with_its_tag(tag: str) -> None:
    for form in (plain, typed, raw, key_text):
        with pytest.raises(RecordError, match=rf"DynamoDB {tag} must be text, not int"):
            form({tag: 5})


@pytest.mark.parametrize(
    "value",
    [
        {"S": SECRET + "\ud800"},
        {"SS": [SECRET + "\udfff"]},
        {"L": [{"S": "\ud83d" + SECRET}]},
        {"M": {SECRET + "\ud800": {"S": SECRET}}},
    ],
    ids=ascii,
)
@pytest.mark.parametrize("form", [plain, typed])
def test_a_lone_surrogate_is_refused(form: Any, value: Any) -> None:
    with pytest.raises(RecordError) as refused:
        to_json(form(value))
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None
    with pytest.raises(RecordError):
        raw(value)


def test_a_lone_surrogate_is_refused_on_its_own() -> None:
    with pytest.raises(RecordError):
        utf8("\ud800")


@PROMISE
@given(texts, numbers, binaries)
def test_raw_values_are_bare(text: str, digits: str, binary: bytes) -> None:
    assert raw({"S": text}) == text.encode()
    assert raw({"N": digits}) == digits.encode()
    assert raw({"B": binary}) == raw({"B": b64encode(binary).decode()}) == binary


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"BOOL": True}, b"true"),
        ({"NULL": True}, b"null"),
        ({"L": [{"N": "1.50"}, {"S": "é"}]}, '[1.50,"é"]'.encode()),
        ({"M": {"b": {"S": "x"}, "a": {"BOOL": False}}}, b'{"a":false,"b":"x"}'),
        ({"SS": ["b", "a"]}, b'["a","b"]'),
        ({"NS": ["10", "9"]}, b"[9,10]"),
        ({"BS": [b"b", b"a"]}, b'["YQ==","Yg=="]'),
    ],
)
def test_raw_values_with_a_structure_are_json(value: dict[str, Any], written: bytes) -> None:
    assert raw(value) == written


@PROMISE
@given(binaries)
def test_binary_in_a_key_is_base64url_however_it_came(binary: bytes) -> None:
    text = key_text({"B": binary})
    assert text == key_text({"B": b64encode(binary).decode()})
    assert not set(text) & set("+/=")


@pytest.mark.parametrize("tag", ["BOOL", "NULL", "M", "L", "SS", "NS", "BS", "X"])
def test_only_text_numbers_and_binary_stand_in_a_key(tag: str) -> None:
    with pytest.raises(RecordError, match=f"type {tag} cannot stand in a key") as refused:
        key_text({tag: SECRET})
    assert SECRET not in str(refused.value)
