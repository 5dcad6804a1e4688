"""Schedules that run a function or a state machine for each table of a mirror."""

from collections.abc import Callable, Sequence

from aws_cdk import Duration
from aws_cdk import aws_events as events
from constructs import Construct

from dynamirror.cdk.mirrored_table import MirroredTable, construct_ids


def add_table_rules(
    scope: Construct,
    tables: Sequence[MirroredTable],
    *,
    description: str,
    interval: Duration,
    target: Callable[[events.RuleTargetInput], events.IRuleTarget],
) -> None:
    """Create a rule for each table, which sends the table's name as `table` to a target.

    Args:
        scope: construct that has the rules.
        tables: the tables.
        description: description of each rule.
        interval: time between two events.
        target: makes the target of a rule that sends an input.
    """
    for end, table in construct_ids(tables).items():
        event = {"table": table.table.table_name}
        events.Rule(
            scope,
            f"Rule{end}",
            description=description,
            schedule=events.Schedule.rate(interval),
            targets=[target(events.RuleTargetInput.from_object(event))],
        )
