"""The tables that an attachment answers for: which are mirrored, found out at their first read."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from threading import Lock
from time import monotonic
from typing import Any, Final

from dynamirror.cache.completeness_marker import parse_marker
from dynamirror.cache.scripts import Command
from dynamirror.dynamodb.client import schema_of
from dynamirror.errors import ConfigError
from dynamirror.reader.guarded_cache import DOWN
from dynamirror.reader.mirrors import MirroredTable
from dynamirror.reader.steps import Reason, Steps, TableRequest
from dynamirror.views.keyspace import completeness_marker_key
from dynamirror.views.view import Schema, ViewSpec, bind_views

logger = logging.getLogger("dynamirror")

# After this many seconds, a table without a mirror is looked for again.
RETRY_SECONDS: Final = 30.0
_PLACE: Final = slice(3, 5)  # region and account in an ARN


class Tables:
    """Finds the mirror of a table that a request names.

    A table is mirrored if the cache has a completeness marker of it. Its keys come from DynamoDB,
    which is asked once, through the caller's own client: so attaching never needs the network.
    The stream in the marker must be of the same region and account as the table.

    Args:
        specs: all views of the cache.
        only: names of the tables to answer for; None for all.
        schemas: the keys of tables that DynamoDB need not be asked for.
        make: makes the mirrored table of a schema, its views and its ARN.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        specs: Sequence[ViewSpec],
        only: Collection[str] | None,
        schemas: Iterable[Schema],
        make: Callable[..., MirroredTable],
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._specs = specs
        self._only = only
        self._schemas = {schema.table: schema for schema in schemas}
        self._make = make
        self._clock = clock
        self._known: dict[str, MirroredTable] = {}
        # Why a table has no mirror, and until when nobody looks again.
        self._refused: dict[str, tuple[Reason, float]] = {}
        self.renew_lock()

    def renew_lock(self) -> None:
        """Forget a lock, and look-ups, of other threads of the parent process."""
        self._lock = Lock()
        self._under_way: set[str] = set()

    def concerns(self, named: str) -> bool:
        """Return whether the attachment is for a table, named by name or ARN."""
        return self._only is None or table_name(named) in self._only

    def find(self, named: str) -> Steps[MirroredTable | Reason]:
        """Return the mirror of a table, named by name or ARN, or why it cannot answer."""
        name = table_name(named)
        known = self._known.get(name)
        if known is not None:
            # An ARN may name a table of another account.
            return known if named in (name, known.arn) else Reason.UNKNOWN_TABLE
        if not self.concerns(named):
            return Reason.UNKNOWN_TABLE
        with self._lock:
            reason, until = self._refused.get(name, (Reason.UNKNOWN_TABLE, 0.0))
            if self._clock() < until:
                return reason
            if name in self._under_way:  # by another thread: nobody waits for it
                return Reason.INCOMPLETE
            self._under_way.add(name)
        try:
            found = yield from self._look(name, named)
        except Exception:  # not that of a coroutine that is cancelled
            self._refuse(name, Reason.UNKNOWN_TABLE)
            raise
        finally:
            with self._lock:
                self._under_way.discard(name)
        if isinstance(found, MirroredTable):
            self._known[name] = found
        elif found is not Reason.DOWN:  # which the cache's circuit breaker cares for
            self._refuse(name, found)
        return found

    def _refuse(self, name: str, reason: Reason) -> None:
        self._refused[name] = reason, self._clock() + RETRY_SECONDS

    def _look(self, name: str, named: str) -> Steps[MirroredTable | Reason]:
        key = completeness_marker_key(name).encode()
        (reply,) = yield [Command(key, (b"HGETALL", key))]
        if reply is DOWN:
            return Reason.DOWN
        if not reply:
            return Reason.UNKNOWN_TABLE
        stream = parse_marker(reply).stream
        schema, arn = self._schemas.get(name), ""
        if schema is None:
            description: Any = yield TableRequest("describe_table", {"TableName": named})
            if isinstance(description, Exception):
                _warn(name, f"DynamoDB does not describe it: {type(description).__name__}")
                return Reason.UNKNOWN_TABLE
            schema, arn = schema_of(name, description["Table"]), description["Table"]["TableArn"]
            if stream and _place(stream) != _place(arn):
                _warn(name, "the mirror is of a table in another region or account")
                return Reason.UNKNOWN_TABLE
        try:
            return self._make(schema, bind_views(self._specs, schema), arn=arn)
        except ConfigError as error:
            _warn(name, str(error))
            return Reason.VIEW


def table_names(named: Iterable[str] | None) -> frozenset[str] | None:
    """Return the names of tables that are named by name or ARN; None for all tables."""
    return None if named is None else frozenset(map(table_name, named))


def table_name(named: str) -> str:
    """Return the name of a table that a request names by name or ARN."""
    return named.rpartition(":table/")[2] if named.startswith("arn:") else named


def _place(arn: str) -> Sequence[str]:
    return arn.split(":")[_PLACE]


def _warn(table: str, reason: str) -> None:
    extra: Mapping[str, str] = {"table": table, "reason": reason}
    logger.warning("attached table is not read from the cache", extra=extra)
