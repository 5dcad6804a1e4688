"""An operator's requests to a mirror: the same code beside the cache and in the operator Lambda.

Requests and answers are plain data, so that Lambda and Step Functions can carry them.
"""

from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from time import time
from typing import TYPE_CHECKING, Any

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import check_views, other_views, read_marker
from dynamirror.cache.doubt import note_written
from dynamirror.cache.quarantine import count
from dynamirror.dynamodb.client import Aws, describe_schema
from dynamirror.dynamodb.items import SnapshotReader
from dynamirror.dynamodb.scan import Rate, Scan
from dynamirror.errors import OptionError
from dynamirror.operations.messages import (
    DEFAULT_MAX_LAG,
    Answer,
    QuarantineRequest,
    RedriveRequest,
    Request,
    Status,
    StatusRequest,
    VerifyRequest,
    Vitals,
)
from dynamirror.operations.quarantine import discard, list_quarantine, redrive_all
from dynamirror.operations.status import read_status
from dynamirror.recovery.audit import AuditTurn, audit, save_turn
from dynamirror.recovery.comparison import Comparison, Part, PartProgress
from dynamirror.recovery.division import default_segments
from dynamirror.recovery.limits import TableSize
from dynamirror.recovery.rebuild import Rebuild
from dynamirror.recovery.verify import Verification
from dynamirror.settings import Settings
from dynamirror.views.view import Schema, View, bind_views, fingerprint

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

# Receives the activity, what is done, and the total (None if it is not known).
OnProgress = Callable[[str, float, float | None], object]


def _ignore(_activity: str, _done: float, _total: float | None) -> None:
    pass


