"""The mirrors of several tables in one process: the trouble of one does not stop the others."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from dynamirror.errors import DynamirrorError
from dynamirror.runner.event_source_mapping import DeliveryCounts
from dynamirror.runner.follower import Follower

logger = logging.getLogger("dynamirror")

_RETRY_SECONDS: Final = 30.0
_SIGNAL_SECONDS: Final = 1.0


@dataclass(slots=True)
class _FollowedTable:
    """A table, with its follower or the trouble that it is in."""

    name: str
    follower: Follower | None = None
    trouble: BaseException | None = None
    counts: DeliveryCounts = field(default_factory=DeliveryCounts)


class Followers:
    """Follows tables, a thread each, until stopped or until none is left that can be followed.

    A table that cannot be followed is reported, and tried again from time to time.

    Args:
        tables: names of the tables.
        make: makes the follower of a table.
        beside: returns what surrounds following a table, such as its canary.
        notify: called with a table and a sentence for the operator.
        retry_seconds: seconds until a table in trouble is tried again.

    Raises:
        DynamirrorError: none of the tables can be followed.
    """

    def __init__(
        self,
        tables: Sequence[str],
        make: Callable[[str], Follower],
        *,
        beside: Callable[[str], AbstractContextManager[None]] = lambda _table: nullcontext(),
        notify: Callable[[str, str], None],
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self._make = make
        self._beside = beside
        self._notify = notify
        self._retry_seconds = retry_seconds
        self._halt = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._tables = {table: _FollowedTable(table) for table in tables}
        for table in self._tables.values():
            try:
                table.follower = make(table.name)
            except DynamirrorError as error:
                table.trouble = error
        self._check_any(self._tables.values())
        for table in self._tables.values():
            if table.trouble is not None:
                self._report(table)

    def follower(self, table: str) -> Follower | None:
        """Return the follower of a table; None while the table is in trouble."""
        return self._tables[table].follower

    def why_not_ready(self, max_lag: float) -> str | None:
        """Return which mirrors are not complete and live, and why; None if all are both.

        Args:
            max_lag: seconds that a live mirror may be behind its table.
        """

        def why(table: _FollowedTable) -> str | None:
            follower = table.follower
            if follower is None:
                return f"not followed: {table.trouble}"
            return follower.why_not_ready(max_lag)

        return self._named((table.name, why(table)) for table in self._tables.values())

    def why_not_live(self) -> str | None:
        """Return why this process should be restarted; None while it works."""
        return self._named(
            (table.name, follower.why_not_live() if (follower := table.follower) else None)
            for table in self._tables.values()
        )

    def role(self) -> str | None:
        """Return for which tables this process stands by, in words; None if it leads all."""
        leaders = self._named(
            (table.name, follower.role if (follower := table.follower) else None)
            for table in self._tables.values()
        )
        return None if leaders is None else f"standby: {leaders}"

    def follow(self, report: Callable[[str, DeliveryCounts], None], *, interval: float) -> None:
        """Deliver until interrupted.

        Args:
            report: called at each interval with a table and what was done so far.
            interval: seconds between reports.

        Raises:
            DynamirrorError: no table is left that can be followed; states why.
        """
        threads = [
            threading.Thread(
                target=self._follow, args=(table, report, interval), name=f"table {table.name}"
            )
            for table in self._tables.values()
        ]
        for thread in threads:
            thread.daemon = True
            thread.start()
        try:
            # Another thread may take a signal, as when it comes to a paused process: then this one
            # handles it only when it runs.
            while not self._ended.wait(_SIGNAL_SECONDS):
                pass
        finally:
            self._halt.set()
            for table in self._tables.values():
                if (follower := table.follower) is not None:
                    follower.stop()
            for thread in threads:
                thread.join()
        self._check_any(self._tables.values())

    def _follow(
        self,
        table: _FollowedTable,
        report: Callable[[str, DeliveryCounts], None],
        interval: float,
    ) -> None:
        while not self._halt.is_set():
            if table.follower is not None:
                self._follow_once(table, table.follower, report, interval)
            elif not self._halt.wait(self._retry_seconds):
                self._try_again(table)

    def _follow_once(
        self,
        table: _FollowedTable,
        follower: Follower,
        report: Callable[[str, DeliveryCounts], None],
        interval: float,
    ) -> None:
        before = table.counts

        def add(counts: DeliveryCounts) -> None:
            table.counts = before + counts
            report(table.name, table.counts)

        try:
            follower.follow(add, interval=interval, beside=partial(self._beside, table.name))
        except DynamirrorError as error:
            self._note(table, error)
        except BaseException as error:
            logger.exception("fault of the program", extra={"table": table.name})
            self._note(table, error)

    def _note(self, table: _FollowedTable, error: BaseException) -> None:
        """Note that a table is in trouble, and end if no other is left."""
        with self._lock:
            table.follower, table.trouble = None, error
            if all(other.follower is None for other in self._tables.values()):
                self._ended.set()
                self._halt.set()
                return
        self._report(table)

    def _report(self, table: _FollowedTable) -> None:
        extra = {"table": table.name, "reason": str(table.trouble)}
        logger.error("table not followed", extra=extra)

    def _try_again(self, table: _FollowedTable) -> None:
        try:
            follower = self._make(table.name)
        except DynamirrorError as error:
            if str(error) != str(table.trouble):
                table.trouble = error
                self._report(table)
            return
        except Exception as error:
            logger.exception("fault of the program", extra={"table": table.name})
            table.trouble = error
            return
        with self._lock:
            if self._halt.is_set():
                return
            table.follower, table.trouble = follower, None
        self._notify(table.name, "it is followed again")

    def _named(self, reasons: Iterable[tuple[str, str | None]]) -> str | None:
        """Return the reasons in one text, each with its table where there are several."""
        found = [
            f"table {table}: {reason}" if len(self._tables) > 1 else reason
            for table, reason in reasons
            if reason is not None
        ]
        return "; ".join(found) or None

    @staticmethod
    def _check_any(tables: Iterable[_FollowedTable]) -> None:
        """Raise the trouble of the first table if none is followed."""
        troubles = [table.trouble for table in tables]
        if troubles and all(troubles) and (first := troubles[0]) is not None:
            raise first
