"""The calls of an attachment: which of them the cache answers, as steps without any I/O."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import Any, Final, NamedTuple, TypeAlias

from dynamirror.attachment.mirror_age import MirrorAge
from dynamirror.attachment.options import MinTime
from dynamirror.attachment.own_writes import OwnWrites, Write, writes_of
from dynamirror.attachment.tables import Tables, table_name
from dynamirror.reader import wire
from dynamirror.reader.mirrors import MirroredTable, Mirrors
from dynamirror.reader.steps import PassedOn, Reason, Steps
from dynamirror.records.attribute_value import Item

Body: TypeAlias = Mapping[str, Any]

# Reasons for which a call is passed on before the cache is read.
BEHIND: Final = "behind"
OWN_WRITE: Final = "own-write"
OPERATION: Final = "operation"

READS: Final = frozenset({"BatchGetItem", "GetItem", "Query"})
# Reads that no mirror answers, which are counted.
PASSED_ON: Final = frozenset({"Scan", "TransactGetItems"})
WRITES: Final = frozenset(
    {"BatchWriteItem", "DeleteItem", "PutItem", "TransactWriteItems", "UpdateItem"}
)
# Calls in PartiQL, which may write any item.
STATEMENTS: Final = frozenset({"BatchExecuteStatement", "ExecuteStatement", "ExecuteTransaction"})


class Answered(NamedTuple):
    """The outcome where the cache answers the whole call.

    Args:
        body: the answer on the wire.
    """

    body: Body


class Partly(NamedTuple):
    """The outcome where the table is asked for a part.

    Args:
        partial: what the cache answered.
        body: the request for the rest.
    """

    partial: wire.PartialBatch
    body: Body


class TablePart(NamedTuple):
    """The outcome where the table answers the call.

    Args:
        reason: why; empty if the attachment is not for the table.
    """

    reason: str


Outcome: TypeAlias = Answered | Partly | TablePart


class Calls:
    """Decides each call.

    Args:
        tables: finds the mirrors.
        max_age: seconds that a mirror may be behind; None for any.
        own_writes: remembers the writes of the client; None for none.
    """

    def __init__(
        self, tables: Tables, *, max_age: float | None = None, own_writes: OwnWrites | None = None
    ) -> None:
        self.tables = tables
        self._max_age = max_age
        self.own_writes = own_writes
        self._ages: dict[str, MirrorAge] = {}

    def read(self, operation: str, body: Body) -> Steps[Outcome]:
        """Decide a read.

        Args:
            operation: the operation's name.
            body: the request on the wire.
        """
        named = tables_of(body)
        if not any(map(self.tables.concerns, named)):
            return TablePart("")
        if operation not in READS:
            reason = Reason.TRANSACTION if operation == "TransactGetItems" else OPERATION
            return TablePart(reason)
        found: dict[str, MirroredTable] = {}
        reason = ""
        for name in named:
            table = yield from self._usable(name)
            if isinstance(table, MirroredTable):
                found[name] = table
            else:
                reason = reason or table
        if not found:
            return TablePart(reason)
        return (yield from self._answer(operation, body, list(found.values())))

    def _usable(self, named: str) -> Steps[MirroredTable | str]:
        """Return the mirror of a table, or why it may not answer now."""
        table = yield from self.tables.find(named)
        if self._max_age is not None and isinstance(table, MirroredTable):
            name = table.schema.table
            age = self._ages.get(name)
            if age is None:
                age = self._ages[name] = MirrorAge(name, self._max_age / 4)
            if (yield from age.behind()) > self._max_age:
                return BEHIND
        return table

    def _answer(self, operation: str, body: Body, found: Sequence[MirroredTable]) -> Steps[Outcome]:
        if operation == "BatchGetItem":
            if len(_ways_to_project(body)) > 1:  # DynamoDB refuses that, in whichever tables
                return TablePart(Reason.NOT_UNDERSTOOD)
            batch = yield from wire.batch_get_item(Mirrors(found), body)
            if isinstance(batch, PassedOn):
                return TablePart(batch.reason)
            if batch.left:
                return Partly(batch, {**body, "RequestItems": batch.left})
            return Answered(batch.body)
        (table,) = found
        if operation == "GetItem":
            answer = yield from wire.get_item(Mirrors(found), body)
        elif self.own_writes is None:
            answer = yield from wire.query(Mirrors(found), body)
        else:
            answer = yield from self._query(self.own_writes, body, table)
        return TablePart(answer.reason) if isinstance(answer, PassedOn) else Answered(answer)

    def _query(
        self, own_writes: OwnWrites, body: Body, table: MirroredTable
    ) -> Steps[dict[str, Any] | PassedOn]:
        """Answer a query unless its partition has own writes that the collection lacks."""
        partitions: list[Item] = []

        def min_time(partition: Item) -> float | None:
            partitions.append(partition)
            return None if table.min_time is None else table.min_time(partition)

        noted = copy(table)
        noted.min_time = min_time
        answer = yield from wire.query(Mirrors([noted]), body)
        if not (isinstance(answer, PassedOn) and answer.reason == Reason.TOO_NEW and partitions):
            return answer
        view = table.by_order or table.by_key
        if view is None or not (
            yield from own_writes.settle(table.schema.table, partitions[0], view)
        ):
            return answer
        return (yield from wire.query(Mirrors([table]), body))

    def written(self, own_writes: OwnWrites, operation: str, body: Body) -> Steps[Sequence[Any]]:
        """Remember the items of a write that is sent now; returns their names for its end."""
        if operation in STATEMENTS:
            if not _only_reads(body):
                own_writes.block("")
            return ()
        writes: list[Write] = []
        for named, item in writes_of(operation, body):
            if not self.tables.concerns(named):
                continue
            table = yield from self.tables.find(named)
            if isinstance(table, MirroredTable):
                writes.append(Write(table.schema, item))
            else:  # its keys are not known, and it may have a mirror at the next read
                own_writes.block(table_name(named))
        return own_writes.begin(writes)


def tables_of(body: Body) -> Iterable[str]:
    """Return the tables that a read names, each once."""
    if "TableName" in body:
        return (body["TableName"],)
    if "RequestItems" in body:
        return tuple(body["RequestItems"])
    gets = (action["Get"]["TableName"] for action in body.get("TransactItems", ()))
    return tuple(dict.fromkeys(gets))


def _only_reads(body: Body) -> bool:
    """Return whether no statement in PartiQL of a request writes."""
    statements = body.get("Statements") or body.get("TransactStatements") or [body]
    texts = (statement["Statement"].lstrip().upper() for statement in statements)
    return all(text.startswith("SELECT") for text in texts)


def _ways_to_project(body: Body) -> set[bool]:
    """Return in which ways parts of a BatchGetItem name attributes: by expressions, or the old."""
    return {
        name != "AttributesToGet"
        for asked in body["RequestItems"].values()
        for name in asked
        if name not in ("ConsistentRead", "Keys")
    }


def min_time_of(
    table: str, fixed: MinTime, own_writes: OwnWrites | None
) -> Callable[[Item], float | None] | None:
    """Return the function that gives a mirrored table its `min_time`; None for none.

    Args:
        table: the table's name.
        fixed: seconds since 1970, or what returns them; None for none.
        own_writes: the writes of the client; None for none.
    """
    if own_writes is not None:
        return lambda key: own_writes.min_time(table, key)
    if callable(fixed):
        return lambda _key: fixed()
    return None if fixed is None else lambda _key: float(fixed)
