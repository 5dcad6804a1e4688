"""The functions and state machines that keep a mirror complete."""

from aws_cdk import Duration
from aws_cdk import aws_events_targets as targets
from constructs import Construct

from dynamirror.cache.acl import Role
from dynamirror.cdk.cache_endpoint import MirrorCache
from dynamirror.cdk.function_context import TABLE_READS, FunctionContext, MirrorFunction
from dynamirror.cdk.rebuild_machine import RebuildMachine
from dynamirror.cdk.table_rules import add_table_rules
from dynamirror.cdk.watchdog import Watchdog
from dynamirror.settings import FIRST_ECPUS

_MINUTES_A_DAY = 1440
_GB = 1_000_000_000
_MAX_EVENT_AGE = 360  # minutes, Lambda's limit


class Auditor(Construct):
    """Compare one part of each table with the cache on a schedule, and repair it.

    Args:
        context: what the mirror's functions share.
        interval_minutes: minutes between two audits.
        parts: number of parts of a table, one for each audit; the default covers each table in
            a day.
        units: read units a day of one table, from which the number of its parts follows instead.
        repair: whether to overwrite entries that differ.
        rate: limit in read units a second; None for no limit.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        context: FunctionContext,
        interval_minutes: int = 5,
        parts: int | None = None,
        units: int | None = None,
        repair: bool = True,
        rate: int | None = None,
    ) -> None:
        super().__init__(scope, id)
        count = parts or max(1, _MINUTES_A_DAY // interval_minutes)
        variables = {
            "PARTS": str(count),
            "MINUTES": str(interval_minutes),
            "REPAIR": str(repair).lower(),
        }
        if units is not None:
            variables["UNITS"] = str(units)
        if rate is not None:
            variables["RATE"] = str(rate)
        self.function = MirrorFunction(
            self,
            "Auditor",
            context=context,
            handler="dynamirror.functions.auditor.handler",
            description="compares a part of a table with the cache",
            role=Role.AUDITOR,
            variables={f"DYNAMIRROR_AUDIT_{name}": value for name, value in variables.items()},
        ).function
        # While Lambda has no room, audits must not queue up and then read the table all at once.
        self.function.configure_async_invoke(
            max_event_age=Duration.minutes(min(interval_minutes, _MAX_EVENT_AGE))
        )
        add_table_rules(
            self,
            context.tables,
            description="Runs dynamirror's auditor",
            interval=Duration.minutes(interval_minutes),
            target=lambda event: targets.LambdaFunction(self.function, event=event),
        )


class Recovery(Construct):
    """Deploy backfill, verification and repair, and the function behind `--via`.

    Args:
        context: what the mirror's functions share.
        heal: whether a watchdog rebuilds an incomplete mirror; a new mirror is incomplete.
        audit: whether an auditor compares the tables with the cache on a schedule.
        audit_interval_minutes: minutes between two audits.
        audit_parts: number of parts of a table; see `Auditor`.
        audit_units: read units a day of one table, in place of `audit_parts`.
        audit_repair: whether audits overwrite entries that differ.
        audit_rate: limit of an audit in read units a second; None for no limit.
        segments: number of parts in which a rebuild reads a table; None for as many as suit its
            size.
        concurrency: number of segments that a rebuild reads at a time.
        rate: limit of a rebuild in read units a second; None for no limit.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        context: FunctionContext,
        heal: bool = True,
        audit: bool = True,
        audit_interval_minutes: int = 5,
        audit_parts: int | None = None,
        audit_units: int | None = None,
        audit_repair: bool = True,
        audit_rate: int | None = None,
        segments: int | None = None,
        concurrency: int = 8,
        rate: int | None = None,
    ) -> None:
        super().__init__(scope, id)
        limit = _limits(context.cache)
        self.operator = MirrorFunction(
            self,
            "Operator",
            context=context,
            handler="dynamirror.functions.operator.handler",
            description="runs an operator's commands",
            variables=limit,
            reads=(*TABLE_READS, "GetItem"),  # which redrives an item
        ).function
        self.worker = MirrorFunction(
            self,
            "Worker",
            context=context,
            handler="dynamirror.functions.worker.handler",
            description="runs steps of rebuilds and verifications",
            variables=limit,
        ).function
        self.machine = RebuildMachine(
            self,
            "Machine",
            context=context,
            worker=self.worker,
            segments=segments,
            concurrency=concurrency,
            rate=rate,
        ).machine
        self.watchdog = None
        if heal:
            self.watchdog = Watchdog(
                self, "Watchdog", context=context, worker=self.worker, rebuild=self.machine
            )
        self.auditor = None
        if audit:
            self.auditor = Auditor(
                self,
                "Auditor",
                context=context,
                interval_minutes=audit_interval_minutes,
                parts=audit_parts,
                units=audit_units,
                repair=audit_repair,
                rate=audit_rate,
            )


def _limits(cache: MirrorCache) -> dict[str, str]:
    """Return the settings by which a rebuild keeps to what the cache takes."""
    limits = {}
    if cache.max_storage_gb:
        limits["ELASTICACHE_MAX_BYTES"] = str(cache.max_storage_gb * _GB)
    if cache.min_ecpu and cache.min_ecpu > FIRST_ECPUS:
        limits["ELASTICACHE_ECPUS"] = str(cache.min_ecpu)
    return limits
