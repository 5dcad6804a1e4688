"""The changes simulator: random upserts and deletes of a table's items."""

import json
import logging
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from dynamirror.dynamodb.client import Aws, aws_errors
from dynamirror.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

logger = logging.getLogger("dynamirror")

IDS = 100
# The key attributes of the tables that it can write to, and their types.
KEY = (("id",), ("S",))
_NAMES = ("Alice", "Bob", "Charlie", "David", "Eve", "Frank", "Grace", "Henry")
_ACTIONS: tuple[Literal["upsert", "delete"], ...] = ("upsert", "upsert", "delete")
_DEFAULT_COUNT = 10


@dataclass(frozen=True, slots=True)
class Operation:
    """One write to a table.

    Args:
        action: upsert (2 of 3) or delete (1 of 3).
        id: the item's id, from "1" on.
        name: for an upsert, the item's name.
        timestamp: for an upsert, when it was generated, in ISO 8601.
    """

    action: Literal["upsert", "delete"]
    id: str
    name: str | None = None
    timestamp: str | None = None

    @property
    def item(self) -> dict[str, Any] | None:
        """The item to put, in DynamoDB JSON; None for a delete."""
        if self.action == "delete":
            return None
        return {
            "id": {"S": self.id},
            "name": {"S": self.name},
            "timestamp": {"S": self.timestamp},
        }


def _now() -> datetime:
    return datetime.now(UTC)


def operations(
    rng: random.Random, *, ids: int = IDS, now: Callable[[], datetime] = _now
) -> Iterator[Operation]:
    """Yield random operations without end.

    Args:
        rng: the random source.
        ids: the number of different ids, from "1" on.
        now: returns the time for the items' timestamps.
    """
    while True:
        action = rng.choice(_ACTIONS)
        item_id = str(rng.randint(1, ids))
        if action == "delete":
            yield Operation(action, item_id)
        else:
            stamp = now().isoformat(timespec="microseconds")
            yield Operation(action, item_id, rng.choice(_NAMES), stamp)


def write(client: "DynamoDBClient", table: str, operation: Operation) -> None:
    """Write one operation to a table.

    Raises:
        SourceError: DynamoDB refuses it.
    """
    with aws_errors(f"table {table}"):
        if operation.item is None:
            client.delete_item(TableName=table, Key={"id": {"S": operation.id}})
        else:
            client.put_item(TableName=table, Item=operation.item)


def simulate(
    client: "DynamoDBClient", table: str, count: int, rng: random.Random, *, ids: int = IDS
) -> dict[str, Any]:
    """Write random operations, and report the result of each.

    Returns:
        statusCode 200 (all succeeded), 207 (some) or 500 (none), and a JSON body with a summary
        and the operations.
    """
    results = []
    for operation, _ in zip(operations(rng, ids=ids), range(count), strict=False):
        result: dict[str, Any] = {k: v for k, v in asdict(operation).items() if v is not None}
        try:
            write(client, table, operation)
        except SourceError as error:
            results.append({**result, "status": "error", "error": str(error)})
        else:
            results.append({**result, "status": "success"})
    errors = sum(result["status"] == "error" for result in results)
    summary = {
        "totalOperations": count,
        "successCount": count - errors,
        "errorCount": errors,
    }
    status = 200 if not errors else 500 if errors == count else 207
    body = json.dumps({"summary": summary, "operations": results})
    return {"statusCode": status, "body": body}


def read_settings(env: Mapping[str, str]) -> tuple[str, int]:
    """Read DYNAMODB_TABLE and CHANGES_COUNT.

    Raises:
        ConfigError: one is missing or wrong.
    """
    table, count = env.get("DYNAMODB_TABLE", ""), env.get("CHANGES_COUNT", str(_DEFAULT_COUNT))
    if not table:
        raise ConfigError("environment: DYNAMODB_TABLE: is missing; set it to the table's name")
    if not count.isascii() or not count.isdigit() or int(count) < 1:
        raise ConfigError(
            f"environment: CHANGES_COUNT: must be a whole number from 1, not {count!r}"
        )
    return table, int(count)


@cache
def dynamodb_client() -> "DynamoDBClient":
    """Return the client of this process, kept from one invocation to the next."""
    return Aws().dynamodb()


def handler(_event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Write CHANGES_COUNT random operations to DYNAMODB_TABLE: Lambda's entry point."""
    table, count = read_settings(os.environ)
    return simulate(dynamodb_client(), table, count, random.Random())  # noqa: S311 - no secret
