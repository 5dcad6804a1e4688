"""A shop on one table: it writes to DynamoDB, and reads from the mirror."""

from collections.abc import Mapping
from typing import Any

from boto3.dynamodb.conditions import Key

from dynamirror import Reader


class Shop:
    """Keeps users, orders and their lines.

    Args:
        table: boto3's resource of the table.
        users: reads the view `users`.
        lines: reads the view `order lines`.
    """

    def __init__(self, table: Any, users: Reader, lines: Reader) -> None:
        self._table, self._users, self._lines = table, users, lines

    def register(self, user: str, name: str) -> None:
        """Write the profile of a user."""
        self._table.put_item(Item={"PK": f"USER#{user}", "SK": "PROFILE", "name": name})

    def place(self, user: str, order: str, quantities: Mapping[str, int]) -> None:
        """Write an order, with a line for each product."""
        with self._table.batch_writer() as batch:
            batch.put_item({"PK": f"USER#{user}", "SK": f"ORDER#{order}", "status": "placed"})
            for number, (product, quantity) in enumerate(quantities.items(), 1):
                key = {"PK": f"ORDER#{order}", "SK": f"LINE#{number:03}"}
                batch.put_item({**key, "product": product, "quantity": quantity})

    def deliver(self, user: str, order: str) -> None:
        """Mark an order as delivered."""
        self._table.update_item(
            Key={"PK": f"USER#{user}", "SK": f"ORDER#{order}"},
            UpdateExpression="SET #status = :delivered",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":delivered": "delivered"},
        )

    def name_of(self, user: str) -> str | None:
        """Return the name of a user, or None if there is no such user."""
        answer = self._users.get_item(Key={"PK": f"USER#{user}", "SK": "PROFILE"})
        return answer["Item"]["name"] if "Item" in answer else None

    def products_of(self, order: str) -> list[str]:
        """Return the products of an order, in the order of its lines."""
        answer = self._lines.query(KeyConditionExpression=Key("PK").eq(f"ORDER#{order}"))
        return [line["name"] for line in answer["Items"]]
