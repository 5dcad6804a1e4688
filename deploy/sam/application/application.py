"""Return an order from the mirror."""

from functools import cache
from typing import Any

from dynamirror import Reader


@cache
def _reader() -> Reader:
    return Reader.from_env()


def handler(event: dict[str, str], _context: object) -> dict[str, Any]:
    """Return the order of a customer; an empty object if there is none.

    Args:
        event: `customer` and `order`.
    """
    key = {"customer": event["customer"], "order": event["order"]}
    item = _reader().get_item(Key=key).get("Item", {})
    return {name: str(value) for name, value in item.items()}
