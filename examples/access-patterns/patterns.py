"""Five access patterns of a shop, read from the mirror."""

from typing import Any

from boto3.dynamodb.conditions import Key

from dynamirror import Reader


class Patterns:
    """Reads orders and products.

    Args:
        orders: reads the view `orders` and the indexes of its table.
        products: reads the view `products` and the indexes of its table.
        valkey: any client of the cache.
    """

    def __init__(self, orders: Reader, products: Reader, valkey: Any) -> None:
        self._orders, self._products, self._valkey = orders, products, valkey

    def newest_orders(self, customer: str, count: int) -> list[str]:
        """Return the newest orders of a customer."""
        answer = self._orders.query(
            IndexName="by-customer",
            KeyConditionExpression=Key("customer").eq(customer),
            ScanIndexForward=False,
            Limit=count,
        )
        return [order["id"] for order in answer["Items"]]

    def open_orders(self, warehouse: str, before: int) -> list[str]:
        """Return the orders that a warehouse should have sent before a time, the oldest first."""
        answer = self._orders.query(
            IndexName="open-orders",
            KeyConditionExpression=Key("waiting").eq(warehouse) & Key("created").lt(before),
        )
        return [order["id"] for order in answer["Items"]]

    def orders_between(self, begin: int, end: int) -> list[str]:
        """Return all orders of a time window, whoever placed them."""
        key = "orders:orders-by-time:{orders-by-time}:%%"
        return [member.decode() for member in self._valkey.zrangebyscore(key, begin, end)]

    def product_of(self, barcode: str) -> str | None:
        """Return the name of the product with a barcode."""
        answer = self._products.query(
            IndexName="by-barcode", KeyConditionExpression=Key("barcode").eq(barcode)
        )
        return next((product["name"] for product in answer["Items"]), None)

    def bestsellers(self, category: str, count: int) -> list[tuple[str, float]]:
        """Return the products of a category that sell best, with the number sold."""
        key = f"products:bestsellers:{{{category}}}:%%"
        found = self._valkey.zrevrange(key, 0, count - 1, withscores=True)
        return [(member.decode(), sold) for member, sold in found]

    def rank_of(self, category: str, sku: str) -> int | None:
        """Return the place of a product in its category; 0 is the first."""
        rank: int | None = self._valkey.zrevrank(f"products:bestsellers:{{{category}}}:%%", sku)
        return rank
