"""Reads items by primary key as snapshot rows, each with its as-of time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import islice
from time import sleep
from typing import TYPE_CHECKING, Any

from dynamirror.dynamodb.client import aws_errors
from dynamirror.errors import SourceError
from dynamirror.records.attribute_value import Item
from dynamirror.records.chunks import MOST_BYTES, weight
from dynamirror.records.version import SnapshotVersion

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
from dynamirror.dynamodb.keys import _Identity, identity, on_the_wire
from dynamirror.dynamodb.rate import Rate

# How far behind DynamoDB's clock an as-of time lies. A consistent read contains every change that
# was acknowledged before it. The margin covers the clocks of DynamoDB's own machines, and that
# ApproximateCreationDateTime is approximate and rounded to the second.
CONSISTENT_MARGIN = 10


# An eventually consistent read may lack what was acknowledged shortly before.
EVENTUAL_MARGIN = 60


# What BatchGetItem takes at the most.
_KEYS_AT_ONCE = 100


# Nothing is known of the items' sizes yet.
_KEYS_AT_FIRST = 25


# So long may reads take between two checkpoints, if a rate limits them. A mean item hides a large
# one: of 400 KB, they take a hundred times as long.
_SECONDS_AT_ONCE = 5.0


_SHORTEST_PAUSE = 0.05


_LONGEST_PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """An item of the table, or its absence, as of a time.

    Args:
        key: the primary key.
        item: the item, None if there is none.
        version: as-of time of the read.
    """

    key: Item
    item: Item | None
    version: SnapshotVersion


class AsOfClock:
    """DynamoDB's own time, from its last answer, less a margin.

    An answer from before a read carries a time at or before the start of the read, so
    `at_read_start` is never too late.

    Args:
        client: boto3's dynamodb client.
        table: the table's name.
        margin: seconds to subtract.
    """

    def __init__(self, client: "DynamoDBClient", table: str, margin: int) -> None:
        self._client = client
        self._table = table
        self.margin = margin
        self._last: SnapshotVersion | None = None

    def request(self) -> SnapshotVersion:
        """Return the as-of time of a read that begins now, from a request to DynamoDB.

        Raises:
            SourceError: the table cannot be described.
        """
        with aws_errors(f"table {self._table}"):
            response = self._client.describe_table(TableName=self._table)
        return self.observe(response)

    def at_read_start(self) -> SnapshotVersion:
        """Return the as-of time of a read that begins now; DynamoDB is asked at most once."""
        return self._last or self.request()

    def observe(self, response: Any) -> SnapshotVersion:
        """Read the time in an answer; returns the as-of time.

        Raises:
            SourceError: the answer has no time.
        """
        try:
            date = response["ResponseMetadata"]["HTTPHeaders"]["date"]
            seconds = int(parsedate_to_datetime(date).timestamp())
        except (KeyError, TypeError, ValueError):
            raise SourceError(
                "DynamoDB's answer has no Date header, so that no snapshot row can be dated"
            ) from None
        self._last = SnapshotVersion(seconds - self.margin)
        return self._last


class SnapshotReader:
    """Reads items of one table by their primary keys.

    Args:
        client: boto3's dynamodb client.
        table: the table's name.
        margin: seconds that as-of times of consistent reads lie behind DynamoDB's clock; None for
            the default.
        rate: the limit of the read units of `read_many`; None for no limit.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        *,
        margin: int | None = None,
        rate: Rate | None = None,
    ) -> None:
        self._client = client
        self._table = table
        self._rate = rate or Rate(None)
        self._at_once = _KEYS_AT_FIRST
        # Of an item, as far as reads have shown.
        self._units = 1.0
        self._as_of_clock = AsOfClock(
            client, table, CONSISTENT_MARGIN if margin is None else margin
        )

    def as_of(self) -> SnapshotVersion:
        """Return the as-of time of a read that begins now, from a request to DynamoDB.

        Raises:
            SourceError: the table cannot be described.
        """
        return self._as_of_clock.request()

    def most_at_once(self, seconds: float = _SECONDS_AT_ONCE) -> int | None:
        """Return how many items may be read in a time within the rate; None for any number.

        Args:
            seconds: the time; the default is for what lies between two checkpoints.
        """
        return self._rate.most(None, self._units, seconds=seconds)

    def read(self, key: Item) -> SnapshotRow:
        """Read one item, consistently.

        Args:
            key: its primary key; binary as bytes or base64 text.

        Raises:
            SourceError: the item cannot be read.
        """
        before = self._as_of_clock.at_read_start()
        with aws_errors(f"table {self._table}"):
            answer = self._client.get_item(
                TableName=self._table, Key=on_the_wire(key), ConsistentRead=True
            )
            if "Item" not in answer and _length(answer) != len("{}"):
                raise KeyError("Item")  # there was something, and it cannot be read
        self._as_of_clock.observe(answer)
        return SnapshotRow(key, answer.get("Item"), before)

    def read_many(self, keys: Iterable[Item], *, consistent: bool = True) -> Iterator[SnapshotRow]:
        """Read items, up to a hundred at a time and fewer if they are large; each key once.

        Yields rows as they are read; memory holds those of one answer.

        Args:
            keys: primary keys; binary as bytes or base64 text.
            consistent: whether reads are strongly consistent, at twice the read units. Rows of
                other reads are older than their versions, so only compare them.

        Raises:
            SourceError: the items cannot be read.
        """
        waiting = {identity(key): key for key in keys}
        pause = 0.0
        while waiting:
            if pause:
                sleep(pause)
            before = self._as_of_clock.at_read_start()
            chunk = dict(islice(waiting.items(), self._rate.most(self._at_once, self._units)))
            found, left = self._read_some(list(chunk.values()), consistent=consistent)
            pause = (min(2 * pause, _LONGEST_PAUSE) or _SHORTEST_PAUSE) if left else 0.0
            for name, key in chunk.items():
                if name not in left:
                    del waiting[name]
                    yield SnapshotRow(key, found.pop(name, None), before)

    def _read_some(
        self, keys: list[Item], *, consistent: bool
    ) -> tuple[dict[_Identity, Item], set[_Identity]]:
        """Return the items found, and the keys that DynamoDB did not process."""
        asked: Any = {
            self._table: {"Keys": list(map(on_the_wire, keys)), "ConsistentRead": consistent},
        }
        self._rate.begin(expected := len(keys) * self._units)
        with aws_errors(f"table {self._table}"):
            answer: Any = self._client.batch_get_item(
                RequestItems=asked, ReturnConsumedCapacity="TOTAL"
            )
            items = answer["Responses"].get(self._table, [])
            left = answer["UnprocessedKeys"].get(self._table, {}).get("Keys", [])
        used = answer.get("ConsumedCapacity", ())
        units = sum(float(one.get("CapacityUnits", 0)) for one in used)
        self._rate.end(units, expected)
        self._units = units / len(keys) or self._units
        self._as_of_clock.observe(answer)
        if items:
            fitting = MOST_BYTES * len(items) // sum(map(weight, items))
            self._at_once = max(1, min(fitting, _KEYS_AT_ONCE))
        found = {identity({name: item[name] for name in keys[0]}): item for item in items}
        return found, set(map(identity, left))


def _length(response: Any) -> int:
    nothing = len("{}")
    return int(response["ResponseMetadata"]["HTTPHeaders"].get("content-length", nothing))
