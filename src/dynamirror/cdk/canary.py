"""The canary: a function that checks each minute that a written item reaches the cache."""

from collections.abc import Sequence

from aws_cdk import Duration
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from constructs import Construct

from dynamirror.cache.acl import Role
from dynamirror.cdk.function_context import FunctionContext, MirrorFunction
from dynamirror.cdk.mirrored_table import MirroredTable
from dynamirror.cdk.table_rules import add_table_rules
from dynamirror.views.canary import NAME

_INTERVAL = Duration.minutes(1)
# Time enough to report an item that was neither written nor seen. Two runs may overlap.
_TIMEOUT = Duration.seconds(90)
# A failed run is not repeated: the next one is due and shows the same.
_NO_RETRIES = 0
_MEMORY_MB = 512


class Canary(Construct):
    """Deploy a function that writes a canary item, waits for it in the cache, and reports metrics.

    The item takes the same stream and cache as all others. The function therefore writes to the
    mirrored tables, under a partition key of its own, which must have the type S. It may write no
    other item.

    Args:
        context: what the mirror's functions share.
        tables: tables to which it writes; default those of the context.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        context: FunctionContext,
        tables: Sequence[MirroredTable] | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.tables = context.tables if tables is None else tables
        self.function = MirrorFunction(
            self,
            "Canary",
            context=context,
            handler="dynamirror.functions.canary.handler",
            description="writes one item, and looks for it in the cache",
            role=Role.CANARY,
            timeout=_TIMEOUT,
            memory_mb=_MEMORY_MB,
            reads=(),
            tables=self.tables,
        ).function
        self.function.configure_async_invoke(retry_attempts=_NO_RETRIES, max_event_age=_INTERVAL)
        for table in self.tables:
            self._grant_canary_item(table.table)
        add_table_rules(
            self,
            self.tables,
            description="Runs dynamirror's canary",
            interval=_INTERVAL,
            target=lambda event: targets.LambdaFunction(
                self.function, event=event, retry_attempts=_NO_RETRIES, max_event_age=_INTERVAL
            ),
        )

    def _grant_canary_item(self, table: dynamodb.ITable) -> None:
        self.function.add_to_role_policy(
            iam.PolicyStatement(
                actions=["dynamodb:PutItem"],
                resources=[table.table_arn],
                conditions={
                    # ForAllValues also matches a request without leading keys, so Null excludes it.
                    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
                    "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [NAME]},
                    "Null": {"dynamodb:LeadingKeys": "false"},
                },
            )
        )
        if table.encryption_key:
            # Writing to an encrypted table needs these beside kms:Decrypt.
            # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html
            table.encryption_key.grant(
                self.function,
                "kms:DescribeKey",
                "kms:Encrypt",
                "kms:GenerateDataKey",
                "kms:GenerateDataKeyWithoutPlaintext",
                "kms:ReEncryptFrom",
                "kms:ReEncryptTo",
            )
