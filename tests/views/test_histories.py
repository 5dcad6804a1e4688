"""Items that change, move from view to view, and go: in the end every view holds what it should."""

import pytest
from hypothesis import given, settings
from tests.support.builders import Time
from tests.support.shop import SCHEMA, held, indexed, shown, specs
from tests.support.view_histories import FENCE_TTL, Read, Step, as_json, comparable, deliveries

from dynamirror.cache.client import Cache
from dynamirror.cache.writer import apply
from dynamirror.records.version import SnapshotVersion
from dynamirror.recovery.verify import compare
from dynamirror.replication.replicator import Replicator
from dynamirror.views.entry import entry_of_row
from dynamirror.views.view import Views


@pytest.mark.parametrize("moving", [True, False], ids=["new and old images", "new images"])
@settings(database=None)
@given(drawn=deliveries())
def test_an_item_that_moves_leaves_no_entry_behind_in_any_view(
    store: Cache,
    *,
    moving: bool,
    drawn: tuple[list[Step], list[list[Step] | Read]],
) -> None:
    history, batches = drawn
    store.broadcast(b"FLUSHALL")
    views = Views.for_schema(specs(moving=moving), SCHEMA)
    bound = views.bind(SCHEMA)
    replicator = Replicator(store, views, fence_ttl=FENCE_TTL)
    for batch in batches:
        if isinstance(batch, Read):
            table = history[batch.after - 1].table if batch.after else {}
            version = SnapshotVersion(batch.as_of)
            rows = [
                entry_of_row(view, one, one, version) for one in table.values() for view in bound
            ]
            assert not apply(store, filter(None, rows), fence_ttl=FENCE_TTL).failed
        else:
            records = [step.record(moving=moving) for step in batch]
            assert replicator({"Records": records}, Time()) == {"batchItemFailures": []}
    entries, indices = held(store)
    table = history[-1].table
    assert list(comparable(entries)) == list(as_json(shown(table, moving=moving)))
    assert indices == indexed(table)
    # And verify is of the same opinion.
    result = compare(table.values(), store, bound)
    assert result.differences == 0, result.sample
