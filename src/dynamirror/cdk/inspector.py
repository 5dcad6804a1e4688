"""The inspector: functions that ask the cache, as an application does, whether it shows a change.

The inspector samples the stream and keeps each question in a queue until it is due. The judge asks
cache and table. The inspector alone uses the queue, outside any VPC: the judge's subnets need no
endpoint of SQS, which costs more than both functions.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from dynamirror.cache.acl import Role
from dynamirror.cdk.function_context import FunctionContext, MirrorFunction
from dynamirror.cdk.mirror import environment

# The inspector waits for the judge, which waits for a cache that hangs.
_TIMEOUT: Final = Duration.seconds(70)
_JUDGE_TIMEOUT: Final = Duration.seconds(60)
_MEMORY_MB: Final = 512
_RECORDS, _QUESTIONS = 1000, 10
# A stream's batch that fails is given up soon: it is counted nowhere, and must hold up nothing.
_STREAM_RETRIES: Final = 2
_STREAM_AGE: Final = Duration.minutes(5)
# AWS recommends six times the timeout of the function that reads the queue, and five attempts.
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
_HIDDEN: Final = Duration.seconds(420)
_ATTEMPTS: Final = 5
_FAILURES_KEPT: Final = Duration.days(14)
_QUESTIONS_KEPT: Final = Duration.hours(2)
_CONCURRENCY: Final = 10
_VARIABLES: Final = "DYNAMIRROR_INSPECTOR_"


class Inspector(Construct):
    """Measure how right the cache is, by a share of the changes in the tables' streams.

    The inspector is a second reader of each stream: DynamoDB serves two a shard, and one of a
    global table. It may not write to cache or table. A question that fails, and the position of
    records that fail, go to the queue `failures`, which holds keys of items.

    Args:
        context: what the mirror's functions share.
        share: share of the items that are inspected, above 0 and up to 1.
        thresholds: seconds after a change at which the cache is asked, each up to 900.
        filter: pattern of Lambda's event filter for the records to sample from; None for all.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        context: FunctionContext,
        share: float = 0.01,
        thresholds: Sequence[int] = (1, 10, 60, 300, 600),
        filter: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.failures = self._queue("Failures", retention_period=_FAILURES_KEPT)
        self.queue = self._queue(
            "Questions",
            retention_period=_QUESTIONS_KEPT,
            visibility_timeout=_HIDDEN,
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.failures, max_receive_count=_ATTEMPTS),
        )
        ages = {f"{_VARIABLES}THRESHOLDS": ",".join(f"{seconds:g}" for seconds in thresholds)}
        judge = MirrorFunction(
            self,
            "Judge",
            context=context,
            handler="dynamirror.functions.judge.handler",
            description="compares entries with the changes that the inspector sampled",
            role=Role.INSPECTOR,
            variables=ages,
            timeout=_JUDGE_TIMEOUT,
            memory_mb=_MEMORY_MB,
            reads=("GetItem",),
        )
        self.judge, self.log_group = judge.function, judge.log_group
        own = Construct(self, "Inspector")
        self.function = context.code.function(
            own,
            "Function",
            handler="dynamirror.functions.inspector.handler",
            description="samples changes, and has the judge look for them in the cache",
            environment={
                **environment(
                    self,
                    tables=context.tables,
                    endpoint=context.cache.endpoint(Role.INSPECTOR),
                    code=context.code,
                ),
                f"{_VARIABLES}SHARE": f"{share:g}",
                **ages,
                f"{_VARIABLES}QUEUE": self.queue.queue_url,
                f"{_VARIABLES}JUDGE": self.judge.function_name,
            },
            log_group=context.log_group(own),
            timeout=_TIMEOUT,
            memory_mb=_MEMORY_MB,
            tracing=context.tracing,
            log_invocations=False,
        )
        self._read_streams(context, filter)
        self._ask(self.judge)

    def _queue(self, id: str, **options: Any) -> sqs.Queue:
        # AWS's own key is free, and the rights to use it follow from those of the queue.
        return sqs.Queue(
            self, id, encryption=sqs.QueueEncryption.KMS_MANAGED, enforce_ssl=True, **options
        )

    def _read_streams(self, context: FunctionContext, pattern: str | None) -> None:
        filters = None
        if pattern is not None:
            filters = [lambda_.FilterCriteria.filter(msgspec.json.decode(pattern))]
        for table in context.tables:
            self.function.add_event_source(
                sources.DynamoEventSource(
                    table.table,
                    # What was written before is old by the time that the inspector would ask.
                    starting_position=lambda_.StartingPosition.LATEST,
                    batch_size=_RECORDS,
                    retry_attempts=_STREAM_RETRIES,
                    max_record_age=_STREAM_AGE,
                    bisect_batch_on_error=True,
                    on_failure=sources.SqsDlq(self.failures),
                    filters=filters,
                )
            )
            if table.table.encryption_key:
                table.table.encryption_key.grant_decrypt(self.function)

    def _ask(self, judge: lambda_.Function) -> None:
        """Let the inspector receive due questions, have them judged, and send the next ones."""
        self.function.add_event_source(
            sources.SqsEventSource(
                self.queue,
                batch_size=_QUESTIONS,
                report_batch_item_failures=True,
                max_concurrency=_CONCURRENCY,
            )
        )
        rights = {
            "sqs:SendMessage": self.queue.queue_arn,
            "lambda:InvokeFunction": judge.function_arn,
        }
        for action, arn in rights.items():
            self.function.add_to_role_policy(iam.PolicyStatement(actions=[action], resources=[arn]))
