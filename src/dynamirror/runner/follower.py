"""A mirror in one process: follows a table from stream to stream, until there is none to follow."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from math import inf
from time import monotonic
from typing import Final

from dynamirror.backoff import Backoff
from dynamirror.cache.checkpoints import Checkpoints
from dynamirror.cache.completeness_marker import check_views, read_marker
from dynamirror.cache.heartbeat import duration
from dynamirror.dynamodb.client import Aws, Table, describe_table
from dynamirror.dynamodb.scan import Rate
from dynamirror.dynamodb.stream_reader import StreamReader
from dynamirror.errors import CacheError, ConfigError, SourceError
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.replication.gap_detector import GapDetector
from dynamirror.replication.replicator import Replicator
from dynamirror.runner.delivery import Delivery
from dynamirror.runner.event_source_mapping import DeliveryCounts, EventSourceMapping
from dynamirror.runner.healer import Healer
from dynamirror.runner.heartbeat_thread import SILENCE_SECONDS, HeartbeatThread
from dynamirror.runner.leadership import Leadership, Term
from dynamirror.views.keyspace import probe_key
from dynamirror.views.view import check_stream

# Longer than any request to AWS or the cache with its repetitions, and than any batch.
_STALLED_SECONDS: Final = 180.0
# Several times the pause between two requests for new shards.
_UNANSWERED_SECONDS: Final = 60.0


class Follower:
    """Delivers a table's changes to a replicator.

    Args:
        aws: creates the clients.
        table: the table's name.
        replicator: applies the batches.
        mapping: settings of the event source mapping.
        notify: called with a sentence for the operator.
        auto_rebuild: whether to rebuild the mirror whenever it is incomplete.
        rate: read units a second that a rebuild may consume, or a limit that others share; None for
            no limit.
        margin: seconds that a rebuild's as-of times lie behind DynamoDB's clock; None: default.
        new_views: whether to write in these views if the mirror was written in others.
        leadership: decides when this process replicates the table; None for always.

    Raises:
        SourceError: the table cannot be described.
        ConfigError: its stream is off, or cannot feed the views, or the mirror has others.
        CacheError: the cache cannot be reached.
    """

    def __init__(
        self,
        aws: Aws,
        table: str,
        replicator: Replicator,
        mapping: EventSourceMapping,
        *,
        notify: Callable[[str], None],
        auto_rebuild: bool = True,
        rate: float | Rate | None = None,
        margin: int | None = None,
        new_views: bool = True,
        leadership: Leadership | None = None,
    ) -> None:
        self._aws = aws
        self._table = table
        self._replicator = replicator
        self._mapping = mapping
        self._notify = notify
        self._auto_rebuild = auto_rebuild
        self._rate = rate
        self._new_views = new_views
        self._leadership = leadership
        self._counts = DeliveryCounts()
        self._heartbeat_at = -inf
        self._halt = threading.Event()
        self.delivery: Delivery | None = None  # the delivery of the stream that is followed now
        self._source = self._look_up()
        # Any command will do: a cache that is unreachable, or refuses us, is reported at once.
        probe = probe_key(table)
        replicator.cache.call(probe, b"GET", probe.encode())
        self._check_views()
        self._rebuild = Rebuild(
            replicator.cache,
            self._views,
            aws.dynamodb(),
            fence_ttl=replicator.fence_ttl,
            stream_arn=self._source.stream_arn,
            margin=margin,
        )
        self._healer = self._new_healer()

    @property
    def stream_arn(self) -> str:
        """Return the ARN of the stream that is followed now."""
        return self._source.stream_arn

    @property
    def complete(self) -> bool | None:
        """Return whether the mirror is complete; None before the first check, and in standby."""
        return self._healer.complete if self.leads else None

    @property
    def leads(self) -> bool:
        """Return whether this process replicates the table."""
        return self._leadership is None or self._leadership.term is not None

    @property
    def role(self) -> str | None:
        """Return who leads while this process stands by, in words; None if it leads."""
        return None if self._leadership is None else self._leadership.role

    @property
    def healer(self) -> Healer:
        """Return what keeps the mirror complete."""
        return self._healer

    def behind(self) -> dict[str, float]:
        """Return, by shard, the seconds that it is behind at the most: `Delivery.delays`."""
        return delivery.delays() if (delivery := self.delivery) else {}

    def why_not_ready(self, max_lag: float) -> str | None:
        """Return why the mirror is not complete or not live; None if it is both.

        In standby, return why this process could not take over.

        Args:
            max_lag: seconds that a live mirror may be behind the table.
        """
        if self._leadership is not None and not self.leads:
            return self._leadership.why_not_standing_by()
        if not self.complete:
            return f"the mirror is incomplete: {self._healer.reason}"
        lag = delivery.lag() if (delivery := self.delivery) else None
        if lag is None:
            return "not live: the shards of the stream have not been listed yet"
        silent = monotonic() - self._heartbeat_at
        if silent > SILENCE_SECONDS:
            since = "" if silent == inf else f" for {duration(silent)}"
            return f"not live: the cache has taken no heartbeat{since}"
        if lag > max_lag:
            return f"not live: up to {duration(lag)} behind, more than {duration(max_lag)}"
        return None

    def why_not_live(self) -> str | None:
        """Return why this process should be restarted; None while it works.

        Failures that it waits out, of the table or of the cache, are no reason.
        """
        stalled = delivery.stalled() if (delivery := self.delivery) else 0.0
        if self._leadership is not None:
            stalled = max(stalled, self._leadership.stalled())
        if stalled > _STALLED_SECONDS:
            return f"no progress for {duration(stalled)}: a thread hangs"
        return None

    def _note_heartbeat(self) -> None:
        self._heartbeat_at = monotonic()

    def follow(
        self,
        report: Callable[[DeliveryCounts], None],
        *,
        interval: float,
        beside: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Deliver until interrupted or stopped, whenever this process leads.

        Args:
            report: called at each interval with what was done so far.
            interval: seconds between reports.
            beside: returns what surrounds the work of the leader.

        Raises:
            DynamirrorError: there is nothing left to follow; says why.
        """
        if self._leadership is None:
            self._lead(report, interval, beside, None)
            return
        backoff = Backoff(self._halt)
        with self._leadership as leadership:
            while (term := leadership.wait(self._halt)) is not None:
                try:
                    self._look_again()
                except CacheError as error:
                    leadership.end(term)
                    backoff.wait(error)
                    continue
                backoff.reset()
                self._lead(report, interval, beside, term)
                leadership.end(term)

    def stop(self) -> None:
        """Have `follow` end in another thread, after the invocations under way; do not wait."""
        self._halt.set()
        delivery = self.delivery
        if delivery is not None:
            delivery.end()

    def _lead(
        self,
        report: Callable[[DeliveryCounts], None],
        interval: float,
        beside: Callable[[], AbstractContextManager[None]],
        term: Term | None,
    ) -> None:
        if self._healer.ident is not None:  # that of an earlier term
            self._healer = self._new_healer()
        with beside():
            self._healer.start()
            try:
                self._follow(report, interval, term)
            finally:
                self._healer.stop()
        if term is not None:
            self.delivery, self._heartbeat_at = None, -inf

    def _follow(
        self, report: Callable[[DeliveryCounts], None], interval: float, term: Term | None
    ) -> None:
        def is_over() -> bool:
            return self._halt.is_set() or (term is not None and not term.holds)

        while not is_over():
            arn = self._source.stream_arn
            delivery = self._new_delivery(arn, term)
            if term is not None:
                term.on_end, term.why_give_way = delivery.end, partial(_why_give_way, delivery)
            delivery.start()
            self.delivery = delivery
            before = self._counts
            try:
                with HeartbeatThread(
                    *(self._replicator.cache, self._table, arn, delivery),
                    on_written=self._note_heartbeat,
                    may_write=lambda: term is None or term.holds,
                ):
                    # `stop` sets it before it reads the delivery, so that none of both is missed.
                    while not is_over() and not delivery.wait(interval):
                        report(before + delivery.counts)
            finally:
                delivery.stop()
                self._counts = before + delivery.counts
                report(self._counts)
            if not is_over():
                self._move_on(arn)

    def _new_delivery(self, arn: str, term: Term | None) -> Delivery:
        cache = self._replicator.cache
        return Delivery(
            StreamReader(self._aws.streams(), arn),
            self._replicator,
            Checkpoints(cache, arn, token=None if term is None else term.token),
            self._mapping,
            record_gap=partial(GapDetector(cache, self._views).record_gap, arn),
            remaining=(lambda: inf) if term is None else term.remaining,
        )

    def _new_healer(self) -> Healer:
        return Healer(
            self._rebuild,
            stream_arn=lambda: self._source.stream_arn,
            notify=self._notify,
            auto_rebuild=self._auto_rebuild,
            rate=self._rate,
        )

    def _move_on(self, ended: str) -> None:
        """Find the stream that took over from one that was switched off."""
        self._find_stream()
        self._notify(
            f"stream {ended} was switched off; going on with {self._source.stream_arn}. Changes "
            "made in between were never recorded"
        )

    def _look_again(self) -> None:
        """Look at the table and the mirror's views again: another process may have led since."""
        with suppress(SourceError):  # the delivery waits until AWS answers
            self._find_stream()
        self._check_views()

    def _find_stream(self) -> None:
        views = self._views
        self._source = self._look_up()
        if self._views is not views:
            raise ConfigError(
                f"table {self._table} was created again, with another key; start again"
            )
        self._rebuild.stream_arn = self._source.stream_arn

    def _check_views(self) -> None:
        if not self._new_views:
            check_views(read_marker(self._replicator.cache, self._table), self._views)

    def _look_up(self) -> Table:
        source = describe_table(self._aws.dynamodb(), self._table)
        self._views = self._replicator.views.bind(source.schema)
        check_stream(self._views, source.view_type, self._table)
        return source


def _why_give_way(delivery: Delivery) -> str | None:
    """Return why another process should read the stream, if there is one; None for no reason."""
    seconds = delivery.unanswered()
    return f"no answer of AWS for {duration(seconds)}" if seconds > _UNANSWERED_SECONDS else None
