"""What operators ask of a mirror: the same code beside the cache and in the operator Lambda.

A request and its answer are plain data, so that both can travel.
"""

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from dynamirror.cache import eviction
from dynamirror.cache.checkpoints import Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import read_marker
from dynamirror.cache.quarantine import (
    QuarantineRecord,
    count,
    forget_overflow,
    overflow,
    read_quarantine,
    release,
)
from dynamirror.dynamodb.client import Aws, describe_schema
from dynamirror.dynamodb.items import CONSISTENT_MARGIN, SnapshotReader
from dynamirror.dynamodb.scan import Rate, Scan
from dynamirror.errors import ConfigError
from dynamirror.recovery.audit import last_audit
from dynamirror.recovery.comparison import Comparison
from dynamirror.recovery.rebuild import Rebuild, read_progress, read_run
from dynamirror.recovery.redrive import Outcome, redrive, seconds_until_safe
from dynamirror.recovery.verify import verify
from dynamirror.replication import canary_probe as heartbeat
from dynamirror.settings import Settings, load_views
from dynamirror.views.view import Schema, View, bind_views, fingerprint

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
from dynamirror.operations.messages import (
    Answer,
    LeftItem,
    Quarantine,
    QuarantinedItem,
    QuarantineRequest,
    Redrive,
    RedriveRequest,
    Request,
    Status,
    StatusRequest,
    VerifyRequest,
    Vitals,
)

# The youngest item is too fresh for as long as the margin; the rest is for clocks that differ.
_LONGEST_WAIT = CONSISTENT_MARGIN + 5


# Lambda's answers have 6 MB at the most.
_MOST_SHOWN = 5_000


# What is told of progress: what is done, how much of it, of how much (None: not known).
Tell = Callable[[str, float, float | None], object]


def _untold(_what: str, _done: float, _of: float | None) -> None:
    pass


