"""Items from a file: exact, identified as documented, and every bad file is one sentence."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.support.strategies import is_one_sentence

from dynamirror.demo.dataset import Dataset, load_dataset
from dynamirror.errors import ConfigError, RecordError
from dynamirror.records.attribute_value import typed_map
from dynamirror.views.view import Schema

USERS = Schema("users", ("id",), ("S",))
SHOP = Schema("shop", ("pk", "sk"), ("S", "N"))


def load_file(
    folder: Path,
    text: str | bytes,
    name: str = "rows.json",
    key: str | None = None,
    schema: Schema = USERS,
) -> Dataset:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_dataset(str(file), schema, key)


def load(folder: Path, text: str | bytes, name: str = "rows.json", key: str | None = None) -> Any:
    return load_file(folder, text, name, key).items


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


def is_dynamodb_json(row: dict[str, Any]) -> bool:
    try:
        typed_map(row)
    except RecordError:
        return False
    return True


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.dictionaries(st.text(min_size=1, max_size=3), plain), min_size=1, max_size=5)
)
def test_items_hold_what_the_file_holds(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assume(not any(row and is_dynamodb_json(row) for row in rows))
    named = {f"row {index}": row for index, row in enumerate(rows)}
    items = load(tmp_path, json.dumps(named))
    read = TypeDeserializer().deserialize
    for item, row in zip(items, rows, strict=True):
        held = {name: read(value) for name, value in item.items()}
        assert {name: value for name, value in held.items() if name != "id"} == {
            name: value for name, value in row.items() if name != "id"
        }


NO_NUMBER = "DynamoDB cannot hold it: a number has more than 38 digits, or is beyond 9.99E+125"


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        ("{", "rows.json", "is not JSON: Expecting property name"),
        ("", "rows.json", "holds no rows"),
        (
            "id,a\n1,2\n",
            "rows.txt",
            "is not JSON: Expecting value: line 1 column 1 (char 0); the name",
        ),
        (b"\xff\xfe[", "rows.json", "is not text in UTF-8"),
        (b"id\n\xff\n", "rows.csv", "is not text in UTF-8"),
        ("[1, 2]", "rows.json", "row 1: is not an object"),
        ('{"id": "1"}', "rows.json", "must be an array of objects or an object of objects"),
        ('[{"id": "1"}, 2]', "rows.json", "row 2: is not an object"),
        ("7", "rows.json", "must be an array of objects or an object of objects"),
        ("[]", "rows.json", "holds no rows"),
        ("{}", "rows.json", "holds no rows"),
        ("id,a\n", "rows.csv", "holds no rows"),
        ("", "rows.csv", "holds no rows"),
        ('[{"a": 1}, {"a": 1}]', "rows.json", "no attribute differs in all rows; name one with"),
        ("[{}]", "rows.json", "no attribute differs in all rows; name one with --key"),
        (
            '[{"id": "1"}, {"id": "2", "n": NaN}]',
            "rows.json",
            "row 2: DynamoDB cannot hold it: Infinity and NaN",
        ),
        (f'[{{"id": "1", "n": {"9" * 39}}}]', "rows.json", f"row 1: {NO_NUMBER}"),
        ('[{"id": "1", "n": 1e999}]', "rows.json", f"row 1: {NO_NUMBER}"),
        (
            '[{"id": "1", "n": 1, "n": 2}]',
            "rows.json",
            "is not JSON: an object has two values for 'n'",
        ),
        (
            '{"a": {"n": 1}, "a": {"n": 2}}',
            "rows.json",
            "is not JSON: an object has two values for",
        ),
        (
            '{"id": "1"}\n{"n": 1, "n": 2}',
            "rows.json",
            "line 2: is not JSON: an object has two values",
        ),
        ('{"id": "1"}{"id": "2"}', "rows.json", "line 1: holds more than one object"),
        ('[{"id": "1", "n": Infinity}]', "rows.json", "row 1: DynamoDB cannot hold it"),
        ("[" * 100_000, "rows.json", "is nested too deeply"),
        (
            f'[{{"id": "1", "deep": {"[" * 900 + "]" * 900}}}]',
            "rows.json",
            "row 1: DynamoDB cannot",
        ),
        ("id,a\n1,2,3\n", "rows.csv", "row 1: has more fields than the header"),
        (
            "id,a\n1," + "x" * 500_000 + "\n",
            "rows.csv",
            "row 1: is not CSV: field larger than field",
        ),
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
        load_dataset(str(tmp_path / path), USERS)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([{"a": "1"}, {"a": "1"}], "row 2: has the same a as row 1"),
        ([{"a": "1"}, {"b": "2"}], "row 2: lacks 'a', or it is no text or number"),
    ],
)
def test_a_key_that_does_not_identify_is_refused_with_its_row(
    tmp_path: Path, rows: Any, sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, json.dumps(rows), key="a")
    assert str(caught.value) == f"{tmp_path / 'rows.json'}: {sentence}"


@pytest.mark.parametrize(
    ("rows", "key", "words"),
    [
        ([{"id": "x", "a": "1"}], None, "id"),
        ([{"code": "x"}], None, "id, taken from code"),
        ([{"id": "x", "code": "1"}], "code", "id, taken from code"),
        ({"m": {"n": 1}}, None, "id, taken from the name of each object"),
        ([{"a": "x", "b": 1}], "a,b", "a and b"),
    ],
)
def test_the_key_that_was_chosen_is_reported(
    tmp_path: Path, rows: Any, key: str | None, words: str
) -> None:
    assert load_file(tmp_path, json.dumps(rows), key=key).key == words


# --- the formats that DynamoDB's tools write ---

PLAIN = [
    {"id": "a", "n": 1, "deep": {"list": [True, None, "x"]}},
    {"id": "b", "n": Decimal("0.5"), "deep": {"list": []}},
]
TYPED = [{name: TypeSerializer().serialize(value) for name, value in row.items()} for row in PLAIN]


def text_of(value: Any) -> str:
    return json.dumps(value, default=float)


def lines_of(rows: list[Any]) -> str:
    return "".join(text_of(row) + "\n" for row in rows)


def page_of(item: Any, indent: int | None = None) -> str:
    page = {"Items": [item], "Count": 1, "ScannedCount": 1, "LastEvaluatedKey": {"id": item["id"]}}
    return json.dumps(page, indent=indent) + "\n"


FORMATS: dict[str, tuple[str, str]] = {
    "an array of plain objects": ("rows.json", text_of(PLAIN)),
    "an array of DynamoDB JSON": ("rows.json", text_of(TYPED)),
    "aws dynamodb scan": (
        "scan.json",
        json.dumps(
            {"Items": TYPED, "Count": 2, "ScannedCount": 2, "ConsumedCapacity": None}, indent=4
        ),
    ),
    "aws dynamodb scan --max-items": (
        "scan.json",
        json.dumps({"Items": TYPED, "Count": 9, "ScannedCount": 9, "NextToken": "eyJ"}, indent=4),
    ),
    "aws dynamodb scan, page after page": ("scan.json", "".join(page_of(row, 4) for row in TYPED)),
    "a page of a scan on each line": ("scan.jsonl", "".join(map(page_of, TYPED))),
    "pages of a scan in an array": ("scan.json", f"[{','.join(map(page_of, TYPED))}]"),
    "boto3's scan": (
        "scan.json",
        text_of({"Items": TYPED, "ResponseMetadata": {"RetryAttempts": 0}}),
    ),
    "a document client's scan": ("scan.json", text_of({"Items": PLAIN, "Count": 2})),
    "JSON Lines": ("rows.jsonl", lines_of(PLAIN)),
    "JSON Lines called .json": ("rows.json", lines_of(PLAIN)),
    "JSON Lines with blank lines and carriage returns": (
        "rows.ndjson",
        "\r\n" + lines_of(PLAIN).replace("\n", "\r\n\r\n"),
    ),
    "JSON Lines of DynamoDB JSON": ("rows.jsonl", lines_of(TYPED)),
    "an export to S3": ("data.json", lines_of([{"Item": item} for item in TYPED])),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("form", FORMATS)
def test_one_table_is_the_same_in_every_format(tmp_path: Path, form: str, packed: bool) -> None:  # noqa: FBT001 - a parameter
    name, text = FORMATS[form]
    data = gzip.compress(text.encode()) if packed else text.encode()
    assert load(tmp_path, data, f"{name}.gz" if packed else name) == TYPED


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("item.json", text_of({"Item": TYPED[0], "ConsumedCapacity": None})),
        ("item.jsonl", text_of(TYPED[0])),
        ("data.json.gz", text_of({"Item": TYPED[0]})),
        ("item.jsonl", text_of(PLAIN[0])),
        ("item.json", text_of([TYPED[0]])),
    ],
)
def test_one_item_alone_is_loaded(tmp_path: Path, name: str, text: str) -> None:
    assert load(tmp_path, text, name) == TYPED[:1]


def test_binary_of_dynamodb_json_is_written_as_it_was(tmp_path: Path) -> None:
    (item,) = load(
        tmp_path,
        '[{"id": {"S": "1"}, "b": {"B": "AAEC"}, "s": {"BS": ["AA==", "AQ=="]},'
        ' "m": {"M": {"l": {"L": [{"B": "AAEC"}]}}}}]',
    )
    assert item["b"] == {"B": b"\0\1\2"}
    assert item["s"] == {"BS": [b"\0", b"\1"]}
    assert item["m"] == {"M": {"l": {"L": [{"B": b"\0\1\2"}]}}}


def test_plain_objects_that_resemble_dynamodb_json_stay_plain(tmp_path: Path) -> None:
    assert load(tmp_path, '{"shirt": {"stock": {"S": 3}}}') == [
        {"stock": {"M": {"S": {"N": "3"}}}, "id": {"S": "shirt"}}
    ]


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        (
            '{"id": {"S": "1"}}',
            "rows.json",
            "is one item in DynamoDB JSON, or an object of objects",
        ),
        ('{"id": "1"}', "rows.json", "must be an array of objects or an object of objects; a file"),
        (
            '{"id": "1"}\n{"id": \n',
            "rows.json",
            "line 2: is not JSON: Expecting value",
        ),
        ('\n{"id": "1"}\n\n7\n', "rows.jsonl", "line 4: is not an object"),
        ("", "rows.jsonl", "holds no rows"),
        ('{"Items": [], "Count": 0, "ScannedCount": 0}', "scan.json", "holds no rows"),
        (
            '[{"id": {"S": "1"}}, {"id": "2"}]',
            "rows.json",
            "row 1 is DynamoDB JSON, but row 2 is not: attribute id: an attribute value must be an",
        ),
        (
            '{"Item": {"id": {"S": "1"}}}\n{"Item": {"id": {"S": "2"}, "n": {"N": 5}}}',
            "data.json",
            "line 1 is DynamoDB JSON, but line 2 is not: attribute n: a DynamoDB N must be text",
        ),
        (
            f'[{{"id": {{"S": "1"}}, "n": {{"N": "{"9" * 39}"}}}}]',
            "rows.json",
            "row 1: DynamoDB cannot hold it",
        ),
        (
            '{"Metadata": {}, "Keys": {"id": {"S": "1"}}, "NewImage": {"id": {"S": "1"}}}',
            "data.jsonl",
            "is an incremental export, which holds changes; use a full one",
        ),
        (r'[{"id": "\ud800"}]', "rows.json", "row 1: DynamoDB cannot hold it: a text is not valid"),
        (b"\x1f\x8b\x08\x00", "data.json.gz", "cannot be unpacked: "),
        (gzip.compress(b'[{"id": "1"}]', mtime=0)[:-4], "data.json.gz", "cannot be unpacked: "),
        (gzip.compress(b"\xff\xfe", mtime=0), "data.json.gz", "is not text in UTF-8"),
        (
            '{"Items": [], "Count": 0}\n{"id": "1"}',
            "scan.json",
            "page 2: is no page of a scan, as others are",
        ),
        (
            '{"Items": [{"id": "1"}], "Count": 1}\n{"Items": [{"n": NaN}], "Count": 1}',
            "scan.json",
            "page 2, row 1: DynamoDB cannot hold it",
        ),
        (f'[{{"id": "{"x" * 2049}"}}]', "rows.json", "row 1: its key is longer than DynamoDB"),
    ],
)
def test_what_cannot_be_understood_in_one_way_is_refused(
    tmp_path: Path, text: str | bytes, name: str, sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {sentence}")
    assert is_one_sentence(caught.value)


# --- CSV ---


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_of_a_csv_file_is_found(tmp_path: Path, separator: str) -> None:
    text = separator.join(("id", "text")) + "\n" + separator.join(("1", '"a,b;c|d\te"')) + "\n"
    for name in ("rows.csv", "rows.tsv", "ROWS.CSV", "rows.csv.gz"):
        data = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
        assert load(tmp_path, data, name) == [{"id": {"S": "1"}, "text": {"S": "a,b;c|d\te"}}]


def test_a_field_of_a_csv_file_may_be_as_long_as_an_item(tmp_path: Path) -> None:
    (item,) = load(tmp_path, f"id,a\n1,{'x' * 390_000}\n", "rows.csv")
    assert item["a"] == {"S": "x" * 390_000}


def test_the_separator_is_the_one_by_which_every_row_fits(tmp_path: Path) -> None:
    (item,) = load(tmp_path, "id;size, cm;name\n1;2;Ada\n", "rows.csv")
    assert item == {"id": {"S": "1"}, "size, cm": {"S": "2"}, "name": {"S": "Ada"}}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("id\n1\n2\n", "has one column, 'id'; separate the columns by a comma or a semicolon or"),
        ("id:name\n1:Ada\n", "has one column, 'id:name'; separate the columns by a comma or"),
        ("a;b,c\n1;2,3\n", "its columns may be separated by a comma or a semicolon; quote the"),
        ("id,a\n1,2\n3\n", "row 2: has fewer fields than the header"),
        ("id,a\n1,2\n3,4,5\n", "row 2: has more fields than the header"),
        ("id,a,a\n1,2,3\n", "two columns are called 'a'"),
        ("id,a,\n1,2,3\n", "column 3 has no name"),
        ('id,a\n1,2\n3,"4\n5,6\n', "row 2: is not CSV: unexpected end of data"),
        ('id,a\n1,"2"3\n', "row 1: is not CSV: ',' expected after"),
        ('id,"a\n1,2\n', "the header: is not CSV: unexpected end of data"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, "rows.csv")
    assert str(caught.value).startswith(f"{tmp_path / 'rows.csv'}: {sentence}")
    assert is_one_sentence(caught.value)


# --- composite keys ---


def test_a_composite_key_makes_a_table_of_that_key(tmp_path: Path) -> None:
    text = '[{"pk": "a", "sk": 1}, {"pk": "a", "sk": 2}]'
    dataset = load_file(tmp_path, text, key="pk, sk")
    assert dataset.schema == Schema("users", ("pk", "sk"), ("S", "N"))
    assert dataset.items == [
        {"pk": {"S": "a"}, "sk": {"N": "1"}},
        {"pk": {"S": "a"}, "sk": {"N": "2"}},
    ]


@pytest.mark.parametrize("key", [None, "pk,sk"])
def test_the_key_of_the_table_section_is_used(tmp_path: Path, key: str | None) -> None:
    text = "pk;sk;name\na;1;Ada\na;2;Eve\n"
    dataset = load_file(tmp_path, text, "rows.csv", key=key, schema=SHOP)
    assert dataset.schema == SHOP
    assert [item["sk"] for item in dataset.items] == [{"N": "1"}, {"N": "2"}]
    assert dataset.key == "pk and sk"


@pytest.mark.parametrize(
    ("text", "key", "sentence"),
    [
        ('[{"pk": "a", "sk": 1}, {"pk": "a"}]', "pk,sk", "row 2: lacks the key attribute sk of"),
        ('[{"pk": "a", "sk": 1}, {"pk": "a", "sk": "1"}]', "pk,sk", "row 2: lacks the key attr"),
        (
            '[{"pk": "a", "sk": 1}, {"pk": "b", "sk": 1}, {"pk": "a", "sk": 1.0}]',
            "pk,sk",
            "row 3: has the same pk and sk as row 1",
        ),
        ('[{"pk": "a"}]', "pk,sk", "row 1: lacks 'sk', or it is no text, number or binary"),
        ('[{"pk": "a", "sk": true}]', "pk,sk", "row 1: lacks 'sk', or it is no text, number or"),
        ('[{"pk": "a", "sk": ""}]', "pk,sk", "row 1: lacks the key attribute sk of type S"),
    ],
)
def test_a_row_without_a_composite_key_of_its_own_is_named(
    tmp_path: Path, text: str, key: str, sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, key=key)
    assert str(caught.value).startswith(f"{tmp_path / 'rows.json'}: {sentence}")


@pytest.mark.parametrize(
    ("key", "schema", "sentence"),
    [
        ("", USERS, "--key: '' must be an attribute, or partition key and sort key as in pk,sk"),
        ("a,", USERS, "--key: 'a,' must be an attribute, or"),
        ("a,a", USERS, "--key: 'a,a' must be an attribute, or"),
        ("a,b,c", USERS, "--key: 'a,b,c' must be an attribute, or"),
        ("sk,pk", SHOP, "--key: the [[table]] shop has the key pk,sk; omit --key"),
        ("code", SHOP, "--key: the [[table]] shop has the key pk,sk; omit --key"),
    ],
)
def test_a_wrong_key_is_refused(tmp_path: Path, key: str, schema: Schema, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_file(tmp_path, '[{"pk": "a", "sk": 1}]', key=key, schema=schema)
    assert str(caught.value).startswith(sentence)
