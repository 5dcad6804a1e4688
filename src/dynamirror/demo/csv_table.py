"""Rows of CSV text, whose separator is found."""

import csv
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from typing import Any

from dynamirror.errors import ConfigError

# The csv module refuses more than 128 KiB by itself; an item of DynamoDB has up to 400 KB.
_MOST_LETTERS = 400 * 1024
_SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}


def csv_rows(path: str, text: str) -> list[dict[str, Any]]:
    """Return the rows of CSV text by the names of its first line.

    The separator is the one that divides the first line. If several do, it is the one by which all
    rows have as many fields as the first line.

    Args:
        path: the file's path, for messages.
        text: content of the file.

    Raises:
        ConfigError: the separator cannot be found, or the text is not a table.
    """
    try:
        if not text.strip():
            return []
        csv.field_size_limit(_MOST_LETTERS)
        names, *records = _records(text, _separator(path, text))
    except csv.Error as error:
        raise ConfigError(f"{path}: {error}") from None
    _check_header(path, names)
    for number, record in enumerate(records, 1):
        if len(record) != len(names):
            more = "more" if len(record) > len(names) else "fewer"
            raise ConfigError(f"{path}: row {number}: has {more} fields than the header")
    return [dict(zip(names, record, strict=True)) for record in records]


def _records(text: str, separator: str) -> Iterator[list[str]]:
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    row = 0
    try:
        for record in filter(None, reader):
            yield record
            row += 1
    except csv.Error as error:
        place = f"row {row}" if row else "the header"
        raise csv.Error(f"{place}: is not CSV: {error}") from None


def _header(text: str, separator: str) -> list[str]:
    """Return the names of the first line, or none if another separator divides it."""
    with suppress(csv.Error):
        return next(_records(text, separator))
    return []


def _separator(path: str, text: str) -> str:
    possible = [mark for mark in _SEPARATORS if len(_header(text, mark)) > 1]
    if len(possible) > 1:
        possible = [mark for mark in possible if _is_table(text, mark)] or possible
    match possible:
        case [separator]:
            return separator
        case []:
            (name,) = next(_records(text, ","))
            raise ConfigError(
                f"{path}: has one column, {name[:40]!r}; separate the columns by "
                f"{' or '.join(_SEPARATORS.values())}"
            )
    words = " or ".join(_SEPARATORS[mark] for mark in possible)
    raise ConfigError(f"{path}: its columns may be separated by {words}; quote the names")


def _is_table(text: str, separator: str) -> bool:
    try:
        names, *records = _records(text, separator)
    except csv.Error:
        return False
    return all(len(record) == len(names) for record in records)


def _check_header(path: str, names: list[str]) -> None:
    for number, name in enumerate(names, 1):
        if not name:
            raise ConfigError(f"{path}: column {number} has no name")
        if names.index(name) + 1 < number:
            raise ConfigError(f"{path}: two columns are called {name!r}")
