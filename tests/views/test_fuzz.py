"""Whatever an image holds, a batch goes through: it is applied, or in quarantine."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import CREATED, Time
from tests.support.shop import SCHEMA, specs
from tests.support.strategies import PROMISE, json_values, values
from tests.support.view_histories import ARN

from dynamirror.cache.client import Cache
from dynamirror.replication.replicator import Replicator
from dynamirror.views.view import Views

names = st.sampled_from(["type", "name", "status", "total", "until", "address"])
spoilt = st.dictionaries(
    names,
    json_values | values | st.fixed_dictionaries({"M": st.dictionaries(st.just("city"), values)}),
    max_size=4,
)
keys = st.sampled_from(["profile", "order#1", "\ud800", ""])


@PROMISE
@given(old=st.none() | spoilt, new=spoilt, sort=keys, number=st.integers(1, 10**39))
@pytest.mark.parametrize("moving", [True, False])
def test_an_image_of_any_shape_goes_through_every_view(
    store: Cache, *, moving: bool, old: Any, new: Any, sort: str, number: int
) -> None:
    views = Views.for_schema(specs(moving=moving), SCHEMA)
    replicator = Replicator(store, views, fence_ttl=93_600)
    key = {"PK": {"S": "u1"}, "SK": {"S": sort}}
    data = {
        "ApproximateCreationDateTime": CREATED,
        "Keys": key,
        "SequenceNumber": str(number),
        "StreamViewType": "NEW_AND_OLD_IMAGES" if moving else "NEW_IMAGE",
        "NewImage": {**new, **key},
    }
    if old is not None and moving:
        data["OldImage"] = {**old, **key}
    record = {"eventName": "MODIFY", "eventSourceARN": ARN, "dynamodb": data}
    assert replicator({"Records": [record]}, Time()) == {"batchItemFailures": []}
