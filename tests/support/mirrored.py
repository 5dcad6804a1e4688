"""A table and a mirror of it that holds only what a test puts there."""

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import boto3
from boto3.dynamodb.types import TypeSerializer

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import record_complete, record_gap
from dynamirror.cache.writer import apply
from dynamirror.dynamodb.client import Aws, describe_schema
from dynamirror.emulators.dynamodb import REGION, EmbeddedDynamoDB, create_table
from dynamirror.reader import Reader
from dynamirror.records.version import SnapshotVersion, Version
from dynamirror.settings import Settings
from dynamirror.views.entry import entry_of_row
from dynamirror.views.view import View, ViewSpec

ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2026-01-01T00:00:00.000"


FENCE_TTL = 93_600


@functools.cache
def _clients(url: str) -> tuple[Any, Any]:
    """boto3's low-level client and its resource."""
    session = boto3.Session("local", "local", region_name=REGION)
    resource: Any = session.resource("dynamodb", endpoint_url=url)
    return Aws(REGION, url, ("local", "local")).dynamodb(), resource


class Mirrored:
    """A table of its own, and what the cache has of it, which is only what a test puts there."""

    def __init__(
        self,
        database: EmbeddedDynamoDB,
        settings: Settings,
        cache: Cache,
        stack: ExitStack,
        *specs: ViewSpec,
        keys: Mapping[str, str] | None = None,
        indexes: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = f"t-{uuid4().hex[:12]}"
        self.settings, self.cache, self.specs, self._stack = settings, cache, specs, stack
        self.client, resource = _clients(database.endpoint_url)
        # Readers of a real one make a client each, which takes boto3 a tenth of a second.
        self.aws: Any = SimpleNamespace(dynamodb=lambda: self.client)
        if indexes is None:
            create_table(self.client, self.name, keys or {"id": "S"}, view_type=None)
        else:
            self.client.create_table(TableName=self.name, BillingMode="PAY_PER_REQUEST", **indexes)
        self.schema, _ = describe_schema(self.client, self.name)
        self.views = [spec.bind(self.schema) for spec in specs]
        self.resource: Any = resource
        self.table: Any = resource.Table(self.name)

    @property
    def view(self) -> View:
        """The first view."""
        return self.views[0]

    def low(self, key: Mapping[str, Any]) -> Any:
        """An item of the table in DynamoDB JSON; None if there is none."""
        fetched: Any = self.table.get_item(Key=dict(key))
        if "Item" not in fetched:
            return None
        serialised: Any = TypeSerializer()
        return {name: serialised.serialize(value) for name, value in fetched["Item"].items()}

    def put(self, *items: Mapping[str, Any]) -> None:
        """Write items to the table."""
        with self.table.batch_writer() as writer:
            for item in items:
                writer.put_item(Item=dict(item))

    def mirror(self, *keys: Mapping[str, Any], version: Version | None = None) -> None:
        """Bring items as they are now into the cache."""
        serialise: Any = TypeSerializer().serialize
        version = version or SnapshotVersion(int(time.time()))
        for view in self.views:
            entries = (
                entry_of_row(
                    view,
                    {name: serialise(value) for name, value in key.items()},
                    self.low(key),
                    version,
                )
                for key in keys
            )
            report = apply(self.cache, filter(None, entries), fence_ttl=FENCE_TTL)
            assert not report.failed

    def mirror_items(self, items: Iterable[Any]) -> None:
        """Bring items, in DynamoDB JSON, into the cache."""
        version = SnapshotVersion(int(time.time()))
        for view in self.views:
            entries = (entry_of_row(view, item, item, version) for item in items)
            apply(self.cache, filter(None, entries), fence_ttl=FENCE_TTL)

    def is_complete(self, since: int = 1) -> None:
        """Have the cache say so."""
        record_gap(self.cache, self.views, stream=ARN, at=since, reason="new")
        assert record_complete(self.cache, self.views, SnapshotVersion(since + 1)) is None

    def is_incomplete(self) -> None:
        """Have the cache say so."""
        at = int(time.time())
        record_gap(self.cache, self.views, stream=ARN, at=at, reason="for a test")

    def reader(self, **options: Any) -> Reader:
        """A reader, closed at the end."""
        given = {"views": self.specs, "aws": self.aws, "schema": self.schema, **options}
        settings = given.pop("settings", self.settings)
        return self._stack.enter_context(Reader(settings, self.name, **given))


MakeMirrored = Callable[..., Mirrored]


def source_of(answer: Mapping[str, Any]) -> str:
    """Where an answer came from."""
    return str(answer["ResponseMetadata"]["dynamirror"]["source"])


def age_of(answer: Mapping[str, Any]) -> float | None:
    """How old an answer is."""
    age: float | None = answer["ResponseMetadata"]["dynamirror"]["age"]
    return age
