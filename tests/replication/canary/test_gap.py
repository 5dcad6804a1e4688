"""An outage longer than a stream keeps changes is noticed by the canary that was written in it."""

from collections.abc import Iterator
from time import time
from typing import Any

import pytest
from tests.support.builders import STREAM_ARN, Time, item, record

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import read_marker, record_complete, record_gap
from dynamirror.records.version import SnapshotVersion
from dynamirror.replication.replicator import Replicator
from dynamirror.views.canary import NAME
from dynamirror.views.view import Schema, Views, ViewSpec

HOUR = 3600
KEPT = 24 * HOUR
BATCH = 1000


def written(now: float, *, canary: bool) -> Iterator[dict[str, Any]]:
    """What a stream was told in an outage of 26 hours: changes in its first hour and its last."""
    begun, number = now - 26 * HOUR, 0
    for minute in range(26 * 60):
        at = int(begun + 60 * minute)
        number += 2
        if minute < 60 or minute >= 25 * 60:
            changed = item(str(minute % 60), n={"N": str(minute)})
            yield record(number, changed, ApproximateCreationDateTime=at)
        if canary:
            said = {"at": {"N": str(1000 * at)}, "nonce": {"S": str(minute)}}
            one = {"id": {"S": NAME}, "dynamirror": {"M": said}}
            yield record(number + 1, one, ApproximateCreationDateTime=at)


@pytest.mark.parametrize(("canary", "noticed"), [(True, True), (False, False)])
def test_an_outage_of_more_than_a_day_is_noticed_by_the_oldest_beat_that_is_left(
    cache: Cache, *, canary: bool, noticed: bool
) -> None:
    schema, now = Schema("users", ("id",), ("S",)), time()
    views = Views.for_schema((ViewSpec(),), schema)
    bound = views.bind(schema)
    record_gap(cache, bound, stream=STREAM_ARN, at=1, reason="it was new")
    record_complete(cache, bound, SnapshotVersion(2))
    assert read_marker(cache, "users").is_complete
    left = [
        one
        for one in written(now, canary=canary)
        if one["dynamodb"]["ApproximateCreationDateTime"] > now - KEPT  # the rest was trimmed
    ]
    replicator = Replicator(cache, views, fence_ttl=93_600)
    for begin in range(0, len(left), BATCH):
        replicator({"Records": left[begin : begin + BATCH]}, Time())
    marker = read_marker(cache, "users")
    assert marker.is_complete is not noticed
    assert ("23 hours late" in marker.reason) is noticed
