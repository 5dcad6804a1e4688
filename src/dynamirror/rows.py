"""Rows: items read from the table itself, with the horizon they were read at."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from dynamirror.attributes import Item
from dynamirror.aws import aws_errors
from dynamirror.errors import SourceError
from dynamirror.version import RowVersion

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

# How far behind DynamoDB's clock a horizon lies. A consistent read holds every change that was
# acknowledged before it; the margin covers the clocks of DynamoDB's own machines, and that
# ApproximateCreationDateTime is approximate and rounded to the second.
CONSISTENT_MARGIN = 10


@dataclass(frozen=True, slots=True)
class Row:
    """What was found at a primary key.

    Args:
        key: the primary key.
        item: the item, None if there is none.
        version: the horizon it was read at.
    """

    key: Item
    item: Item | None
    version: RowVersion


class RowReader:
    """Reads items of one table, one by one and consistently.

    Args:
        client: boto3's dynamodb client.
        table: the table's name.
    """

    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table
        self._horizon: RowVersion | None = None

    def horizon(self) -> RowVersion:
        """The horizon of a read that begins now: DynamoDB is asked for the time.

        Raises:
            SourceError: the table cannot be described.
        """
        with aws_errors(f"table {self._table}"):
            response = self._client.describe_table(TableName=self._table)
        self._horizon = _horizon(response)
        return self._horizon

    def read(self, key: Item) -> Row:
        """Read one item.

        Args:
            key: its primary key; binary as bytes or base64 text.

        Raises:
            SourceError: the item cannot be read.
        """
        # An answer that came before the read began tells the time of its beginning, or earlier.
        before = self._horizon or self.horizon()
        wire: Any = {name: _blob(value) for name, value in key.items()}
        with aws_errors(f"table {self._table}"):
            answer = self._client.get_item(TableName=self._table, Key=wire, ConsistentRead=True)
            if "Item" not in answer and _length(answer) != len("{}"):
                raise KeyError("Item")  # there was something, and it cannot be read
        self._horizon = _horizon(answer)
        return Row(key, answer.get("Item"), before)


def _length(response: Any) -> int:
    nothing = len("{}")
    return int(response["ResponseMetadata"]["HTTPHeaders"].get("content-length", nothing))


def _horizon(response: Any) -> RowVersion:
    try:
        date = response["ResponseMetadata"]["HTTPHeaders"]["date"]
        seconds = int(parsedate_to_datetime(date).timestamp())
    except (KeyError, TypeError, ValueError):
        raise SourceError("DynamoDB's answer tells no time, so that no row can be dated") from None
    return RowVersion(seconds - CONSISTENT_MARGIN)


def _blob(value: Mapping[str, Any]) -> Mapping[str, Any]:
    match value:
        case {"B": str(text)}:
            return {"B": b64decode(text)}
        case _:
            return value
