"""The Lambda function: a batch of stream records in, the records to deliver again out."""

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache as once
from time import monotonic
from typing import Any, Protocol

from dynamirror import change as records
from dynamirror.apply import apply
from dynamirror.cache import Cache
from dynamirror.config import Settings, load_views
from dynamirror.entry import Entry, of_change
from dynamirror.errors import ConfigError, RecordError
from dynamirror.quarantine import Parked, park
from dynamirror.report import Report, Trouble, partial_batch_response
from dynamirror.view import Schema, Views

logger = logging.getLogger("dynamirror")

# Kept back from the time that Lambda gives, to answer in.
_RESERVE_SECONDS = 1.0


class Context(Protocol):
    """What is used of Lambda's context object."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended."""


class Replicator:
    """Applies batches of records to a cache.

    Args:
        cache: the cache.
        views: what entries items become.
        fence_ttl: seconds a fence is kept.
        clock: monotonic seconds.
        observe: is told the report of every batch.
    """

    def __init__(
        self,
        cache: Cache,
        views: Views,
        *,
        fence_ttl: int,
        clock: Callable[[], float] = monotonic,
        observe: Callable[[Report], None] = lambda _report: None,
    ) -> None:
        self.cache = cache
        self.views = views
        self._fence_ttl = fence_ttl
        self._clock = clock
        self._observe = observe

    def __call__(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Apply one batch; returns Lambda's partial batch response.

        Raises:
            ConfigError: settings, views or the stream's set-up are wrong.
            CacheError: no node of the cache can be reached.
            RecordError: the event is not one of a DynamoDB stream.
        """
        batch = event.get("Records") if isinstance(event, Mapping) else None
        if not isinstance(batch, list):
            raise RecordError("the event has no list of Records; is it one of a DynamoDB stream?")
        end = self._clock() + context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS
        entries, parked = self._decode(batch)
        report = apply(
            self.cache, entries, fence_ttl=self._fence_ttl, in_time=lambda: self._clock() < end
        )
        parked += [_parked(trouble) for trouble in report.quarantined]
        unparked = park(self.cache, parked, at=datetime.now(UTC).isoformat(timespec="seconds"))
        self._observe(report)
        self._log(batch, report, parked)
        return partial_batch_response(_first_to_repeat(batch, report, unparked))

    def _decode(self, batch: list[Any]) -> tuple[list[Entry], list[Parked]]:
        entries: list[Entry] = []
        parked: list[Parked] = []
        for record in batch:
            try:
                change = records.decode(record)
                for view in self.views.of_change(change):
                    for entry in of_change(view, change):
                        entries.append(entry)  # noqa: PERF402 - keeps what came before an error
            except RecordError as error:
                parked.append(_undecoded(record, str(error)))
        return entries, parked

    def _log(self, batch: list[Any], report: Report, parked: list[Parked]) -> None:
        extra = {
            "records": len(batch),
            "first_sequence_number": records.sequence_number(batch[0]) if batch else None,
            "applied": report.applied,
            "stale": report.stale,
            "coalesced": report.coalesced,
            "quarantined": len(parked),
            "failed": len(report.failed),
        }
        if report.failed:
            reasons = sorted({trouble.reason for trouble in report.failed})
            logger.error("batch not wholly applied", extra=extra | {"reasons": reasons[:5]})
        else:
            logger.info("batch applied", extra=extra)
        for item in parked:
            logger.error(
                "item quarantined",
                extra={
                    "table": item.table,
                    "sequence_number": item.sequence,
                    "reason": item.reason,
                },
            )


def _undecoded(record: Any, reason: str) -> Parked:
    table = "?"
    with suppress(RecordError, KeyError, TypeError):
        table = records.parse_stream_arn(record["eventSourceARN"]).table
    return Parked(table, records.keys(record), records.sequence_number(record) or "?", reason)


def _parked(trouble: Trouble) -> Parked:
    entry, schema = trouble.entry, trouble.entry.view.schema
    item = getattr(entry, "item", {})
    key = {name: item[name] for name in schema.keys if name in item}
    sequence = getattr(entry.version, "sequence", "?")
    return Parked(schema.table, key, str(sequence), f"view {entry.view.name}: {trouble.reason}")


def _first_to_repeat(batch: list[Any], report: Report, unparked: list[Parked]) -> list[str]:
    """The identifier of the earliest record that is neither applied nor parked, as it is spelt."""
    if any(item.sequence == "?" for item in unparked):
        return [""]  # the record has no number to name it by: the whole batch must come again
    numbers = [int(item.sequence) for item in unparked]
    if (failed := report.lowest_failed()) is not None:
        numbers.append(failed)
    if not numbers:
        return []
    spelt = {int(text): text for text in map(records.sequence_number, batch) if text}
    return [spelt[min(numbers)]]


def build(settings: Settings) -> Replicator:
    """Make a replicator from settings; connects to nothing yet.

    Raises:
        ConfigError: the settings or `mirror.toml` are wrong.
    """

    def schema_of(table: str, keys: frozenset[str]) -> Schema:
        return _schema(settings, table, keys)

    views = Views(load_views(settings.config), schema_of)
    return Replicator(Cache(settings), views, fence_ttl=settings.fence_ttl)


def _schema(settings: Settings, table: str, keys: frozenset[str]) -> Schema:
    """Find out which of a record's key attributes is the partition key."""
    declared = settings.declared_schema(table)
    if declared is None:
        return Schema(table, tuple(keys)) if len(keys) == 1 else _described(table)
    if set(declared.keys) != keys:
        raise ConfigError(
            f"environment: DYNAMIRROR_KEY_SCHEMA: says {', '.join(declared.keys)}, but the key of "
            f"table {table} is {' and '.join(sorted(keys))}"
        )
    return declared


def _described(table: str) -> Schema:
    # boto3 takes long to import, and is needed only for what was not declared.
    from dynamirror.aws import Aws, describe_schema  # noqa: PLC0415

    return describe_schema(Aws().dynamodb(), table)[0]


@once
def _replicator() -> Replicator:
    """What is kept between invocations: settings, views and connections."""
    from aws_lambda_powertools import Logger  # noqa: PLC0415 - only in Lambda

    Logger(service="dynamirror", logger_handler=None)
    return build(Settings.from_env(os.environ))


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Lambda's entry point; settings come from the environment (see `config.Settings`)."""
    return _replicator()(event, context)
