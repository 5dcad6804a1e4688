"""Reading goes on from a damaged checkpoint, with a gap instead of a traceback."""

import pytest
from tests.support.builders import CREATED, STREAM_ARN, record
from tests.support.deadlines import wait_until
from tests.support.streams import Collector, Tree

from dynamirror.cache.checkpoints import Checkpoint, Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.runner.delivery import Delivery
from dynamirror.runner.event_source_mapping import EventSourceMapping


@pytest.mark.parametrize("garbage", [b"{", b"\xff", b'{"after":"x"}', b'{"other":' + b"[" * 9_999])
def test_a_shard_with_a_damaged_checkpoint_is_read_from_its_oldest_record_with_a_gap(
    cache: Cache, garbage: bytes
) -> None:
    checkpoints = Checkpoints(cache, STREAM_ARN)
    cache.call(checkpoints.key, b"HSET", checkpoints.key, b"a", garbage)
    tree = Tree({"a": None}, {"a": [[record(1), record(2)]]}, endless=["a"])
    gaps: list[str] = []
    delivery = Delivery(
        tree.reader(),
        Collector(),
        checkpoints,
        EventSourceMapping(),
        record_gap=gaps.append,
        now=lambda: CREATED + 1.0,
        poll_seconds=0.002,
        discover_seconds=0.01,
    )
    delivery.start()
    try:
        wait_until(lambda: delivery.counts.records == 2)
        wait_until(lambda: checkpoints.load()["a"].after is not None)
    finally:
        delivery.stop()  # raises what ended the delivery
    assert gaps == [
        "shard a was not read for more than 23 hours: its first records may have been trimmed"
    ]
    assert checkpoints.load() == {"a": Checkpoint(f"{2:021d}", created=float(CREATED))}
