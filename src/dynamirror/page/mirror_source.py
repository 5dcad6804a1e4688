"""The mirror that a page shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dynamirror.cache.client import Cache
from dynamirror.inspection.tally import Tally as Inspection
from dynamirror.page.state import Button, Event
from dynamirror.records.attribute_value import Item
from dynamirror.runner.delivery import Delivery
from dynamirror.views.batch_result import Tally
from dynamirror.views.view import View

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, kw_only=True)
class MirrorSource:
    """A mirror's table, cache, delivery and figures.

    Args:
        title: names of table and cache.
        cache: a connection of the page's own.
        views: all views of the table.
        client: boto3's dynamodb client.
        stream: returns the ARN of the stream that the mirror follows.
        delivery: returns the running delivery, or None while the replicator is stopped.
        tally: outcomes so far.
        written: returns the number of writes to the table; None where nobody counts them.
        lags: all lags so far in seconds; None where nobody measures them.
        events: returns actions and their outcomes, newest first.
        buttons: returns the actions that the page offers.
        press: runs an action by its name.
        pinned: returns items whose entries the page always shows.
        probe_key: key of the entry that measures the lag; None for none.
        inspection: returns what inspectors have measured; None where none runs.
        standby: returns who leads while this process stands by; None while it replicates.
    """

    title: str
    cache: Cache
    views: Sequence[View]
    client: "DynamoDBClient"
    stream: Callable[[], str]
    delivery: Callable[[], Delivery | None]
    tally: Tally
    written: Callable[[], int] | None = None
    lags: Sequence[float] | None = None
    events: Callable[[], Sequence[Event]] = tuple
    buttons: Callable[[], Sequence[Button]] = tuple
    press: Callable[[str], object] = lambda _name: None
    pinned: Callable[[], Sequence[Item]] = tuple
    probe_key: str | None = None
    inspection: Callable[[], Inspection | None] = lambda: None
    standby: Callable[[], str | None] = lambda: None

    @property
    def table(self) -> str:
        """The table's name."""
        return self.views[0].schema.table
