"""The inspections of `run`, one for each table."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.client import Aws
from dynamirror.errors import ConfigError, OptionError
from dynamirror.inspection.measured import measured
from dynamirror.inspection.sampling import check_share
from dynamirror.inspection.tally import Tally
from dynamirror.metrics.catalogue import INSPECTION_ERRORS, Inspected
from dynamirror.metrics.openmetrics import Endpoint
from dynamirror.replication.replicator import Replicator
from dynamirror.runner.inspection import Inspection
from dynamirror.settings import Settings

_Running = Callable[[str], AbstractContextManager[None]]


class Inspections:
    """Inspects each table beside its replication, with connections of its own.

    Args:
        aws: the AWS clients.
        settings: of the cache.
        replicator: the replicator, whose views are inspected.
        share: the share of the items; None for no inspection.
    """

    def __init__(
        self, aws: Aws, settings: Settings, replicator: Replicator, share: float | None
    ) -> None:
        self._aws = aws
        self._settings = settings
        self._replicator = replicator
        self._share = share
        self._running: dict[str, Inspection] = {}

    def tally(self, table: str) -> Tally | None:
        """Return the counts of a table; None if it is not inspected."""
        inspection = self._running.get(table)
        return None if inspection is None else inspection.tally()

    def measured(self, table: str) -> Inspected | None:
        """Return the counts of a table as metrics; None if it is not inspected."""
        tally = self.tally(table)
        return None if tally is None else measured(tally, table)

    def show(self, endpoint: Endpoint, tables: Sequence[str]) -> None:
        """Serve the counts of the tables, if they are inspected."""
        if self._share is None:
            return
        for table in tables:
            endpoint.show_inspection(table, partial(self.measured, table))
            endpoint.show(table, INSPECTION_ERRORS, partial(self._errors, table))

    def _errors(self, table: str) -> int | None:
        inspection = self._running.get(table)
        return None if inspection is None else inspection.errors

    @contextmanager
    def running(self, table: str) -> Iterator[None]:
        """Inspect a table in the background."""
        if self._share is None:
            yield
            return
        views = self._replicator.views.bound(table)
        assert views is not None  # the follower has bound them
        cache = Cache(self._settings)
        try:
            with Inspection(
                *(self._aws, cache, views), share=self._share, stores=True
            ) as inspection:
                self._running[table] = inspection
                yield
        finally:
            cache.close()


def check_option(share: float | None) -> None:
    """Check the value of --inspect.

    Raises:
        OptionError: it is no share.
    """
    if share is not None:
        try:
            check_share(share)
        except ConfigError as error:
            raise OptionError(f"--inspect: {error}") from None


def both(first: _Running, second: _Running) -> _Running:
    """Return what runs two things beside the following of a table."""

    @contextmanager
    def running(table: str) -> Iterator[None]:
        with first(table), second(table):
            yield

    return running
