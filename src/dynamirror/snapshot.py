"""Reading a whole table while it is written to: scan segments, page by page, as rows."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from threading import Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from dynamirror.attributes import Item
from dynamirror.aws import aws_errors
from dynamirror.rows import CONSISTENT_MARGIN, EVENTUAL_MARGIN, Horizon, on_the_wire
from dynamirror.version import RowVersion

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

# DynamoDB's limit, https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Scan.html.
MOST_SEGMENTS = 1_000_000


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a table: DynamoDB spreads partition keys evenly over them.

    Args:
        index: which one, from 0.
        of: how many there are.
    """

    index: int
    of: int


@dataclass(frozen=True, slots=True)
class Page:
    """What one Scan gave.

    Args:
        items: as boto3 gives them; may be none.
        version: the horizon of the page.
        next: where the next page begins; None after the last.
        units: read units it consumed.
    """

    items: list[Item]
    version: RowVersion
    next: Item | None
    units: float


class Rate:
    """Keeps the read units that are spent, by all threads together, below a number a second.

    Args:
        units: a second; None for no limit.
        clock: monotonic seconds.
        wait: waits that many seconds.
    """

    def __init__(
        self,
        units: float | None,
        *,
        clock: Callable[[], float] = monotonic,
        wait: Callable[[float], object] = sleep,
    ) -> None:
        self._units = units
        self._clock = clock
        self._wait = wait
        self._lock = Lock()
        self._paid_until = clock()

    def spend(self, units: float) -> None:
        """Wait until what was spent, these units included, is within the limit."""
        if self._units is None:
            return
        with self._lock:
            now = self._clock()
            self._paid_until = max(self._paid_until, now) + units / self._units
            seconds = self._paid_until - now
        self._wait(seconds)


class Scan:
    """Scans one table; safe for use by several threads at once.

    Args:
        client: boto3's dynamodb client.
        table: the table's name.
        consistent: whether reads are strongly consistent, for twice the read units.
        margin: seconds that horizons lie behind DynamoDB's clock; default as reads need.
        attributes: all that is needed of an item; None for the whole of it.
        rate: limits the read units.
        limit: items of one page at the most; default what DynamoDB gives, 1 MB.
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
        self._horizon = Horizon(client, table, margin)
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

    def horizon(self) -> RowVersion:
        """The horizon of a read that begins now.

        Raises:
            SourceError: the table cannot be described.
        """
        return self._horizon.ask()

    def pages(self, segment: Segment, start: Item | None = None) -> Iterator[Page]:
        """Read a segment, page by page.

        Args:
            segment: which.
            start: where to begin, as an earlier page told; None for the beginning.

        Raises:
            SourceError: it cannot be read.
        """
        options = self._options
        if segment.of > 1:
            options = options | {"Segment": segment.index, "TotalSegments": segment.of}
        while True:
            version = self._horizon.before()
            begin = {} if start is None else {"ExclusiveStartKey": on_the_wire(start)}
            with aws_errors(f"table {self._table}"):
                answer: Any = self._client.scan(**options, **begin)
                items = answer["Items"]
            self._horizon.note(answer)
            units = float(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0))
            start = answer.get("LastEvaluatedKey")
            yield Page(items, version, start, units)
            if start is None:
                return
            self._rate.spend(units)


def scan_table(client: "DynamoDBClient", table: str) -> Iterator[Item]:
    """Read every item, consistently.

    Raises:
        SourceError: the table cannot be read.
    """
    for page in Scan(client, table).pages(Segment(0, 1)):
        yield from page.items
