"""Items of a file: JSON, JSON Lines, DynamoDB JSON or CSV, plain or gzip."""

import gzip
import json
import re
import zlib
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from dynamirror.demo.csv_table import csv_rows
from dynamirror.errors import ConfigError, RecordError
from dynamirror.records.attribute_value import to_json, typed_map

Row = dict[str, Any]

_GZIP = b"\x1f\x8b"
_LINES = (".jsonl", ".ndjson")
_CSV = (".csv", ".tsv")
# What the AWS CLI or boto3 has beside the items of `scan` and `query`, or the item of `get-item`.
_BESIDE = {
    "Count",
    "ScannedCount",
    "LastEvaluatedKey",
    "NextToken",
    "ConsumedCapacity",
    "ResponseMetadata",
}
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class ItemFile:
    """The items of a file.

    Args:
        items: items in DynamoDB JSON, binary as bytes.
        places: where each item stands, for messages: `row 3`, or `line 3` of JSON Lines.
        names: the objects' names, if the file is an object of objects; None otherwise.
        is_csv: whether the file is CSV, where every value is text.
    """

    items: list[Row]
    places: Sequence[str]
    names: Sequence[str] | None = None
    is_csv: bool = False


def read_item_file(path: str) -> ItemFile:
    """Return the items of a file.

    The file is CSV if its name ends with .csv or .tsv, also before .gz. Otherwise it is JSON: an
    array of objects, an object of objects, one object a line, or the output of `aws dynamodb scan`,
    also of several scans one after another.
    Objects are plain or DynamoDB JSON, also as the `Item` of an export to S3.

    Raises:
        ConfigError: the file cannot be read, has another form, or can be read in two ways.
    """
    name = path.lower().removesuffix(".gz")
    text = _text(path)
    try:
        if name.endswith(_CSV):
            rows, names = csv_rows(path, text), None
            places = _places("row", rows)
        elif name.endswith(_LINES):
            rows, places, names = *_lines(path, text), None
        else:
            rows, places, names = _json_rows(path, text)
        if not rows:
            raise ConfigError(f"{path}: holds no rows")
        if name.endswith(_CSV):
            return ItemFile(_from_plain(path, rows, places), places, is_csv=True)
        return ItemFile(_items(path, rows, places), places, names)
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None


def _text(path: str) -> str:
    try:
        data = Path(path).read_bytes()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConfigError(f"{path}: cannot be unpacked: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not text in UTF-8: {error}") from None


def _places(word: str, rows: Sequence[Row]) -> list[str]:
    return [f"{word} {number}" for number in range(1, len(rows) + 1)]


def _json_rows(path: str, text: str) -> tuple[list[Row], list[str], list[str] | None]:
    documents: list[Any] = []
    try:
        for document in _documents(text):
            documents.append(document)
            if len(documents) > 1 and not _is_page(documents[0]):
                return *_lines(path, text), None
    except ValueError as error:
        if documents and not _is_page(documents[0]):
            return *_lines(path, text), None  # names the line
        is_json = text.lstrip().startswith(("[", "{"))
        hint = "" if is_json else "; the name of a CSV file ends with .csv"
        raise ConfigError(f"{path}: is not JSON: {error}{hint}") from None
    names = None
    if len(documents) == 1 and not isinstance(documents[0], list):
        rows, names = _document_rows(path, documents[0])
        places = _places("row", rows)
    elif len(documents) == 1 and not any(map(_is_page, documents[0])):
        rows, places = documents[0], _places("row", documents[0])
    else:
        pages = documents if len(documents) != 1 else documents[0]
        rows, places = _rows_of_pages(path, pages, _places("page", pages))
    _check_objects(path, rows, places)
    return rows, places, names


def _documents(text: str) -> Iterator[Any]:
    """Yield the JSON documents of a text, with numbers exact.

    Raises:
        ValueError: the text is not JSON.
    """
    decoder = json.JSONDecoder(
        parse_float=Decimal,
        parse_int=Decimal,
        parse_constant=Decimal,
        object_pairs_hook=_object,
    )
    position = 0
    while (position := _SPACE.match(text, position).end()) < len(text):  # type: ignore[union-attr]
        document, position = decoder.raw_decode(text, position)
        yield document


