"""Damaged state of a rebuild or an audit is read as if it were not there."""

import pytest
from tests.support.world import World

from dynamirror.cache.completeness_marker import read_marker
from dynamirror.operations.status import read_status
from dynamirror.recovery.audit import AuditResult, last_audit, next_part, save_audit
from dynamirror.recovery.backfill import Backfill
from dynamirror.recovery.rebuild_state import LostError, RebuildState
from dynamirror.views.keyspace import audit_key, rebuild_key

_GARBAGE = [
    b"\xff\xfe",
    b"{",
    b"null",
    b"[1]",
    b'{"id":1}',
    b"{}x",
    b'"\xff"',
]


@pytest.mark.parametrize("field", ["run", "0", "sweep", "sweep:0-16383", "finished"])
@pytest.mark.parametrize("garbage", _GARBAGE, ids=repr)
def test_a_damaged_field_never_ends_status_or_a_backfill_with_a_traceback(
    world: World, field: str, garbage: bytes
) -> None:
    world.put("1")
    world.rebuilt()
    run = RebuildState(world.cache, world.table).run()
    assert run is not None
    key = rebuild_key(world.table)
    name = field if field == "run" else f"{run.id}:{field}"
    world.cache.call(key, b"HSET", key, name.encode(), garbage)
    description = world.client.describe_table(TableName=world.table)["Table"]
    status = read_status(world.cache, world.table, world.views, description)
    assert (status.rebuild is None) == (field == "run")
    result = Backfill(world.rebuild(), segments=1).run()
    assert result is not None
    assert result.progress.items == 1
    assert read_marker(world.cache, world.table).is_complete


@pytest.mark.parametrize(
    ("field", "reason"), [("0", "not all segments"), ("sweep:0-16383", "were not swept")]
)
def test_a_rebuild_whose_state_is_damaged_repeats_that_part(
    world: World, field: str, reason: str
) -> None:
    world.put("1")
    steps = world.rebuild()
    run = world.begun(steps)
    steps.load(run, 0)
    steps.sweep(run)
    key = rebuild_key(world.table)
    world.cache.call(key, b"HSET", key, f"{run.id}:{field}".encode(), b"\xff")
    with pytest.raises(LostError, match=reason):
        steps.finish(run)
    assert world.begun(steps) == run
    assert steps.load(run, 0).items == 1
    steps.sweep(run)
    steps.finish(run)


@pytest.mark.parametrize("garbage", _GARBAGE, ids=repr)
def test_a_damaged_audit_is_read_as_none_and_begins_at_the_first_part(
    world: World, garbage: bytes
) -> None:
    result = AuditResult("2026-01-01T00:00:00+00:00", 2, 3, None)
    save_audit(world.cache, world.table, result)
    assert last_audit(world.cache, world.table) == result
    key = audit_key(world.table)
    for field in (b"last", b"next"):
        world.cache.call(key, b"HSET", key, field, garbage)
    assert last_audit(world.cache, world.table) is None
    assert next_part(world.cache, world.table, 3) == 0
