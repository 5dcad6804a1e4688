"""The read capacity that DynamoDB would have charged for an answer, and how it reports that.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
"""

from typing import Any, Final

_UNIT_BYTES: Final = 4096
_EVENTUAL: Final = 0.5  # of a unit
KINDS: Final = (None, "NONE", "TOTAL", "INDEXES")


def units(size: int) -> float:
    """Return the units of an eventually consistent read of this many bytes; of none as of one."""
    return max(1, -(-size // _UNIT_BYTES)) * _EVENTUAL


def consumed(kind: str | None, table: str, charged: float, index: str | None = None) -> Any:
    """Return `ConsumedCapacity`; None if it is not asked for.

    Args:
        kind: ReturnConsumedCapacity of the request.
        table: the table, as the request names it.
        charged: units.
        index: the index that was read; None for the table.
    """
    if kind in (None, "NONE"):
        return None
    report: dict[str, Any] = {"TableName": table, "CapacityUnits": charged}
    if kind == "INDEXES":
        report["Table"] = {"CapacityUnits": 0.0 if index else charged}
        if index:
            report["GlobalSecondaryIndexes"] = {index: {"CapacityUnits": charged}}
    return report
