"""The tables of the stack: new ones, and existing ones that the deployment names."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from constructs import Construct

from dynamirror.cdk.mirrored_table import MirroredTable, check_tables
from dynamirror.deployment.file import Deployment
from dynamirror.deployment.sections import MirrorSection
from dynamirror.deployment.tables import DeployedTable
from dynamirror.errors import ConfigError

# The name of every stack of version 0.2.0, which had one table.
_FORMER_STACK = "Dynamirror"


def stack_tables(scope: Construct, deployment: Deployment) -> list[MirroredTable]:
    """Return the tables of a deployment, and create those that do not exist."""
    is_former = deployment.stack_name == _FORMER_STACK
    return [
        MirroredTable(
            # Lambda takes one mapping of a stream for a function, and CloudFormation creates a
            # mapping of another id before it deletes the first. So the first table keeps its id.
            table=_existing_table(scope, table, has_former_id=is_former and index == 0)
            if table.stream_arn
            else _new_table(scope, table, deployment.mirror),
            keys=table.keys,
            view_type=dynamodb.StreamViewType[table.view_type],
        )
        for index, table in enumerate(deployment.tables)
    ]


def key_patterns(tables: list[MirroredTable], deployment: Deployment) -> tuple[str, ...]:
    """Return the glob patterns of the keys that the views write.

    Raises:
        ConfigError: a view is malformed or does not fit a table; names the key of the demo's table.
    """
    try:
        return check_tables(tables, deployment.path)
    except ConfigError as error:
        sentence = str(error)
        if deployment.is_demo and " leaves out " in sentence:
            sentence = sentence.replace(f"table {tables[0].schema.table}", "the new table") + (
                "; the key of a new table is id (S): for a table of your own, add a [[table]], or "
                "set tableArn, streamArn and keys"
            )
        raise ConfigError(f"{deployment.path or 'context'}: {sentence}") from None


def _existing_table(
    scope: Construct, table: DeployedTable, *, has_former_id: bool
) -> dynamodb.ITable:
    key = table.kms_key_arn
    return dynamodb.Table.from_table_attributes(
        scope,
        "Table" if has_former_id else _id(table, "Table"),
        table_arn=table.arn,
        table_stream_arn=table.stream_arn,
        encryption_key=kms.Key.from_key_arn(scope, _id(table, "TableKey"), key) if key else None,
    )


def _new_table(scope: Construct, table: DeployedTable, mirror: MirrorSection) -> dynamodb.Table:
    attributes = [
        dynamodb.Attribute(name=name, type=_TYPES[kind])
        for name, kind in zip(table.keys, table.types or (), strict=True)
    ]
    return dynamodb.Table(
        scope,
        _id(table, "Table"),
        table_name=table.name,
        partition_key=attributes[0],
        sort_key=attributes[1] if len(attributes) > 1 else None,
        billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        stream=dynamodb.StreamViewType[table.view_type],
        encryption=dynamodb.TableEncryption.DEFAULT,
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=mirror.point_in_time_recovery
        ),
        deletion_protection=mirror.deletion_protection,
        removal_policy=removal_policy(mirror),
    )


_TYPES = {
    "S": dynamodb.AttributeType.STRING,
    "N": dynamodb.AttributeType.NUMBER,
    "B": dynamodb.AttributeType.BINARY,
}


def removal_policy(mirror: MirrorSection) -> RemovalPolicy:
    """Return what happens to created tables and logs when the stack is deleted."""
    return RemovalPolicy.RETAIN if mirror.retain else RemovalPolicy.DESTROY


def _id(table: DeployedTable, kind: str) -> str:
    """Return a construct id that no other table of the mirror changes."""
    return f"{kind}-{table.name}" if table.name else kind
