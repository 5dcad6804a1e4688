"""The canary: every minute, one item is written to the table and looked for in the cache."""

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from constructs import Construct

from dynamirror.canary import NAME
from dynamirror.cdk.inside import Inside, InsideFunction

_EVERY = Duration.minutes(1)
# Enough for one that neither writes nor sees at once to tell so; beside it, the next may run.
_TIMEOUT = Duration.seconds(90)
# One that could not run is not made up for: the next is due, and shows the same.
_NO_RETRIES = 0
_MEMORY_MB = 512


class Canary(Construct):
    """A function that writes one item, waits for it in the cache, and tells CloudWatch.

    It proves the whole way, with the very stream and cache that the items take: that is why it
    writes to the mirrored table, under a partition key of its own, whose type must be S. It may
    write no other item.

    Args:
        scope: the stack or construct this is part of.
        id: its name there.
        inside: what the functions have in common.
    """

    def __init__(self, scope: Construct, id: str, *, inside: Inside) -> None:
        super().__init__(scope, id)
        self.function = InsideFunction(
            self,
            "Canary",
            inside=inside,
            handler="dynamirror.functions.canary",
            description="writes one item, and looks for it in the cache",
            timeout=_TIMEOUT,
            memory_mb=_MEMORY_MB,
            reads=(),
        ).function
        self.function.configure_async_invoke(retry_attempts=_NO_RETRIES, max_event_age=_EVERY)
        self._grant_one_item(inside)
        self.rule = events.Rule(
            self,
            "Rule",
            description="Runs dynamirror's canary",
            schedule=events.Schedule.rate(_EVERY),
            targets=[
                targets.LambdaFunction(
                    self.function, retry_attempts=_NO_RETRIES, max_event_age=_EVERY
                )
            ],
        )

    def _grant_one_item(self, inside: Inside) -> None:
        table = inside.source.table
        self.function.add_to_role_policy(
            iam.PolicyStatement(
                actions=["dynamodb:PutItem"],
                resources=[table.table_arn],
                conditions={
                    # It holds for a request without such a key, too; so there must be one.
                    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
                    "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [NAME]},
                    "Null": {"dynamodb:LeadingKeys": "false"},
                },
            )
        )
        if table.encryption_key:
            # What writing to a table takes, beside kms:Decrypt.
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
