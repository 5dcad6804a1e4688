"""The lag of a mirror as a reader sees it."""

import threading
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from dynamirror.cache.answers import Failure
from dynamirror.cache.client import Cache
from dynamirror.cache.entry_state import read_command, stored_value
from dynamirror.demo.example import find_probe
from dynamirror.dynamodb.client import aws_errors
from dynamirror.errors import CacheError
from dynamirror.views.view import View

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_PAUSE_SECONDS = 0.05
_POLL_SECONDS = 0.001


class LagProbe:
    """Writes an item of its own, and reads its entry until the write shows there.

    Args:
        client: boto3's dynamodb client.
        cache: the cache.
        views: the views of the table.
        samples: items of the table; the probe's item resembles one of them.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        cache: Cache,
        views: Sequence[View],
        samples: Sequence[dict[str, Any]],
    ) -> None:
        self._client = client
        self._cache = cache
        self._probe = find_probe(views, samples)

    @property
    def key(self) -> str | None:
        """The key of the item's entry; None where no view shows a change of the item."""
        return self._probe.key if self._probe else None

    def run(self, lags: list[float], stop: threading.Event) -> None:
        """Append lags in seconds until stopped, then delete the item.

        No lag is measured where no view shows a change of the item.

        Raises:
            SourceError: DynamoDB refuses a write.
        """
        probe = self._probe
        if probe is None:
            return
        schema = probe.view.schema
        number = 0
        while not stop.wait(_PAUSE_SECONDS):
            number += 1
            item = probe.item(number)
            expected = probe.view.encode(item)
            with aws_errors(f"table {schema.table}"):
                self._client.put_item(TableName=schema.table, Item=item)
            acknowledged = monotonic()
            while not stop.is_set():
                if self._read(probe.key, probe.view) == expected:
                    lags.append(monotonic() - acknowledged)
                    break
                stop.wait(_POLL_SECONDS)
        with aws_errors(f"table {schema.table}"):
            key = dict(schema.key_of(probe.item(0)))
            self._client.delete_item(TableName=schema.table, Key=key)

    def _read(self, key: str, view: View) -> bytes | None:
        try:
            (answer,) = self._cache.execute([read_command(key.encode(), view)])
        except CacheError:
            return None
        return stored_value(answer, view) if answer and not isinstance(answer, Failure) else None
