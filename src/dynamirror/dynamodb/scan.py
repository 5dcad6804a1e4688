"""Scans of a table, page by page, while it is written to."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dynamirror.dynamodb.client import aws_errors
from dynamirror.dynamodb.items import CONSISTENT_MARGIN, EVENTUAL_MARGIN, AsOfClock
from dynamirror.dynamodb.keys import on_the_wire
from dynamirror.dynamodb.rate import Rate as Rate  # noqa: PLC0414 - scans take it
from dynamirror.records.attribute_value import Item
from dynamirror.records.version import SnapshotVersion

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

# DynamoDB's limit, https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Scan.html.
MOST_SEGMENTS = 1_000_000
# What a page of 1 MB takes; an eventually consistent one half of it.
_PAGE_UNITS = 256.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a table; DynamoDB spreads partition keys evenly over the segments.

    Args:
        index: the number of the segment, from 0.
        of: the number of segments.
    """

    index: int
    of: int


@dataclass(frozen=True, slots=True)
class ScanPage:
    """The result of one Scan call.

    Args:
        items: items in DynamoDB JSON, as boto3 returns them; may be empty.
        version: the as-of time of the items.
        next: the start key of the next page; None after the last.
        units: consumed read units.
    """

    items: list[Item]
    version: SnapshotVersion
    next: Item | None
    units: float


class Scan:
    """Scans one table; safe for use by several threads at once.

    Args:
        client: boto3's dynamodb client.
        table: the table's name.
        consistent: whether reads are strongly consistent, at twice the read units.
        margin: seconds that as-of times are behind DynamoDB's clock; None for the necessary margin.
        attributes: names of the attributes to read; None for all.
        rate: the limit of the read units; None for no limit.
        limit: the most items of one page; None for 1 MB, DynamoDB's own limit.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        *,
        consistent: bool = True,
        margin: int | None = None,
        attributes: Collection[str] | None = None,
        rate: Rate | None = None,
        limit: int | None = None,
    ) -> None:
        self._client = client
        self._table = table
        if margin is None:
            margin = CONSISTENT_MARGIN if consistent else EVENTUAL_MARGIN
        self._horizon = AsOfClock(client, table, margin)
        self._rate = rate or Rate(None)
        self._limit = limit
        self._page_units = _PAGE_UNITS if consistent else _PAGE_UNITS / 2
        self._least_units = 1.0 if consistent else 0.5
        # Of an item, as far as pages have shown.
        self._units = 1.0
        self._options: dict[str, Any] = {
            "TableName": table,
            "ConsistentRead": consistent,
            "ReturnConsumedCapacity": "TOTAL",
        }
        if attributes is not None:
            names = {f"#a{index}": name for index, name in enumerate(sorted(attributes))}
            self._options["ExpressionAttributeNames"] = names
            self._options["ProjectionExpression"] = ", ".join(names)

    def as_of(self) -> SnapshotVersion:
        """Return the as-of time of a read that begins now.

        Raises:
            SourceError: the table cannot be described.
        """
        return self._horizon.request()

    def pages(self, segment: Segment, start: Item | None = None) -> Iterator[ScanPage]:
        """Yield the pages of a segment.

        Args:
            segment: the segment.
            start: `next` of an earlier page; None for the beginning.

        Raises:
            SourceError: the table cannot be read.
        """
        options = self._options
        if segment.of > 1:
            options = options | {"Segment": segment.index, "TotalSegments": segment.of}
        while True:
            limit = self._rate.most(self._limit, self._units)
            if limit is not None:
                options = options | {"Limit": limit}
                self._rate.begin(expected := min(limit * self._units, self._page_units))
            version = self._horizon.at_read_start()
            begin = {} if start is None else {"ExclusiveStartKey": on_the_wire(start)}
            with aws_errors(f"table {self._table}"):
                answer: Any = self._client.scan(**options, **begin)
                items = answer["Items"]
            self._horizon.observe(answer)
            units = float(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0))
            if limit is not None:
                self._rate.end(units, expected)
            if items and units:
                # A page that takes the least units may have taken a fraction: the next is larger.
                self._units = (units / 2 if units <= self._least_units else units) / len(items)
            start = answer.get("LastEvaluatedKey")
            yield ScanPage(items, version, start, units)
            if start is None:
                return


def scan_table(client: "DynamoDBClient", table: str) -> Iterator[Item]:
    """Yield every item, read consistently.

    Raises:
        SourceError: the table cannot be read.
    """
    for page in Scan(client, table).pages(Segment(0, 1)):
        yield from page.items
