"""Shards are read parents first, and all of them are read."""

from hypothesis import given
from hypothesis import strategies as st

from dynamirror.dynamodb.shards import Shard, readable


@st.composite
def trees(draw: st.DrawFn) -> list[Shard]:
    """Shards whose parent is an earlier one, one that is gone, or none; in any order."""
    count = draw(st.integers(0, 20))
    shards = []
    for index in range(count):
        parents = [None, "gone", *(f"shard-{earlier}" for earlier in range(index))]
        shards.append(Shard(f"shard-{index}", draw(st.sampled_from(parents))))
    return draw(st.permutations(shards))


@given(trees(), st.data())
def test_no_child_is_readable_before_its_parent_is_finished(
    shards: list[Shard], data: st.DataObject
) -> None:
    ids = sorted(shard.id for shard in shards)
    finished = data.draw(st.sets(st.sampled_from(ids))) if ids else set()
    for shard in readable(shards, finished):
        assert shard.id not in finished
        assert shard.parent in {None, "gone"} | finished


@given(trees(), st.data())
def test_reading_what_is_readable_reads_all(shards: list[Shard], data: st.DataObject) -> None:
    finished: list[str] = []
    while found := readable(shards, finished):
        finished.append(data.draw(st.sampled_from(found)).id)
    assert sorted(finished) == sorted(shard.id for shard in shards)


@given(trees())
def test_only_what_waits_for_a_parent_is_not_readable(shards: list[Shard]) -> None:
    listed = {shard.id for shard in shards}
    waiting = {shard.id for shard in shards} - {shard.id for shard in readable(shards, ())}
    assert waiting == {shard.id for shard in shards if shard.parent in listed}
