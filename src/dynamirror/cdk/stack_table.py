"""The table of the stack: a new one, or the existing one that the options name."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from constructs import Construct

from dynamirror.cdk.mirror import UNNAMED, MirroredTable
from dynamirror.cdk.options import StackOptions
from dynamirror.errors import ConfigError


def stack_table(
    scope: Construct, options: StackOptions, removal_policy: RemovalPolicy
) -> MirroredTable:
    """Return the table that the options name, or create one.

    Raises:
        ConfigError: an option of the table is missing or wrong.
    """
    arn, stream, keys = (options.text(name) for name in ("tableArn", "streamArn", "keys"))
    if arn is None:
        return MirroredTable(table=_new_table(scope, options, removal_policy), keys=("id",))
    if stream is None or keys is None:
        raise ConfigError("context: tableArn needs streamArn and keys, as in -c keys=pk,sk")
    if stream.rpartition("/stream/")[0] != arn or ":table/" not in arn:
        raise ConfigError(f"context: streamArn: {stream} is not a stream of {arn}")
    key_arn = options.text("tableKeyArn")
    table = dynamodb.Table.from_table_attributes(
        scope,
        "Table",
        table_arn=arn,
        table_stream_arn=stream,
        encryption_key=kms.Key.from_key_arn(scope, "TableKey", key_arn) if key_arn else None,
    )
    view_type = options.text("viewType") or "NEW_AND_OLD_IMAGES"
    if view_type not in dynamodb.StreamViewType.__members__:
        raise ConfigError(f"context: viewType: {view_type!r} is not a stream's view type")
    return MirroredTable(
        table=table,
        keys=tuple(name.strip() for name in keys.split(",")),
        view_type=dynamodb.StreamViewType[view_type],
    )


def key_patterns(source: MirroredTable, options: StackOptions) -> tuple[str, ...]:
    """Return the glob patterns of the keys that the views write.

    Raises:
        ConfigError: a view is malformed or does not fit the table; names the key of a new table.
    """
    try:
        return source.key_patterns(options.text("config"))
    except ConfigError as error:
        if not options.is_new_table or " leaves out " not in str(error):
            raise
        raise ConfigError(
            f"{str(error).replace(f'table {UNNAMED}', 'the new table')}; the key of a new table is "
            "id (S): for a table of your own, set tableArn, streamArn and keys"
        ) from None


def _new_table(
    scope: Construct, options: StackOptions, removal_policy: RemovalPolicy
) -> dynamodb.Table:
    return dynamodb.Table(
        scope,
        "Table",
        partition_key=dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING),
        billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
        encryption=dynamodb.TableEncryption.DEFAULT,
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=options.flag("pointInTimeRecovery", default=True)
        ),
        deletion_protection=options.flag("deletionProtection"),
        removal_policy=removal_policy,
    )
