"""The inspector function: samples the stream, keeps questions in a queue, and has them judged.

Both its event source mappings end here: that of the stream, and that of the queue.
"""

import functools
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import time
from typing import Any, Final

from dynamirror.dynamodb.client import Aws, aws_errors
from dynamirror.errors import RecordError, SourceError
from dynamirror.functions.questions import (
    InspectorSettings,
    Question,
    Questions,
    all_questions,
    divided,
)
from dynamirror.functions.runtime import log_invocation
from dynamirror.inspection.expectation import expectations_of_change
from dynamirror.inspection.sampling import canonical_key, is_sampled
from dynamirror.metrics import catalogue as metrics
from dynamirror.metrics import emf
from dynamirror.records import stream_record
from dynamirror.records.stream_record import Change
from dynamirror.replication.key_schema import key_schema
from dynamirror.settings import Settings
from dynamirror.views.canary import is_canary
from dynamirror.views.view import Schema, Views

logger = logging.getLogger("dynamirror")

_QUEUE: Final = "aws:sqs"
# SQS takes so many messages at a time.
_AT_ONCE: Final = 10
# Longer than the judge may take; a request that is repeated would count twice.
_JUDGE_SECONDS: Final = 65.0


class InspectorFunction:
    """Samples records, and carries questions between the queue and the judge.

    Args:
        settings: the inspector's settings.
        views: the views of all tables.
        aws: creates the clients of SQS and Lambda.
    """

    def __init__(self, settings: InspectorSettings, views: Views, aws: Aws) -> None:
        self._settings = settings
        self._ages = settings.ages
        self._views = views
        shared = aws.shared()
        self._queue = shared.client("sqs")
        self._functions = shared.client("lambda", read_timeout=_JUDGE_SECONDS)

    def sample(self, records: Sequence[Mapping[str, Any]]) -> int:
        """Send questions about the sampled changes of records, and return their number.

        Raises:
            SourceError: the queue does not take them; the records come again.
            ConfigError: the views do not fit the table.
        """
        by_second: dict[tuple[str, int], list[Question]] = {}
        skipped: dict[str, int] = {}
        for change in self._sampled(records, skipped):
            asked = by_second.setdefault((change.table, change.version.created), [])
            for view in self._views.of_change(change):
                try:
                    asked += [
                        Question(expectation, change.keys)
                        for expectation in expectations_of_change(view, change)
                    ]
                except RecordError:  # the item is quarantined, and not compared in this view
                    skipped[change.table] = skipped.get(change.table, 0) + 1
        # Creation times are rounded down to a second: no age is taken for a lower one.
        messages = [
            message
            for (table, created), asked in by_second.items()
            for message in divided(table, created + 1.0, asked)
        ]
        self.send(messages)
        for table, count in skipped.items():
            emf.emit(table, {metrics.CONSISTENCY_UNDECIDED: count})
        return sum(len(message.questions) for message in messages)

    def _sampled(
        self, records: Iterable[Mapping[str, Any]], skipped: dict[str, int]
    ) -> Iterator[Change]:
        """Yield the sampled changes, without the canary's; only they are decoded in full."""
        for record in records:
            try:
                arn = record["eventSourceARN"]
                table, keys = stream_record.parse_stream_arn(arn).table, stream_record.keys(record)
            except (KeyError, RecordError):
                raise RecordError("a record is none of a DynamoDB stream") from None
            if keys is None:
                skipped[table] = skipped.get(table, 0) + 1
                continue
            try:
                bound = self._views.bound(table) or self._views.meet(table, frozenset(keys))
                schema = bound[0].schema
                if is_sampled(canonical_key(keys, schema.keys), self._settings.share):
                    change = stream_record.decode(record)
                    if not is_canary(keys, schema):
                        yield change
            except (KeyError, RecordError):
                skipped[table] = skipped.get(table, 0) + 1

    def judge(self, messages: Sequence[Mapping[str, Any]]) -> list[str]:
        """Have questions judged that are due, and send what is asked next.

        Returns:
            The ids of messages that must come again.

        Raises:
            SourceError: the judge failed; all messages come again.
        """
        failed: list[str] = []
        due: list[Questions] = []
        for message in messages:
            try:
                due.append(Questions.from_json(message["body"]))
            except RecordError as error:
                # Its traceback has nothing to add.
                logger.error("question not read", extra={"reason": str(error)})  # noqa: TRY400
                failed.append(message["messageId"])
        if due:
            self.send(self._asked(due))
        return failed

    def _asked(self, due: Sequence[Questions]) -> list[Questions]:
        """Return what the judge wants to be asked next."""
        name = self._settings.judge
        payload = b"[%b]" % b",".join(each.to_json().encode() for each in due)
        with aws_errors(f"function {name}"):
            answer = self._functions.invoke(FunctionName=name, Payload=payload)
            text = answer["Payload"].read().decode()
        if "FunctionError" in answer:
            raise SourceError(f"function {name}: failed: {text[:500]}")
        return all_questions(json.loads(text))

    def send(self, messages: Sequence[Questions]) -> None:
        """Send messages for the time at which they are due.

        Raises:
            SourceError: SQS cannot be reached, or refuses messages twice.
        """
        waiting = list(messages)
        for _attempt in range(2):
            refused: list[Questions] = []
            for begin in range(0, len(waiting), _AT_ONCE):
                refused += self._send_some(waiting[begin : begin + _AT_ONCE])
            if not refused:
                return
            waiting = refused
        raise SourceError("queue: not all questions were taken")

    def _send_some(self, messages: Sequence[Questions]) -> list[Questions]:
        now = time()
        entries = [
            {
                "Id": str(number),
                "MessageBody": message.to_json(),
                "DelaySeconds": message.delay(self._ages, now),
            }
            for number, message in enumerate(messages)
        ]
        with aws_errors("queue"):
            answer = self._queue.send_message_batch(QueueUrl=self._settings.queue, Entries=entries)
        return [messages[int(failure["Id"])] for failure in answer.get("Failed", ())]


def views_of(settings: Settings) -> Views:
    """Return the views of all tables, bound to a table when it is first met.

    Raises:
        ConfigError: the views are wrong.
    """

    def schema_of(table: str, keys: frozenset[str]) -> Schema:
        return key_schema(settings, table, keys)

    return Views(settings.views(), schema_of)


@functools.cache
def inspector() -> InspectorFunction:
    """Return the inspector, kept between invocations."""
    settings = Settings.from_env(os.environ)
    return InspectorFunction(InspectorSettings.from_env(), views_of(settings), Aws.from_env())


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
    """Sample records of a stream, or have due questions judged.

    Args:
        event: an event of a stream or of the queue.
        context: Lambda's context.

    Returns:
        Lambda's partial batch response.

    Raises:
        SourceError: queue or judge failed; Lambda repeats the batch.
        RecordError: the event is none of a stream or a queue.
        ConfigError: a setting is wrong.
    """
    log_invocation(context)
    records = event.get("Records") if isinstance(event, Mapping) else None
    if not isinstance(records, list):
        raise RecordError("the event has no list of Records; is it one of a stream or a queue?")
    if records and records[0].get("eventSource") == _QUEUE:
        failed = inspector().judge(records)
        return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}
    inspector().sample(records)
    return {"batchItemFailures": []}
