"""Items of a file, to fill a table with."""

import csv
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from boto3.dynamodb.types import TypeSerializer

from dynamirror.errors import ConfigError

Row = Mapping[str, Any]


def load_items(path: str, key: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of a .json or .csv file as items whose primary key is `id`.

    JSON is an array of objects, or an object of objects. The id is the attribute `id` if every row
    has one, else the name of each object, else the first attribute that differs in all rows.

    Args:
        path: path of the file.
        key: the attribute to take the id from; None for the rule above.

    Returns:
        Items in DynamoDB JSON.

    Raises:
        ConfigError: the file cannot be read or has another form, or no attribute identifies a row.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows: Any = list(csv.DictReader(file)) if path.endswith(".csv") else _json(file.read())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply") from None
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"{path}: is not JSON or CSV in UTF-8: {error}") from None
    names: Sequence[str] | None = None
    if isinstance(rows, dict):
        names, rows = list(rows), list(rows.values())
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path}: must be an array of objects or an object of objects")
    if not rows:
        raise ConfigError(f"{path}: holds no rows")
    serialize = TypeSerializer().serialize
    items = []
    for number, (row, row_id) in enumerate(zip(rows, _ids(path, rows, names, key), strict=True), 1):
        if None in row:  # the csv module puts surplus fields there
            raise ConfigError(f"{path}: row {number}: has more fields than the header")
        try:
            items.append({name: serialize(value) for name, value in {**row, "id": row_id}.items()})
        except (TypeError, ArithmeticError, RecursionError) as error:
            raise ConfigError(f"{path}: row {number}: DynamoDB cannot hold it: {error}") from None
    return items


def _json(text: str) -> Any:
    # Numbers stay exact.
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def _ids(
    path: str, rows: Sequence[Row], names: Sequence[str] | None, key: str | None
) -> Sequence[str]:
    if key is not None:
        ids = _identifying(rows, key)
        if ids is None:
            raise ConfigError(f"{path}: {key!r} is not in every row, or not different in each")
        return ids
    if (ids := _identifying(rows, "id")) is not None:
        return ids
    if names is not None:
        return names
    for name in rows[0]:
        if (ids := _identifying(rows, name)) is not None:
            return ids
    raise ConfigError(f"{path}: no attribute differs in all rows; name one with --key")


def _identifying(rows: Sequence[Row], name: str) -> list[str] | None:
    values = [row.get(name) for row in rows]
    if not all(isinstance(value, str | Decimal) and str(value) for value in values):
        return None
    ids = [str(value) for value in values]
    return ids if len(set(ids)) == len(ids) else None
