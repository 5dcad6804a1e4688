"""Scans of a table, page by page, while it is written to."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from dynamirror.dynamodb.client import aws_errors
from dynamirror.dynamodb.items import CONSISTENT_MARGIN, EVENTUAL_MARGIN, AsOfClock
from dynamirror.dynamodb.keys import on_the_wire
from dynamirror.records.attribute_value import Item
from dynamirror.records.version import SnapshotVersion

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

# DynamoDB's limit, https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Scan.html.
MOST_SEGMENTS = 1_000_000


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


@dataclass(slots=True)
class _Account:
    """What was consumed: the time until which it is paid for, on the limit's clock."""

    paid_until: float
    lock: Lock = field(default_factory=Lock)


class Rate:
    """Limits the read units that all threads together consume.

    Args:
        units: read units per second; None for no limit.
        clock: returns monotonic seconds.
        wait: waits a number of seconds.
        account: that of another limit, to consume from both as from one; None for a new one.
    """

    def __init__(
        self,
        units: float | None,
        *,
        clock: Callable[[], float] = monotonic,
        wait: Callable[[float], object] = sleep,
        account: _Account | None = None,
    ) -> None:
        self._units = units
        self._clock = clock
        self._wait = wait
        self._account = account or _Account(clock())

    def waiting_by(self, wait: Callable[[float], object]) -> "Rate":
        """Return the same limit, shared, for threads that wait in another way.

        Args:
            wait: waits a number of seconds.
        """
        return Rate(self._units, clock=self._clock, wait=wait, account=self._account)

    def spend(self, units: float) -> None:
        """Wait until the consumption, these units included, is within the limit."""
        if self._units is None:
            return
        account = self._account
        with account.lock:
            now = self._clock()
            account.paid_until = max(account.paid_until, now) + units / self._units
            seconds = account.paid_until - now
        self._wait(seconds)

    def pause(self, seconds: float) -> None:
        """Wait a number of seconds for another reason."""
        if seconds > 0:
            self._wait(seconds)


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
        self._options: dict[str, Any] = {
            "TableName": table,
            "ConsistentRead": consistent,
            "ReturnConsumedCapacity": "TOTAL",
        }
        if limit is not None:
            self._options["Limit"] = limit
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
            version = self._horizon.at_read_start()
            begin = {} if start is None else {"ExclusiveStartKey": on_the_wire(start)}
            with aws_errors(f"table {self._table}"):
                answer: Any = self._client.scan(**options, **begin)
                items = answer["Items"]
            self._horizon.observe(answer)
            units = float(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0))
            start = answer.get("LastEvaluatedKey")
            yield ScanPage(items, version, start, units)
            if start is None:
                return
            self._rate.spend(units)


def scan_table(client: "DynamoDBClient", table: str) -> Iterator[Item]:
    """Yield every item, read consistently.

    Raises:
        SourceError: the table cannot be read.
    """
    for page in Scan(client, table).pages(Segment(0, 1)):
        yield from page.items
