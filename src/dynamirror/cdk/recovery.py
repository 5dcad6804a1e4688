"""Recovery: what fills, watches, verifies and repairs a mirror, and what operators ask."""

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from constructs import Construct

from dynamirror.cdk.inside import Inside, InsideFunction
from dynamirror.cdk.machine import RebuildMachine
from dynamirror.cdk.watchdog import Watchdog

_A_DAY = 1440  # minutes
_LONGEST_AGE = 360  # minutes, the most that Lambda keeps an event


class Auditor(Construct):
    """Compares a part of the table with the cache on a schedule, and repairs it.

    Args:
        scope: the stack or construct this is part of.
        id: its name there.
        inside: what the functions have in common.
        every_minutes: how often.
        parts: the table is compared in so many parts, one at a time; default so many that it is
            through in a day.
        repair: write rows over what differs.
        rate: read units a second; None for no limit.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        inside: Inside,
        every_minutes: int = 5,
        parts: int | None = None,
        repair: bool = True,
        rate: int | None = None,
    ) -> None:
        super().__init__(scope, id)
        count = parts or max(1, _A_DAY // every_minutes)
        variables = {"PARTS": str(count), "REPAIR": str(repair).lower()}
        if rate is not None:
            variables["RATE"] = str(rate)
        self.function = InsideFunction(
            self,
            "Auditor",
            inside=inside,
            handler="dynamirror.functions.auditor",
            description="compares a part of the table with the cache",
            variables={f"DYNAMIRROR_AUDIT_{name}": value for name, value in variables.items()},
        ).function
        # Where Lambda lacks room for hours, audits must not pile up, to read the table all at once.
        self.function.configure_async_invoke(
            max_event_age=Duration.minutes(min(every_minutes, _LONGEST_AGE))
        )
        self.rule = events.Rule(
            self,
            "Rule",
            description="Runs dynamirror's auditor",
            schedule=events.Schedule.rate(Duration.minutes(every_minutes)),
            targets=[targets.LambdaFunction(self.function)],
        )


class Recovery(Construct):
    """An operator's function, and a state machine that fills a mirror and is started when need be.

    Args:
        scope: the stack or construct this is part of.
        id: its name there.
        inside: what the functions have in common.
        heal: start a rebuild whenever the mirror is incomplete, as it is at first.
        audit: compare the table with the cache on a schedule.
        audit_every: minutes between two audits.
        audit_parts: see `Auditor`.
        audit_repair: write rows over what differs.
        audit_rate: read units a second of an audit; None for no limit.
        segments: parts that a rebuild reads the table in.
        concurrency: how many of them at a time.
        rate: read units a second of a rebuild; None for no limit.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        inside: Inside,
        heal: bool = True,
        audit: bool = True,
        audit_every: int = 5,
        audit_parts: int | None = None,
        audit_repair: bool = True,
        audit_rate: int | None = None,
        segments: int = 64,
        concurrency: int = 8,
        rate: int | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.operator = InsideFunction(
            self,
            "Operator",
            inside=inside,
            handler="dynamirror.functions.operator",
            description="does what an operator asks",
        ).function
        self.worker = InsideFunction(
            self,
            "Worker",
            inside=inside,
            handler="dynamirror.functions.worker",
            description="steps of rebuilding and verifying",
        ).function
        self.machine = RebuildMachine(
            self,
            "Machine",
            inside=inside,
            worker=self.worker,
            segments=segments,
            concurrency=concurrency,
            rate=rate,
        ).machine
        self.watchdog = None
        if heal:
            self.watchdog = Watchdog(
                self, "Watchdog", inside=inside, worker=self.worker, rebuild=self.machine
            )
        self.auditor = None
        if audit:
            self.auditor = Auditor(
                self,
                "Auditor",
                inside=inside,
                every_minutes=audit_every,
                parts=audit_parts,
                repair=audit_repair,
                rate=audit_rate,
            )
