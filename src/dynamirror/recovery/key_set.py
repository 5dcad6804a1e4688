"""A set of keys on disk, so that memory does not grow with the table."""

import sqlite3
from collections.abc import Iterable
from hashlib import blake2b
from typing import Self

from dynamirror.records.attribute_value import utf8


class KeySet:
    """Holds keys by digest, in a temporary file that SQLite deletes at the end."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("CREATE TABLE keys (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def add(self, keys: Iterable[str]) -> None:
        """Add keys."""
        rows = [(_digest(key),) for key in keys]
        self._db.executemany("INSERT OR IGNORE INTO keys VALUES (?)", rows)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return those of the keys that are not in the set, in their order."""
        query = "SELECT 1 FROM keys WHERE digest = ?"
        return [key for key in keys if not self._db.execute(query, (_digest(key),)).fetchone()]

    def close(self) -> None:
        """Delete the file."""
        self._db.close()


def _digest(key: str) -> bytes:
    return blake2b(utf8(key), digest_size=16).digest()
