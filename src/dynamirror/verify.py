"""Comparing the whole table with the whole cache."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from dynamirror.attributes import Item, utf8
from dynamirror.aws import aws_errors
from dynamirror.cache import Cache, Failure
from dynamirror.encoding import Layout, pack_fields
from dynamirror.entry import Put, of_row
from dynamirror.errors import CacheError, RecordError
from dynamirror.key import RESERVED, glob
from dynamirror.scripts import Command
from dynamirror.version import RowVersion
from dynamirror.view import View

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_READ_AT_ONCE = 500
_SAMPLE = 10
_ROW = RowVersion(0)  # only compared, never written


@dataclass(slots=True)
class Comparison:
    """How table and cache differ.

    Args:
        items: items in the table.
        entries: entries that the views' keys fit, in the cache.
        missing: entries that should be in the cache and are not.
        different: entries with another value than the item's.
        left_over: entries whose items are not in the table.
        unmappable: items that cannot become entries in a view (they are quarantined).
        sample: some keys of each kind, to look at.
    """

    items: int = 0
    entries: int = 0
    missing: int = 0
    different: int = 0
    left_over: int = 0
    unmappable: int = 0
    sample: dict[str, list[str]] = field(default_factory=dict)

    @property
    def differences(self) -> int:
        """How many entries are not as the table says; 0 for a true mirror."""
        return self.missing + self.different + self.left_over

    def found(self, kind: str, key: str) -> None:
        """Note one difference."""
        setattr(self, kind, getattr(self, kind) + 1)
        keys = self.sample.setdefault(kind, [])
        if len(keys) < _SAMPLE:
            keys.append(key)


def scan_table(client: "DynamoDBClient", table: str) -> Iterator[Item]:
    """Read every item, consistently.

    Raises:
        SourceError: the table cannot be read.
    """
    start: dict[str, Any] = {}
    while True:
        with aws_errors(f"table {table}"):
            page = client.scan(TableName=table, ConsistentRead=True, **start)
            items = page["Items"]
        yield from items
        if "LastEvaluatedKey" not in page:
            return
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def compare(items: Iterable[Item], cache: Cache, views: Iterable[View]) -> Comparison:
    """Compare a table's items with the cache, in both directions. Nothing may be in flight.

    Args:
        items: all items of the table.
        cache: the cache.
        views: all views of the table.

    Raises:
        CacheError: the cache cannot be read.
        SourceError: the table cannot be read.
    """
    result = Comparison()
    views = tuple(views)
    expected: set[bytes] = set()
    puts = _puts(items, views, result)
    while chunk := list(islice(puts, _READ_AT_ONCE)):
        answers = cache.execute([read_command(key, put.view) for put, key, _ in chunk])
        for (put, key, value), answer in zip(chunk, answers, strict=True):
            expected.add(key)
            if isinstance(answer, Failure) and not answer.reason.startswith("WRONGTYPE"):
                raise CacheError(f"{cache}: {answer.reason}")
            if kind := _difference(answer, put.view, value):
                result.found(kind, put.key)
    for view in views:
        for key in set(cache.scan(glob(view.template.prefix) + "*")):
            text = key.decode(errors="replace")
            if not text.startswith(RESERVED) and view.template.matches(text):
                result.entries += 1
                if key not in expected:
                    result.found("left_over", text)
    return result


def _difference(answer: Any, view: View, value: bytes) -> str | None:
    if isinstance(answer, Failure):
        return "different"  # a string where a hash belongs, or the like
    if answer is None or answer == []:  # an empty text is a value
        return "missing"
    return None if stored_value(answer, view) == value else "different"


def _puts(
    items: Iterable[Item], views: tuple[View, ...], result: Comparison
) -> Iterator[tuple[Put, bytes, bytes]]:
    """What entries the items should have: entry, key and value."""
    for item in items:
        result.items += 1
        for view in views:
            try:
                put = of_row(view, item, item, _ROW)
                value = view.encoding.encode(item)
                if isinstance(put, Put) and value is not None:
                    yield put, utf8(put.key), value
            except RecordError as error:
                result.found("unmappable", str(error))


def read_command(key: bytes, view: View) -> Command:
    """The command that reads an entry of a view."""
    word = b"HGETALL" if view.encoding.layout is Layout.HASH else b"GET"
    return Command(key, (word, key))


def stored_value(answer: Any, view: View) -> bytes:
    """What was read, in the form that the view's encoding makes of an item."""
    if view.encoding.layout is Layout.HASH:
        return pack_fields(dict(zip(answer[::2], answer[1::2], strict=True)))
    return bytes(answer)
