"""The canaries of `run`, one for each table."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from dynamirror.dynamodb.client import Aws
from dynamirror.errors import ConfigError
from dynamirror.metrics import catalogue
from dynamirror.metrics.openmetrics import Endpoint
from dynamirror.replication.canary_probe import CanaryProbe, ProbeResult
from dynamirror.replication.replicator import Replicator
from dynamirror.runner.canary_thread import CanaryThread
from dynamirror.views.canary import check_types


class Canaries:
    """Writes a canary item into each table, and checks that it reaches the cache.

    Args:
        aws: the AWS clients.
        replicator: the replicator, whose cache the items reach.
        interval: seconds between two items of a table; None for no canary.
        say: called with a table and a sentence for the operator.
        is_only: whether there is one table only, which must be able to have a canary.

    Attributes:
        add: called with a table and metrics.
    """

    def __init__(
        self,
        aws: Aws,
        replicator: Replicator,
        interval: float | None,
        *,
        say: Callable[[str, str], None],
        is_only: bool,
    ) -> None:
        self._aws = aws
        self._replicator = replicator
        self._interval = interval
        self._say = say
        self._is_only = is_only
        self._seen: dict[str, bool] = {}
        self.add: Callable[[str, catalogue.Values], None] = lambda _table, _values: None

    def show(self, endpoint: Endpoint, tables: Sequence[str]) -> None:
        """Serve the results of the tables that have a canary, while it runs."""
        self.add = endpoint.add
        for table in tables:
            endpoint.show(table, catalogue.CANARY_SEEN, partial(self._seen.get, table))

    @contextmanager
    def running(self, table: str) -> Iterator[None]:
        """Run the canary of a table in the background.

        Raises:
            ConfigError: the only table cannot have a canary.
        """
        thread = self._thread(table)
        if thread is None:
            yield
            return
        thread.start()
        try:
            yield
        finally:
            thread.stop()
            # Another process may run it from now on, with results of its own.
            self._seen.pop(table, None)

    def _thread(self, table: str) -> CanaryThread | None:
        if self._interval is None:
            return None
        client, halt = self._aws.dynamodb(), threading.Event()
        views = self._replicator.views.bound(table)
        assert views is not None  # the follower has bound them
        schema = views[0].schema
        try:
            check_types(schema)
        except ConfigError as error:
            if self._is_only:
                raise
            self._say(table, str(error))
            return None

        def add(beat: ProbeResult) -> None:
            self._seen[table] = beat.seen
            if beat.latency is not None:
                self.add(table, {catalogue.CANARY_LATENCY: beat.latency * 1000})

        probe = CanaryProbe(self._replicator.cache, client, schema, wait=halt.wait)
        return CanaryThread(probe, table, interval=self._interval, halt=halt, on_result=add)