class Operations:
    """One mirror, in an operator's hands; connects to what a request needs.

    Args:
        settings: where the cache is.
        aws: where the table is.
        table: the table's name.
    """

    def __init__(self, settings: Settings, aws: Aws, table: str) -> None:
        if not table:
            raise ConfigError("--table: the name is empty; give the table's name")
        self.settings = settings
        self.table = table
        self._aws = aws
        self.cache = Cache(settings)

    @cached_property
    def client(self) -> "DynamoDBClient":
        """Boto3's dynamodb client."""
        return self._aws.dynamodb()

    @cached_property
    def _schema(self) -> Schema:
        return describe_schema(self.client, self.table)[0]

    @cached_property
    def keys(self) -> Schema:
        """The table's key; where it is declared, the table is not asked, nor are types known."""
        return self.settings.declared_schema(self.table) or self._schema

    def _description(self) -> Any:
        """The table as it is now; unlike its keys, the rest of it changes."""
        return describe_schema(self.client, self.table)[1]

    @cached_property
    def views(self) -> Sequence[View]:
        """All views of the table."""
        return self._bound(self._schema)

    def _bound(self, schema: Schema) -> Sequence[View]:
        specs = load_views(self.settings.config)
        return bind_views(specs, schema)

    def rebuild(self) -> Rebuild:
        """The steps of a rebuild."""
        return Rebuild(
            self.cache,
            self.views,
            self.client,
            fence_ttl=self.settings.fence_ttl,
            stream_arn=self._description().get("LatestStreamArn", ""),
            quarantine_limit=self.settings.quarantine_limit,
        )

    def perform(self, request: Request, on_progress: Tell = _untold) -> Answer:
        """Do what is asked.

        Args:
            request: what is asked.
            on_progress: is told of progress.

        Raises:
            DynamirrorError: it cannot be done; says why.
        """
        match request:
            case StatusRequest():
                return self.status()
            case VerifyRequest():
                return self._verify(request, on_progress)
            case QuarantineRequest():
                name = request.discard
                return self._quarantine() if name is None else self._forget(name)
            case RedriveRequest():
                return self._redrive(request, on_progress)

    def status(self) -> Status:
        """The state of the mirror.

        Raises:
            CacheError: the cache cannot be reached.
            SourceError: the table cannot be described.
        """
        description = self._description()
        marker, run = read_marker(self.cache, self.table), read_run(self.cache, self.table)
        on = description.get("StreamSpecification", {}).get("StreamEnabled")
        stream = description.get("LatestStreamArn", "") if on else ""
        other_stream = not stream or marker.stream != stream
        other_views = marker.views != fingerprint(self.views)
        reason = marker.reason
        if marker.is_complete and other_stream:
            reason = "the table's stream is off, or another than the one that the mirror follows"
        elif marker.is_complete and other_views:
            reason = "the views have changed"
        canary = heartbeat.last(self.cache, self.table)
        positions = Checkpoints(self.cache, stream).load() if stream else {}
        at = time.time()  # now that both are read, neither is later
        made = [one.created for one in positions.values() if one.created is not None]
        written = canary.at / 1000 if canary else None
        newest = max([*made, *([written] if written else ())], default=None)
        policy = eviction.policy(self.cache)
        warning = eviction.warning(policy)
        return Status(
            table=self.table,
            complete=marker.is_complete and not other_stream and not other_views,
            # No rebuild makes a mirror complete whose stream is not followed.
            rebuild_helps=not marker.is_complete or other_views,
            since=marker.complete if marker.complete >= 0 else None,
            gap=marker.gap,
            reason=reason,
            stream=marker.stream,
            table_stream=stream,
            rebuild=run,
            progress=read_progress(self.cache, self.table, run) if run else None,
            table_items=int(description.get("ItemCount", 0)),
            quarantined=count(self.cache, self.table),
            overflow=overflow(self.cache, self.table),
            at=at,
            canary=written,
            lag=None if newest is None else max(0.0, at - newest),
            positions=positions,
            audited=last_audit(self.cache, self.table),
            eviction=policy,
            warnings=[] if warning is None else [warning],
        )

    def vitals(self) -> Vitals:
        """What the cache alone tells, for those who may not ask the table.

        Raises:
            CacheError: the cache cannot be reached.
        """
        marker = read_marker(self.cache, self.table)
        views = fingerprint(self._bound(self.keys))
        complete = marker.is_complete and marker.views == views
        return Vitals(complete, count(self.cache, self.table))

    def _verify(self, request: VerifyRequest, on_progress: Tell) -> Comparison:
        description = self._description()
        rate = Rate(request.rate)
        count = int(description.get("ItemCount", 0)) * len(request.part.chosen) / request.part.of
        return verify(
            self.cache,
            self.views,
            Scan(self.client, self.table, rate=rate),
            SnapshotReader(self.client, self.table, spend=rate.spend),
            part=request.part,
            settle=request.settle,
            repair=request.repair,
            fence_ttl=self.settings.fence_ttl,
            on_progress=lambda now: on_progress(
                "comparing", now.items + now.entries, 2 * count or None
            ),
        )

    def _quarantine(self) -> Quarantine:
        items = read_quarantine(self.cache, self.table)
        shown = [_item(item) for item in items[:_MOST_SHOWN]]
        unlisted, more = overflow(self.cache, self.table), len(items) - len(shown)
        return Quarantine(self.table, shown, unlisted, more=more)

    def _forget(self, name: str) -> Quarantine:
        items, unlisted = read_quarantine(self.cache, self.table), overflow(self.cache, self.table)
        named = [item for item in items if name in ("all", item.name)]
        if not named and name != "all":
            raise ConfigError(f"--discard: {name} is not in the quarantine of table {self.table}")
        discarded = sum(release(self.cache, self.table, item) for item in named)
        if name == "all" and unlisted:
            forget_overflow(self.cache, self.table, unlisted)
        left = self._quarantine()
        return msgspec.structs.replace(left, discarded=discarded)

    def _redrive(self, request: RedriveRequest, on_progress: Tell) -> Redrive:
        reader, views = SnapshotReader(self.client, self.table), self.views
        items = read_quarantine(self.cache, self.table)
        if request.wait and items:
            self._wait(reader, items, on_progress)
        healed, left = 0, []
        done = redrive(self.cache, views, reader, items, fence_ttl=self.settings.fence_ttl)
        for number, one in enumerate(done, 1):
            on_progress("redriving", number, len(items))
            if one.outcome is Outcome.HEALED:
                healed += 1
            else:
                left.append(LeftItem(_item(one.item), one.outcome, one.reason))
        changeable = [
            view.name for view in views if view.needs_old_image and not view.owns_its_keys
        ]
        more, unlisted = max(0, len(left) - _MOST_SHOWN), overflow(self.cache, self.table)
        return Redrive(self.table, healed, left[:_MOST_SHOWN], unlisted, changeable, more)

    def _wait(
        self, reader: SnapshotReader, items: Sequence[QuarantineRecord], on_progress: Tell
    ) -> None:
        seconds = min(seconds_until_safe(items, reader.as_of()), _LONGEST_WAIT)
        for second in range(seconds):
            on_progress("waiting until none is too fresh", second, seconds)
            time.sleep(1)
        if seconds:
            reader.as_of()  # the rows are to be as new as now


def _item(item: QuarantineRecord) -> QuarantinedItem:
    note = item.note
    return QuarantinedItem(
        item=item.name,
        key=item.key,
        reason=note.reason,
        sequence_number=note.sequence_number,
        first=note.first,
        last=note.last,
        count=note.count,
    )
