"""Items from a file: exact, identified as documented, and every bad file is one sentence."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynamirror.demo.dataset import load_items
from dynamirror.errors import ConfigError


def load(folder: Path, text: str | bytes, name: str = "rows.json", key: str | None = None) -> Any:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_items(str(file), key)


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"]["S"] for item in items]


def test_an_array_of_objects_becomes_items(tmp_path: Path) -> None:
    assert load(tmp_path, '[{"id": "a", "n": 1}, {"id": "b", "n": 2}]') == [
        {"id": {"S": "a"}, "n": {"N": "1"}},
        {"id": {"S": "b"}, "n": {"N": "2"}},
    ]


def test_an_object_of_objects_becomes_items_named_by_it(tmp_path: Path) -> None:
    assert load(tmp_path, '{"a": {"n": 1}, "b": {"n": 1}}') == [
        {"id": {"S": "a"}, "n": {"N": "1"}},
        {"id": {"S": "b"}, "n": {"N": "1"}},
    ]


def test_a_csv_file_becomes_items_of_text(tmp_path: Path) -> None:
    assert load(tmp_path, 'id,text\n1,"a, ""b""\n c"\n2,ä\n', "rows.csv") == [
        {"id": {"S": "1"}, "text": {"S": 'a, "b"\n c'}},
        {"id": {"S": "2"}, "text": {"S": "ä"}},
    ]


@pytest.mark.parametrize(
    ("text", "name"), [("id,n\n1,2\n", "rows.csv"), ('[{"id": "1", "n": "2"}]', "rows.json")]
)
def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path: Path, text: str, name: str) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + text.encode(), name) == [
        {"id": {"S": "1"}, "n": {"S": "2"}}
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"id": "x", "a": "1"}, {"id": "y", "a": "2"}], ["x", "y"]),
        ([{"id": 1, "a": "1"}, {"id": 2, "a": "2"}], ["1", "2"]),
        ({"m": {"id": "x"}, "n": {"id": "y"}}, ["x", "y"]),  # an id goes before a name
        ({"m": {"id": "x"}, "n": {"id": "x"}}, ["m", "n"]),  # but not one that does not identify
        ({"m": {"a": 1}, "n": {"a": 2}}, ["m", "n"]),
        ([{"a": "x", "b": "1"}, {"a": "x", "b": "2"}], ["1", "2"]),
        ([{"a": "x", "b": "1"}, {"b": "2"}], ["1", "2"]),  # not in every row
        ([{"a": True, "b": "1"}, {"a": False, "b": "2"}], ["1", "2"]),
        ([{"a": "", "b": "1"}, {"a": "x", "b": "2"}], ["1", "2"]),  # no key may be empty
        ([{"id": "same", "b": "1"}, {"id": "same", "b": "2"}], ["1", "2"]),
    ],
)
def test_the_id_is_found_as_documented(tmp_path: Path, rows: Any, expected: list[str]) -> None:
    assert ids(load(tmp_path, json.dumps(rows))) == expected


def test_a_key_that_is_named_goes_before_all(tmp_path: Path) -> None:
    rows = {"m": {"id": "x", "code": "1"}, "n": {"id": "y", "code": "2"}}
    assert ids(load(tmp_path, json.dumps(rows), key="code")) == ["1", "2"]


def test_numbers_keep_all_their_38_digits(tmp_path: Path) -> None:
    digits = "12345678901234567890123456789012345678"
    (item,) = load(tmp_path, f'[{{"id": "1", "n": {digits}, "f": 0.{digits}, "e": -1.5e-7}}]')
    assert item["n"] == {"N": digits}
    assert Decimal(item["f"]["N"]) == Decimal(f"0.{digits}")
    assert Decimal(item["e"]["N"]) == Decimal("-1.5e-7")


plain = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.integers(-(10**38) + 1, 10**38 - 1),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=3), inner)
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.dictionaries(st.text(min_size=1, max_size=3), plain), min_size=1, max_size=5)
)
def test_items_hold_what_the_file_holds(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    named = {f"row {index}": row for index, row in enumerate(rows)}
    items = load(tmp_path, json.dumps(named))
    read = TypeDeserializer().deserialize
    for item, row in zip(items, rows, strict=True):
        held = {name: read(value) for name, value in item.items()}
        assert {name: value for name, value in held.items() if name != "id"} == {
            name: value for name, value in row.items() if name != "id"
        }


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        ("{", "rows.json", "is not JSON or CSV in UTF-8"),
        ("", "rows.json", "is not JSON or CSV in UTF-8"),
        (b"\xff\xfe[", "rows.json", "is not JSON or CSV in UTF-8"),
        (b"id\n\xff\n", "rows.csv", "is not JSON or CSV in UTF-8"),
        ("[1, 2]", "rows.json", "must be an array of objects or an object of objects"),
        ('{"id": "1"}', "rows.json", "must be an array of objects or an object of objects"),
        ('[{"id": "1"}, 2]', "rows.json", "must be an array of objects or an object of objects"),
        ("7", "rows.json", "must be an array of objects or an object of objects"),
        ("[]", "rows.json", "holds no rows"),
        ("{}", "rows.json", "holds no rows"),
        ("id,a\n", "rows.csv", "holds no rows"),
        ("", "rows.csv", "holds no rows"),
        ('[{"a": 1}, {"a": 1}]', "rows.json", "no attribute differs in all rows; name one with"),
        ("[{}]", "rows.json", "no attribute differs in all rows; name one with --key"),
        ('[{"id": "1"}, {"id": "2", "n": NaN}]', "rows.json", "row 2: DynamoDB cannot hold it"),
        (f'[{{"id": "1", "n": {"9" * 39}}}]', "rows.json", "row 1: DynamoDB cannot hold it"),
        ('[{"id": "1", "n": 1e999}]', "rows.json", "row 1: DynamoDB cannot hold it"),
        ('[{"id": "1", "n": Infinity}]', "rows.json", "row 1: DynamoDB cannot hold it"),
        ("[" * 100_000, "rows.json", "is nested too deeply"),
        (
            f'[{{"id": "1", "deep": {"[" * 900 + "]" * 900}}}]',
            "rows.json",
            "row 1: DynamoDB cannot",
        ),
        ("id,a\n1,2,3\n", "rows.csv", "row 1: has more fields than the header"),
        ("x" * 200_000 + "\n1\n", "rows.csv", "is not JSON or CSV in UTF-8"),
    ],
)
def test_a_bad_file_is_one_sentence(
    tmp_path: Path, text: str | bytes, name: str, sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {sentence}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["missing.json", "."])
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match=r"^\S+: cannot be read: [^\n]+$"):
        load_items(str(tmp_path / path))


@pytest.mark.parametrize("rows", [[{"a": "1"}, {"a": "1"}], [{"a": "1"}, {"b": "2"}]])
def test_a_key_that_does_not_identify_is_refused(tmp_path: Path, rows: Any) -> None:
    with pytest.raises(ConfigError, match=r"'a' is not in every row, or not different in each$"):
        load(tmp_path, json.dumps(rows), key="a")