class Operations:
    """Performs operators' requests to one mirror; connects when a request needs it.

    Args:
        settings: the settings of the cache and the views.
        aws: the AWS clients.
        table: the table's name.
        beside: operations on another table, whose connections are used; None for new ones.
    """

    def __init__(
        self, settings: Settings, aws: Aws, table: str, *, beside: "Operations | None" = None
    ) -> None:
        if not table or not table.isascii():
            raise OptionError(
                f"--table: {table!r} cannot be the name of a table; it has letters, digits, dots, "
                "dashes and underscores"
            )
        self.settings = settings
        self.table = table
        self.cache: Cache = Cache(settings) if beside is None else beside.cache
        self.connect: Callable[[], DynamoDBClient] = (
            cache(aws.dynamodb) if beside is None else beside.connect
        )

    @property
    def client(self) -> "DynamoDBClient":
        """Boto3's dynamodb client."""
        return self.connect()

    @cached_property
    def _schema(self) -> Schema:
        return describe_schema(self.client, self.table)[0]

    @cached_property
    def keys(self) -> Schema:
        """The table's key; a declared key has no types, and saves the request to AWS."""
        return self.settings.declared_schema(self.table) or self._schema

    def _description(self) -> Any:
        """Return the table's current description; only its keys cannot change."""
        return describe_schema(self.client, self.table)[1]

    @cached_property
    def views(self) -> Sequence[View]:
        """Return all views of the table."""
        return self._bound(self._schema)

    def _bound(self, schema: Schema) -> Sequence[View]:
        return bind_views(self.settings.views(), schema)

    def default_segments(self) -> int:
        """Return how many segments the table is read in, by its size.

        Raises:
            SourceError: the table cannot be described.
        """
        return default_segments(self._description())

    def size(self) -> TableSize:
        """Return how large the table and its mirror are.

        Raises:
            SourceError: the table cannot be described.
        """
        return TableSize.of(self._description(), len(self.views))

    def check_views(self) -> None:
        """Check that the mirror was written in the views of the settings.

        Raises:
            CacheError: the cache cannot be reached.
            ConfigError: the mirror was written in other views.
            SourceError: the table cannot be described.
        """
        views = self.views  # first, because the table's errors are the plainer ones
        check_views(read_marker(self.cache, self.table), views)

    def other_views(self) -> str | None:
        """Return a sentence if the mirror was written in other views; else None.

        Raises:
            CacheError: the cache cannot be reached.
            SourceError: the table cannot be described.
        """
        views = self.views
        return other_views(read_marker(self.cache, self.table), views)

    def rebuild(self) -> Rebuild:
        """Return the steps of a rebuild."""
        return Rebuild(
            self.cache,
            self.views,
            self.client,
            fence_ttl=self.settings.fence_ttl,
            stream_arn=self._description().get("LatestStreamArn", ""),
            quarantine_limit=self.settings.quarantine_limit,
        )

    def perform(self, request: Request, on_progress: OnProgress = _ignore) -> Answer:
        """Perform a request, and return its answer.

        Args:
            request: the request.
            on_progress: called with the progress.

        Raises:
            DynamirrorError: the request cannot be performed.
        """
        match request:
            case StatusRequest():
                return self.status(request.max_lag)
            case VerifyRequest():
                return self._verify(request, on_progress)
            case QuarantineRequest():
                if request.discard is None:
                    return list_quarantine(self.cache, self.table)
                return discard(self.cache, self.table, request.discard)
            case RedriveRequest():
                return redrive_all(
                    self.cache,
                    self.views,
                    SnapshotReader(self.client, self.table),
                    fence_ttl=self.settings.fence_ttl,
                    wait=request.wait,
                    on_progress=on_progress,
                )

    def status(self, max_lag: float = DEFAULT_MAX_LAG) -> Status:
        """Return the state of the mirror.

        Args:
            max_lag: seconds that a live mirror may be behind the table.

        Raises:
            CacheError: the cache cannot be reached.
            SourceError: the table cannot be described.
        """
        description = self._description()
        return read_status(self.cache, self.table, self.views, description, max_lag=max_lag)

    def vitals(self) -> Vitals:
        """Return the part of the state that needs no access to the table.

        Raises:
            CacheError: the cache cannot be reached.
        """
        marker = read_marker(self.cache, self.table)
        views = fingerprint(self._bound(self.keys))
        complete = marker.is_complete and marker.views == views
        return Vitals(complete, count(self.cache, self.table))

    def verify_part(
        self,
        part: Part,
        progress: PartProgress | None = None,
        *,
        settle: float = 15.0,
        repair: bool = False,
        rate: Rate | None = None,
        in_time: Callable[[], bool] = lambda: True,
        save: Callable[[PartProgress], object] = lambda _progress: None,
    ) -> PartProgress:
        """Compare one part of table and cache, and return the progress; see `Verification`.

        Args:
            part: the part.
            progress: where to go on; None for the beginning.
            settle: seconds that a difference has to settle.
            repair: whether to write snapshot rows over differences.
            rate: the limit of the read units; None for no limit.
            in_time: returns whether there is time for more.
            save: called with the progress wherever the part can resume.

        Raises:
            CacheError: the cache cannot be reached.
            SourceError: the table cannot be read.
        """
        work = self._verification(settle=settle, repair=repair, rate=rate or Rate(None))
        return work.run_part(part, progress, in_time=in_time, save=save)

    def audit(
        self,
        turn: AuditTurn,
        *,
        settle: float,
        repair: bool,
        rate: Rate | None = None,
        in_time: Callable[[], bool] = lambda: True,
    ) -> AuditTurn:
        """Compare the part of an audit's turn, whose progress the cache keeps; return the turn.

        Args:
            turn: the turn.
            settle: seconds that a difference has to settle.
            repair: whether to write snapshot rows over differences.
            rate: the limit of the read units; None for no limit.
            in_time: returns whether there is time for more.

        Raises:
            CacheError: the cache cannot be reached.
            SourceError: the table cannot be read.
        """
        work = self._verification(settle=settle, repair=repair, rate=rate or Rate(None))
        save = partial(save_turn, self.cache, self.table)
        return audit(work, turn, in_time=in_time, save=save)

    def _verification(
        self,
        *,
        settle: float,
        repair: bool,
        rate: Rate,
        on_progress: Callable[[Comparison], object] = lambda _result: None,
    ) -> Verification:
        return Verification(
            cache=self.cache,
            views=self.views,
            scan=Scan(self.client, self.table, rate=rate),
            reader=SnapshotReader(self.client, self.table, rate=rate),
            settle=settle,
            repair=repair,
            fence_ttl=self.settings.fence_ttl,
            on_progress=on_progress,
        )

    def _verify(self, request: VerifyRequest, on_progress: OnProgress) -> Comparison:
        share = request.part
        items = int(self._description().get("ItemCount", 0)) * len(share.chosen) / share.of
        expected = items * (1 + len(self.views))
        began = int(time())
        work = self._verification(
            settle=request.settle,
            repair=request.repair,
            rate=Rate(request.rate),
            on_progress=lambda result: on_progress(
                "comparing", result.items + result.entries, expected or None
            ),
        )
        comparison = work.run(share)
        if share.is_whole and comparison.is_true:
            note_written(self.cache, self.table, began)
        return comparison