def _object(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        (name, _count), *_ = Counter(name for name, _value in pairs).most_common(1)
        raise ValueError(f"an object has two values for {name!r}")
    return row


def _is_page(document: object) -> bool:
    """Return whether a document is the output of `aws dynamodb scan`, or one page of it."""
    match document:
        case {"Items": list(items), **beside} if beside.keys() <= _BESIDE:
            return all(isinstance(item, dict) for item in items)
    return False


def _rows_of_pages(
    path: str, pages: Sequence[Any], places: Sequence[str]
) -> tuple[list[Row], list[str]]:
    rows, row_places = [], []
    for page, place in zip(pages, places, strict=True):
        if not _is_page(page):
            raise ConfigError(f"{path}: {place}: is no page of a scan, as others are")
        rows += page["Items"]
        row_places += [f"{place}, {row}" for row in _places("row", page["Items"])]
    return rows, row_places


def _document_rows(path: str, document: Any) -> tuple[list[Row], list[str] | None]:
    match document:
        case {"Items": list(items), **beside} if beside.keys() <= _BESIDE:
            return items, None
        case {"Item": dict(item), **beside} if beside.keys() <= _BESIDE and _fault(item) is None:
            return [item], None
        case dict() if document and _fault(document) is None:
            raise ConfigError(
                f"{path}: is one item in DynamoDB JSON, or an object of objects; put [ ] around "
                "the item, or add an attribute to an object"
            )
        case dict() if all(isinstance(row, dict) for row in document.values()):
            return list(document.values()), list(document)
    raise ConfigError(
        f"{path}: must be an array of objects or an object of objects; a file of one object a line "
        "is called .jsonl"
    )


def _lines(path: str, text: str) -> tuple[list[Row], list[str]]:
    """Return the rows of JSON Lines with their places."""
    rows, places = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row, *others = _documents(line)
        except ValueError as error:
            raise ConfigError(f"{path}: line {number}: is not JSON: {error}") from None
        if others:
            raise ConfigError(f"{path}: line {number}: holds more than one object")
        rows.append(row)
        places.append(f"line {number}")
    if any(map(_is_page, rows)):
        rows, places = _rows_of_pages(path, rows, places)
    _check_objects(path, rows, places)
    if rows and rows[0].keys() >= {"Keys", "Metadata"}:
        raise ConfigError(f"{path}: is an incremental export, which holds changes; use a full one")
    if all(row.keys() == {"Item"} and isinstance(row["Item"], dict) for row in rows) and any(
        _fault(row["Item"]) is None for row in rows
    ):
        rows = [row["Item"] for row in rows]
    return rows, places


def _check_objects(path: str, rows: Sequence[object], places: Sequence[str]) -> None:
    for row, place in zip(rows, places, strict=True):
        if not isinstance(row, dict):
            raise ConfigError(f"{path}: {place}: is not an object")


def _fault(row: Row) -> str | None:
    """Return why an object is not an item in DynamoDB JSON, or None if it is one."""
    for name, value in row.items():
        try:
            typed_map({name: value})
        except RecordError as error:
            return f"attribute {name}: {error}"
    return None


def _items(path: str, rows: list[Row], places: Sequence[str]) -> list[Row]:
    """Return rows in DynamoDB JSON.

    Raises:
        ConfigError: some rows are in DynamoDB JSON and others are not, or DynamoDB refuses one.
    """
    faults = [_fault(row) if row else None for row in rows]
    plain = [index for index, fault in enumerate(faults) if fault is not None]
    typed = [index for index, fault in enumerate(faults) if fault is None and rows[index]]
    if not plain:
        return _from_typed(path, rows, places)
    if not typed:
        return _from_plain(path, rows, places)
    raise ConfigError(
        f"{path}: {places[typed[0]]} is DynamoDB JSON, but {places[plain[0]]} is not: "
        f"{faults[plain[0]]}"
    )


def _from_typed(path: str, rows: Sequence[Row], places: Sequence[str]) -> list[Row]:
    deserialize = TypeDeserializer().deserialize
    items = []
    for row, place in zip(rows, places, strict=True):
        item = {name: _as_boto3(value) for name, value in row.items()}
        try:
            deserialize({"M": item})
            to_json(typed_map(item))  # refuses lone surrogates
        except (TypeError, ArithmeticError, RecordError) as error:
            raise _refused(path, place, error) from None
        items.append(item)
    return items


def _as_boto3(value: dict[str, Any]) -> dict[str, Any]:
    """Return a value with binary as bytes; the AWS CLI and exports write base64 text."""
    match value:
        case {"B": str(text)}:
            return {"B": b64decode(text)}
        case {"BS": list(texts)}:
            return {"BS": [b64decode(text) for text in texts]}
        case {"M": dict(values)}:
            return {"M": {name: _as_boto3(inner) for name, inner in values.items()}}
        case {"L": list(values)}:
            return {"L": [_as_boto3(inner) for inner in values]}
    return value


def _from_plain(path: str, rows: Sequence[Row], places: Sequence[str]) -> list[Row]:
    serialize = TypeSerializer().serialize
    items = []
    for row, place in zip(rows, places, strict=True):
        try:
            item = {name: serialize(value) for name, value in row.items()}
            to_json(typed_map(item))  # refuses lone surrogates
        except (TypeError, ArithmeticError, RecursionError, RecordError) as error:
            raise _refused(path, place, error) from None
        items.append(item)
    return items


def _refused(path: str, place: str, error: Exception) -> ConfigError:
    if isinstance(error, ArithmeticError):  # decimal names its signals only
        return ConfigError(
            f"{path}: {place}: DynamoDB cannot hold it: a number has more than 38 digits, or is "
            "beyond 9.99E+125 or 1E-130"
        )
    return ConfigError(f"{path}: {place}: DynamoDB cannot hold it: {error}")
