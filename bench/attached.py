"""Calls of boto3's client that is attached, beside the same calls to the emulator."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import boto3

import dynamirror
from bench.latency import Times
from bench.results import Sample
from dynamirror.emulators.dynamodb import REGION, EmbeddedDynamoDB
from dynamirror.settings import Settings
from dynamirror.views.view import Schema, ViewSpec

_FEW = 16  # times fewer than of a reader
_PAIRS = 3  # of a promised figure and its base, in turn
_PAGE = 20


class Attached:
    """A client that is attached, one that is not, and one whose calls are answered at once.

    The time of the last is botocore's own: it checks and serializes the request, and resolves the
    endpoint, before a handler can answer.

    Args:
        database: has the table.
        settings: of the cache.
        spec: the view.
        schema: the table.
        keys: of its items.
    """

    def __init__(
        self,
        database: EmbeddedDynamoDB,
        settings: Settings,
        spec: ViewSpec,
        schema: Schema,
        keys: Sequence[Mapping[str, str]],
    ) -> None:
        key, secret = database.aws.credentials or ("", "")
        session = boto3.Session(key, secret, region_name=REGION)
        self._plain, self._client, self._floor = (
            session.client("dynamodb", endpoint_url=database.endpoint_url) for _ in range(3)
        )
        self._attachment = dynamirror.attach(self._client, settings, views=[spec], schemas=[schema])
        self._table = schema.table
        self._keys: list[Any] = [{name: {"S": text} for name, text in one.items()} for one in keys]
        answer = self._plain.get_item(TableName=self._table, Key=self._keys[0])
        response: Any = SimpleNamespace(status_code=200)
        events: Any = self._floor.meta.events
        events.register("before-call.dynamodb", lambda **_call: (response, {**answer}))

    def take(self, gets: int) -> Iterator[Sample]:
        """Take each figure, in microseconds a call."""
        keys = cycle(self._keys)

        def get(client: Any) -> None:
            client.get_item(TableName=self._table, Key=next(keys))

        def query(client: Any) -> None:
            client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": next(keys)["pk"]},
                Limit=_PAGE,
            )

        times = max(1, gets // _FEW // _PAIRS)
        for _ in range(_PAIRS):
            for name, read in (("get_item", get), (f"query.{_PAGE}", query)):
                taken = Times.of(lambda: read(self._plain), times)  # noqa: B023 - run at once
                yield Sample(f"emulator.{name}.p50", "us", taken.percentile(50))
                yield Sample(f"emulator.{name}.fastest", "us", taken.fastest)
                taken = Times.of(lambda: read(self._client), times)  # noqa: B023 - run at once
                yield Sample(f"attached.{name}.fastest", "us", taken.fastest)
                yield Sample(f"attached.{name}.p50", "us", taken.percentile(50))
                yield Sample(f"attached.{name}.p99", "us", taken.percentile(99))
            taken = Times.of(lambda: get(self._floor), times)
            yield Sample("attached.floor.p50", "us", taken.percentile(50))
        for operation, counts in self._attachment.counts.items():
            assert not counts.table, (operation, counts)

    def close(self) -> None:
        """Close the connections."""
        self._attachment.detach()
