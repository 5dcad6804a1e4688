"""Binds the views of a table to its key, which its records may name wrongly."""

import logging
from collections.abc import Callable

from dynamirror.errors import SourceError
from dynamirror.replication.record_batch import RecordBatch
from dynamirror.views.view import Views

logger = logging.getLogger("dynamirror")

# Seconds until a table is asked for its key again.
_RETRY_SECONDS = 60


class TableKeys:
    """Binds views to the keys of their tables.

    Args:
        views: the views of all tables.
        clock: monotonic seconds.
    """

    def __init__(self, views: Views, clock: Callable[[], float]) -> None:
        self._views = views
        self._clock = clock
        self._asked_at: dict[str, float] = {}

    def bind(self, batch: RecordBatch) -> None:
        """Bind the views of a new table whose records differ in their key: the table is asked.

        Raises:
            SourceError: the table cannot be described.
        """
        if self._views.bound(batch.table) is None:
            keys = {frozenset(change.keys) for change in batch.changes()}
            if len(keys) > 1:
                self._views.meet(batch.table, frozenset())

    def correct(self, table: str) -> bool:
        """Ask a table for its key, and bind its views to it; return whether it is another key."""
        views, now = self._views.bound(table), self._clock()
        if views is None or views[0].schema.types:  # the table itself was asked before
            return False
        if now - self._asked_at.get(table, float("-inf")) < _RETRY_SECONDS:
            return False
        self._asked_at[table] = now
        try:
            bound = self._views.meet(table, frozenset())
        except SourceError as error:
            logger.warning("key not known for sure", extra={"table": table, "reason": str(error)})
            return False
        return bound[0].schema.keys != views[0].schema.keys
