"""Reads items with `GetItem` alone, which is all that the judge may do."""

from collections.abc import Callable, Iterator, Sequence

from dynamirror.dynamodb.client import Aws, aws_errors
from dynamirror.dynamodb.items import CONSISTENT_MARGIN, AsOfClock, SnapshotRow
from dynamirror.dynamodb.keys import on_the_wire
from dynamirror.inspection.settling import ReadTable
from dynamirror.records.attribute_value import Item
from dynamirror.records.version import SnapshotVersion


def item_reader(aws: Callable[[], Aws], table: str) -> ReadTable:
    """Return a function that reads items consistently.

    The client is created at the first read, since most invocations read nothing.

    Args:
        aws: returns what creates the client.
        table: name of the table.
    """
    readers: list[_Reader] = []

    def read(keys: Sequence[Item]) -> Iterator[SnapshotRow]:
        if not readers:
            readers.append(_Reader(aws(), table))
        return readers[0].read(keys)

    return read


class _Reader:
    def __init__(self, aws: Aws, table: str) -> None:
        self._client = aws.dynamodb()
        self._table = table
        self._clock = AsOfClock(self._client, table, CONSISTENT_MARGIN)
        self._before = SnapshotVersion(0)

    def read(self, keys: Sequence[Item]) -> Iterator[SnapshotRow]:
        """Yield the rows of keys, each with the time of the answer before.

        The first answer has none before it: its row is read once more.
        """
        for key in keys:
            if not self._before.as_of:
                self._get(key)
            before = self._before
            yield SnapshotRow(key, self._get(key), before)

    def _get(self, key: Item) -> Item | None:
        with aws_errors(f"table {self._table}"):
            answer = self._client.get_item(
                TableName=self._table, Key=on_the_wire(key), ConsistentRead=True
            )
        self._before = self._clock.observe(answer)
        item: Item | None = answer.get("Item")
        return item
